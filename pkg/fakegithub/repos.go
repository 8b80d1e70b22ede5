package fakegithub

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Repo is a repository that the server offers.
type Repo struct {
	Owner, Name   string
	ID            int64  // 0: assigned
	Dir           string // a local git repository, bare or not
	DefaultBranch string // default: what HEAD names, else main
	Private       bool
	Archived      bool  // it can be read only
	Installation  int64 // 0: one per owner, assigned
}

// repo is a repository with all that GitHub keeps beside its git objects.
type repo struct {
	Repo          // as it was added; its name now is in name
	name          atomic.Pointer[string]
	git           gitDir
	owner         *user
	installation  *installation
	createdAt     time.Time
	tips          map[string]string // refs as of the latest push event
	known         map[string]bool   // commits seen: they do not go away
	collaborators map[string]string // lower-case login to role
	pulls         []*pull
	comments      []*comment
	checkRuns     []*checkRun
	suites        []*suite
	statuses      []*status
	labels        []*label
	lastNumber    int
}

func (r *repo) fullName() string { return r.Owner + "/" + *r.name.Load() }

// AddRepo offers a local git repository under a name. The App is installed on
// it.
func (s *Server) AddRepo(add Repo) error {
	if add.Owner == "" || add.Name == "" || strings.Contains(add.Owner+add.Name, "/") {
		return fmt.Errorf("repository %q/%q: owner and name are one word each", add.Owner, add.Name)
	}
	ctx, stop := context.WithTimeout(context.Background(), gitTimeout)
	defer stop()
	git, err := openGit(ctx, add.Dir)
	if err != nil {
		return fmt.Errorf("repository %s/%s: %w", add.Owner, add.Name, err)
	}
	if add.DefaultBranch == "" {
		add.DefaultBranch = "main"
		if out, err := git.run(ctx, "", "symbolic-ref", "--short", "-q", "HEAD"); err == nil {
			add.DefaultBranch = strings.TrimSpace(string(out))
		}
	}
	refs, err := git.refs(ctx, "refs/")
	if err != nil {
		return fmt.Errorf("repository %s/%s: %w", add.Owner, add.Name, err)
	}
	tips := map[string]string{}
	for _, ref := range refs {
		tips[ref.name] = ref.object.sha
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	key := strings.ToLower(add.Owner + "/" + add.Name)
	if s.repos[key] != nil {
		return fmt.Errorf("repository %s/%s is there already", add.Owner, add.Name)
	}
	for _, other := range s.repos {
		if add.ID != 0 && other.ID == add.ID {
			return fmt.Errorf("repository %s/%s: its id %d is that of %s", add.Owner, add.Name, add.ID, other.fullName())
		}
	}
	owner := s.user(add.Owner, "Organization")
	in, err := s.installOn(owner, add.Installation)
	if err != nil {
		return err
	}
	if add.ID == 0 {
		add.ID = s.id()
	}
	add.Installation = in.ID
	r := &repo{
		Repo: add, git: git, owner: owner, installation: in, createdAt: s.now(), tips: tips,
		known: map[string]bool{}, collaborators: map[string]string{strings.ToLower(owner.login): "admin"},
	}
	r.name.Store(&add.Name)
	s.repos[key] = r
	return nil
}

// gitTimeout bounds one git command that no request stands behind.
const gitTimeout = time.Minute

// RenameRepo gives a repository another name. Requests to the old one are
// redirected, as on GitHub.
func (s *Server) RenameRepo(owner, name, to string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	from, target := strings.ToLower(owner+"/"+name), strings.ToLower(owner+"/"+to)
	r := s.repos[from]
	if r == nil {
		return fmt.Errorf("repository %s/%s: not here", owner, name)
	}
	if s.repos[target] != nil {
		return fmt.Errorf("repository %s/%s is there already", owner, to)
	}
	delete(s.repos, from)
	delete(s.renamed, target)
	r.name.Store(&to)
	s.repos[target], s.renamed[from] = r, r
	return nil
}

// pathOfID rewrites /repositories/ID/..., where redirects lead, to the path by
// name. s.mu is held.
func (s *Server) pathOfID(path string) string {
	rest, below := strings.CutPrefix(path, "/repositories/")
	if !below {
		return path
	}
	id, rest, more := strings.Cut(rest, "/")
	for _, r := range s.repos {
		if fmt.Sprint(r.ID) == id {
			path = "/repos/" + r.fullName()
			if more {
				path += "/" + rest
			}
		}
	}
	return path
}

// find returns a repository by name. s.mu is held.
func (s *Server) find(owner, name string) (*repo, error) {
	r := s.repos[strings.ToLower(owner+"/"+name)]
	if r == nil {
		return nil, fmt.Errorf("repository %s/%s: %w", owner, name, notFound())
	}
	return r, nil
}

// sortedRepos lists all repositories by id. s.mu is held.
func (s *Server) sortedRepos() []*repo {
	var all []*repo
	for _, r := range s.repos {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *repo) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// resolve finds the commit a name in a request means; pull request heads are
// names too. s.mu is not held.
func (s *Server) resolve(ctx context.Context, r *repo, name, kind string) (gitObject, error) {
	if sha := s.pullHead(r, name); sha != "" {
		name = sha
	}
	return r.git.resolve(ctx, name, kind)
}

// commitOf is resolve for a handler: a refusal when there is no such commit.
func (c *call) commitOf(name string, orElse error) (string, error) {
	found, err := c.s.resolve(c.r.Context(), c.repo, name, "commit")
	if errors.Is(err, errNoObject) {
		return "", c.missing(orElse)
	}
	return found.sha, err
}

// holds reports whether a commit of that full id is in the repository.
func (s *Server) holds(ctx context.Context, r *repo, sha string) (bool, error) {
	s.mu.Lock()
	known := r.known[sha]
	s.mu.Unlock()
	if known {
		return true, nil
	}
	if !isSHA(sha) {
		return false, nil
	}
	found, err := r.git.lookup(ctx, sha+"^{commit}")
	if errors.Is(err, errNoObject) || err == nil && found.sha != sha {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	r.known[sha] = true
	s.mu.Unlock()
	return true, nil
}

// noSuchCommit is how GitHub refuses a name that leads to no commit.
func noSuchCommit(name string) error {
	return refuse(http.StatusUnprocessableEntity, "No commit found for SHA: "+name)
}

// epoch is when everything began that nobody asked the date of.
func epoch() time.Time { return time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC) }

// nodeID is an opaque id in the manner of GitHub's GraphQL.
func nodeID(kind string, id int64) string {
	return kind + "_" + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d", id))
}

// repo renders a repository: GitHub's full-repository, of which its other
// forms are parts.
func (l links) repo(r *repo) object {
	url, html := l.api+"/repos/"+r.fullName(), l.web+"/"+r.fullName()
	visibility := "public"
	if r.Private {
		visibility = "private"
	}
	shown := object{
		"id": r.ID, "node_id": nodeID("R", r.ID), "name": *r.name.Load(), "full_name": r.fullName(), "owner": l.user(r.owner),
		"private": r.Private, "visibility": visibility, "html_url": html, "url": url, "description": nil, "fork": false,
		"homepage": nil, "language": nil, "license": nil, "mirror_url": nil, "default_branch": r.DefaultBranch,
		"size": 0, "forks": 0, "forks_count": 0, "stargazers_count": 0, "watchers": 0, "watchers_count": 0,
		"open_issues": 0, "open_issues_count": 0, "subscribers_count": 0, "network_count": 0,
		"has_issues": true, "has_projects": false, "has_wiki": false, "has_pages": false, "has_downloads": true,
		"has_discussions": false, "archived": r.Archived, "disabled": false, "is_template": false, "allow_forking": true,
		"web_commit_signoff_required": false, "topics": []string{}, "custom_properties": object{},
		"created_at": r.createdAt, "updated_at": r.createdAt, "pushed_at": r.createdAt,
		"git_url": "git://" + strings.TrimPrefix(html, "http://") + ".git", "ssh_url": "git@localhost:" + r.fullName() + ".git",
		"clone_url": html + ".git", "svn_url": html,
	}
	for name, tail := range map[string]string{
		"archive": "/{archive_format}{/ref}", "assignees": "/assignees{/user}", "blobs": "/git/blobs{/sha}",
		"branches": "/branches{/branch}", "collaborators": "/collaborators{/collaborator}", "comments": "/comments{/number}",
		"commits": "/commits{/sha}", "compare": "/compare/{base}...{head}", "contents": "/contents/{+path}",
		"contributors": "/contributors", "deployments": "/deployments", "downloads": "/downloads", "events": "/events",
		"forks": "/forks", "git_commits": "/git/commits{/sha}", "git_refs": "/git/refs{/sha}", "git_tags": "/git/tags{/sha}",
		"hooks": "/hooks", "issue_comment": "/issues/comments{/number}", "issue_events": "/issues/events{/number}",
		"issues": "/issues{/number}", "keys": "/keys{/key_id}", "labels": "/labels{/name}", "languages": "/languages",
		"merges": "/merges", "milestones": "/milestones{/number}", "notifications": "/notifications{?since,all,participating}",
		"pulls": "/pulls{/number}", "releases": "/releases{/id}", "stargazers": "/stargazers", "statuses": "/statuses/{sha}",
		"subscribers": "/subscribers", "subscription": "/subscription", "tags": "/tags", "teams": "/teams",
		"trees": "/git/trees{/sha}",
	} {
		shown[name+"_url"] = url + tail
	}
	return shown
}

func (c *call) getRepo() (reply, error) { return ok(c.urls.repo(c.repo)) }

func (c *call) getBranch() (reply, error) {
	name := c.params["branch"]
	missing := refuse(http.StatusNotFound, "Branch not found")
	if !validName(name) {
		return reply{}, missing
	}
	found, err := c.repo.git.lookup(c.r.Context(), "refs/heads/"+name+"^{commit}")
	if errors.Is(err, errNoObject) {
		return reply{}, missing
	}
	if err != nil {
		return reply{}, err
	}
	tip, err := c.repo.git.commit(c.r.Context(), found.sha)
	if err != nil {
		return reply{}, err
	}
	url := c.urls.api + "/repos/" + c.repo.fullName() + "/branches/" + name
	return ok(object{
		"name": name, "commit": c.urls.commit(c.repo, tip), "protected": false,
		"_links":         object{"self": url, "html": c.urls.web + "/" + c.repo.fullName() + "/tree/" + name},
		"protection":     object{"enabled": false, "required_status_checks": object{"enforcement_level": "off", "contexts": []string{}, "checks": []string{}}},
		"protection_url": url + "/protection",
	})
}
