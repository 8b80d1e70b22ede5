package fakegithub

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// tokenLife is how long an installation token lives.
const tokenLife = time.Hour

// installation is the App on an account.
type installation struct {
	ID        int64
	account   *user
	createdAt time.Time
	suspended bool
}

// installOn returns the installation of that id, or the account's own when id
// is 0; it is made when missing. s.mu is held.
func (s *Server) installOn(account *user, id int64) (*installation, error) {
	for _, in := range s.installations {
		if id == 0 && in.account == account {
			return in, nil
		}
	}
	if in := s.installations[id]; in != nil {
		if in.account != account {
			return nil, fmt.Errorf("installation %d is that of %s, not of %s", id, in.account.login, account.login)
		}
		return in, nil
	}
	if id == 0 {
		id = s.id()
	}
	in := &installation{ID: id, account: account, createdAt: s.now()}
	s.installations[id] = in
	return in, nil
}

// Suspend switches an installation off or on again: its tokens stop working
// and none is made.
func (s *Server) Suspend(installationID int64, suspended bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := s.installations[installationID]
	if in == nil {
		return fmt.Errorf("installation %d: not here", installationID)
	}
	in.suspended = suspended
	return nil
}

// app renders the App. s.mu is held.
func (s *Server) app(l links) object {
	owner := s.user("litci", "Organization")
	return object{
		"id": s.cfg.AppID, "slug": s.cfg.AppSlug, "node_id": nodeID("A", s.cfg.AppID), "client_id": s.clientID(),
		"owner": l.user(owner), "name": s.cfg.AppSlug, "description": nil, "external_url": l.web,
		"html_url": l.web + "/apps/" + s.cfg.AppSlug, "created_at": epoch(), "updated_at": epoch(),
		"permissions": s.cfg.Permissions, "events": appEvents(),
	}
}

// appEvents are what the App is subscribed to.
func appEvents() []string {
	return []string{"check_run", "check_suite", "issue_comment", "merge_group", "pull_request", "pull_request_review", "push"}
}

func (c *call) getApp() (reply, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	shown := c.s.app(c.urls)
	shown["installations_count"] = len(c.s.installations)
	return ok(shown)
}

// installation renders an installation. s.mu is held.
func (s *Server) showInstallation(l links, in *installation) object {
	url := fmt.Sprintf("%s/app/installations/%d", l.api, in.ID)
	shown := object{
		"id": in.ID, "account": l.user(in.account), "repository_selection": "selected",
		"access_tokens_url": url + "/access_tokens", "repositories_url": l.api + "/installation/repositories",
		"html_url": fmt.Sprintf("%s/settings/installations/%d", l.web, in.ID), "app_id": s.cfg.AppID, "app_slug": s.cfg.AppSlug,
		"target_id": in.account.id, "target_type": in.account.kind, "permissions": s.cfg.Permissions, "events": appEvents(),
		"created_at": in.createdAt, "updated_at": in.createdAt, "single_file_name": nil, "has_multiple_single_files": false,
		"single_file_paths": []string{}, "suspended_by": nil, "suspended_at": nil,
	}
	if in.suspended {
		shown["suspended_by"], shown["suspended_at"] = l.user(in.account), in.createdAt
	}
	return shown
}

