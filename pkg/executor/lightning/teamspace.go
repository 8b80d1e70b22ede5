package lightning

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/litci/litci/pkg/executor/internal/rest"
)

// place is a resolved teamspace. The service calls it a project.
type place struct {
	project string
	owner   string
	space   string
}

func (p place) name() string { return p.owner + "/" + p.space }

// jobs is the path of the teamspace's jobs.
func (p place) jobs() string { return "/v1/projects/" + url.PathEscape(p.project) + "/jobs" }

// places remembers the teamspace.
type places struct {
	mu    sync.Mutex
	found *place
}

func (p *places) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.found = nil
}

// place resolves the teamspace once.
func (e *Executor) place(ctx context.Context) (place, error) {
	e.places.mu.Lock()
	defer e.places.mu.Unlock()
	if e.places.found != nil {
		return *e.places.found, nil
	}
	found, err := e.resolve(ctx)
	if err != nil {
		return place{}, advise(err)
	}
	e.places.found = &found
	return found, nil
}

type identity struct {
	UserID    string `json:"userId"`
	Username  string `json:"username"`
	ProjectID string `json:"projectId"`
}

type membership struct {
	ProjectID   string `json:"projectId"`
	Name        string `json:"name"`
	DisplayName string `json:"displayName"`
	OwnerID     string `json:"ownerId"`
}

type project struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	OwnerID string `json:"ownerId"`
	Layout  []struct {
		Slug      string `json:"slug"`
		IsEnabled bool   `json:"isEnabled"`
	} `json:"layoutConfig"`
}

func (e *Executor) resolve(ctx context.Context) (place, error) {
	var self identity
	if err := e.client.call(ctx, http.MethodGet, "/v1/auth/whoami", nil, nil, &self); err != nil {
		return place{}, fmt.Errorf("credentials: %w", err)
	}
	id := self.ProjectID // of a scoped key
	if id == "" {
		var err error
		if id, err = e.lookUp(ctx, self); err != nil {
			return place{}, err
		}
	}
	var p project
	if err := e.client.call(ctx, http.MethodGet, "/v1/projects/"+url.PathEscape(id), nil, nil, &p); err != nil {
		return place{}, fmt.Errorf("teamspace %s: %w", id, err)
	}
	for _, tab := range p.Layout {
		if tab.Slug == "jobs" && !tab.IsEnabled {
			return place{}, &setupError{fmt.Sprintf("jobs are switched off in teamspace %s: its administrator can switch them on in the teamspace's settings", p.Name)}
		}
	}
	owner, err := e.ownerName(ctx, p.OwnerID, self)
	if err != nil {
		return place{}, err
	}
	found := place{project: id, owner: owner, space: p.Name}
	if _, wanted, ok := strings.Cut(e.config.Teamspace, "/"); self.ProjectID != "" && e.config.Teamspace != "" {
		if !ok {
			wanted = e.config.Teamspace
		}
		if wanted != p.Name {
			return place{}, &setupError{fmt.Sprintf("the API key belongs to teamspace %s, and LIGHTNING_TEAMSPACE says %s: change one of them", found.name(), e.config.Teamspace)}
		}
	}
	return found, nil
}

// lookUp finds the id of the teamspace that the configuration names.
func (e *Executor) lookUp(ctx context.Context, self identity) (string, error) {
	owner, name, full := strings.Cut(e.config.Teamspace, "/")
	if !full {
		owner, name = "", owner
	}
	if name == "" {
		return "", &setupError{`no teamspace: set LIGHTNING_TEAMSPACE to "owner/name", as in the address of its page`}
	}
	query := url.Values{"filterByUserId": {"true"}}
	var ownerID string
	if owner != "" {
		var err error
		var organization bool
		if ownerID, organization, err = e.ownerID(ctx, owner, self); err != nil {
			return "", err
		}
		if organization {
			query.Set("organizationId", ownerID)
		}
	}
	var answer struct {
		Memberships []membership `json:"memberships"`
	}
	if err := e.client.call(ctx, http.MethodGet, "/v1/memberships", query, nil, &answer); err != nil {
		return "", fmt.Errorf("teamspaces: %w", err)
	}
	return choose(answer.Memberships, e.config.Teamspace, name, ownerID)
}

// choose picks the teamspace of a name. A scoped key may list one twice.
func choose(list []membership, wanted, name, ownerID string) (string, error) {
	var found, all []string
	for _, m := range list {
		all = append(all, m.Name)
		if (m.Name == name || m.DisplayName == name) && (ownerID == "" || m.OwnerID == ownerID) {
			found = append(found, m.ProjectID)
		}
	}
	slices.Sort(found)
	found = slices.Compact(found)
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		slices.Sort(all)
		return "", &setupError{fmt.Sprintf("teamspace %q is not there: the account is in %s; set LIGHTNING_TEAMSPACE", wanted, orNone(slices.Compact(all)))}
	default:
		return "", &setupError{fmt.Sprintf(`teamspace %q is ambiguous: set LIGHTNING_TEAMSPACE to "owner/name"`, wanted)}
	}
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

type named struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Username string `json:"username"`
}

// ownerID finds an owner: an organization, or else a user.
func (e *Executor) ownerID(ctx context.Context, owner string, self identity) (id string, organization bool, err error) {
	var org named
	// The id is empty, which leaves a slash at the path's end.
	err = e.client.call(ctx, http.MethodGet, "/v1/orgs/", url.Values{"name": {owner}}, nil, &org)
	switch {
	case err == nil && org.Name == owner:
		return org.ID, true, nil
	case err != nil && !rest.Missing(err):
		return "", false, fmt.Errorf("organization %s: %w", owner, err)
	case self.Username == owner:
		return self.UserID, false, nil
	}
	var answer struct {
		Users []named `json:"users"`
	}
	err = e.client.call(ctx, http.MethodGet, "/v1/users/search", url.Values{"query": {owner}}, nil, &answer)
	if err != nil && !rest.Missing(err) {
		return "", false, fmt.Errorf("user %s: %w", owner, err)
	}
	for _, user := range answer.Users { // the search is fuzzy
		if user.Username == owner {
			return user.ID, false, nil
		}
	}
	return "", false, &setupError{fmt.Sprintf(`there is no organization and no user %q: set LIGHTNING_TEAMSPACE to "owner/name", as in the address of the teamspace's page`, owner)}
}

// ownerName is the owner as links have it.
func (e *Executor) ownerName(ctx context.Context, id string, self identity) (string, error) {
	if id == self.UserID {
		return self.Username, nil
	}
	var org named
	err := e.client.call(ctx, http.MethodGet, "/v1/orgs/"+url.PathEscape(id), nil, nil, &org)
	switch {
	case err == nil:
		return org.Name, nil
	case !rest.Missing(err):
		return "", fmt.Errorf("owner of the teamspace: %w", err)
	}
	owner, _, full := strings.Cut(e.config.Teamspace, "/")
	if !full {
		return "", &setupError{`the owner of the teamspace is unknown: set LIGHTNING_TEAMSPACE to "owner/name"`}
	}
	return owner, nil
}

// reachable tells a job that is gone from a teamspace that is.
func (e *Executor) reachable(ctx context.Context, p place) error {
	var found project
	if err := e.client.call(ctx, http.MethodGet, "/v1/projects/"+url.PathEscape(p.project), nil, nil, &found); err != nil {
		e.places.forget()
		return advise(fmt.Errorf("teamspace %s: %w", p.name(), err))
	}
	return nil
}