func (c *call) listInstallations() (reply, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	var ids []int64
	for id := range c.s.installations {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	shown := []object{}
	for _, id := range ids {
		one := c.s.showInstallation(c.urls, c.s.installations[id])
		// The description wants accounts in this list to be users and
		// enterprises at once.
		account := one["account"].(object)
		account["name"], account["slug"] = account["login"], account["login"]
		account["created_at"], account["updated_at"] = epoch(), epoch()
		shown = append(shown, one)
	}
	return list(c, shown)
}

// installationOf returns the installation that the path names. s.mu is held.
func (c *call) installationOf() (*installation, error) {
	id, err := strconv.ParseInt(c.params["installation_id"], 10, 64)
	if in := c.s.installations[id]; err == nil && in != nil {
		return in, nil
	}
	return nil, notFound()
}

func (c *call) getInstallation() (reply, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	in, err := c.installationOf()
	if err != nil {
		return reply{}, err
	}
	return ok(c.s.showInstallation(c.urls, in))
}

func (c *call) getRepoInstallation() (reply, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	return ok(c.s.showInstallation(c.urls, c.repo.installation))
}

func (c *call) getOwnerInstallation() (reply, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	login := c.params["org"] + c.params["username"] // one of the two
	for _, in := range c.s.installations {
		if strings.EqualFold(in.account.login, login) {
			return ok(c.s.showInstallation(c.urls, in))
		}
	}
	return reply{}, notFound()
}

// maxTokenRepos is how many repositories a token may be limited to.
const maxTokenRepos = 500

func (c *call) createToken() (reply, error) {
	var ask struct {
		Repositories  []string          `json:"repositories"`
		RepositoryIDs []int64           `json:"repository_ids"`
		Permissions   map[string]string `json:"permissions"`
	}
	if err := c.decodeOptional(&ask); err != nil {
		return reply{}, err
	}
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	in, err := c.installationOf()
	if err != nil {
		return reply{}, err
	}
	if in.suspended {
		return reply{}, refuse(http.StatusForbidden, "This installation has been suspended")
	}
	if len(ask.Repositories)+len(ask.RepositoryIDs) > maxTokenRepos {
		return reply{}, refuse(http.StatusUnprocessableEntity, "There are too many repositories: at most 500.")
	}
	permissions, err := s.scope(ask.Permissions)
	if err != nil {
		return reply{}, err
	}
	selected := slices.DeleteFunc(s.sortedRepos(), func(r *repo) bool {
		wanted := slices.Contains(ask.RepositoryIDs, r.ID) ||
			slices.ContainsFunc(ask.Repositories, func(name string) bool { return strings.EqualFold(name, *r.name.Load()) })
		return r.installation != in || !wanted
	})
	if len(selected) < distinct(ask.RepositoryIDs)+distinct(ask.Repositories) {
		return reply{}, refuse(http.StatusUnprocessableEntity, "There is at least one repository that does not exist or is not accessible to the parent installation.")
	}
	t := &token{
		value: newTokenValue(s.cfg.AppID), installation: in, permissions: permissions,
		expires: s.now().Add(tokenLife),
	}
	shown := object{"token": t.value, "expires_at": t.expires, "permissions": permissions, "repository_selection": "selected"}
	if len(selected) > 0 {
		t.repos = map[int64]bool{}
		var repos []object
		for _, r := range selected {
			t.repos[r.ID] = true
			repos = append(repos, c.urls.repo(r))
		}
		shown["repositories"] = repos
	}
	s.tokens[t.value] = t
	return created(shown)
}

func distinct[T comparable](items []T) int {
	seen := map[T]bool{}
	for _, item := range items {
		seen[item] = true
	}
	return len(seen)
}

// newTokenValue makes a token in GitHub's newer form, several hundred
// characters long, so that nobody counts on forty.
func newTokenValue(appID int64) string {
	return fmt.Sprintf("ghs_%d_%s.%s.%s", appID, secret(24), secret(120), secret(64))
}

// secret returns n random bytes as text.
func secret(n int) string {
	raw := make([]byte, n)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(raw)
}

func requestID() string {
	raw := make([]byte, 12)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	return strings.ToUpper(hex.EncodeToString(raw))
}

func (c *call) revokeToken() (reply, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	delete(c.s.tokens, c.who.token.value)
	return noContent()
}

func (c *call) listInstallationRepos() (reply, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	visible := slices.DeleteFunc(c.s.sortedRepos(), func(r *repo) bool { return !c.who.reaches(r) })
	rep, err := listed(c, "repositories", visible, func(r *repo) any { return c.urls.repo(r) })
	rep.body.(object)["repository_selection"] = "selected"
	return rep, err
}

// decode reads the body as JSON into v.
func (c *call) decode(v any) error {
	if len(c.body) == 0 {
		return refuse(http.StatusUnprocessableEntity, "Invalid request.\n\nFor 'properties/', nil is not an object.")
	}
	if !json.Valid(c.body) {
		return refuse(http.StatusBadRequest, "Problems parsing JSON")
	}
	if err := json.Unmarshal(c.body, v); err != nil {
		return schemaError("%s", err)
	}
	return nil
}

// decodeOptional is decode for a body that may be missing.
func (c *call) decodeOptional(v any) error {
	if len(c.body) == 0 {
		return nil
	}
	return c.decode(v)
}
