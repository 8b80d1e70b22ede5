package fakegithub

import (
	"net/http"
	"slices"
	"time"
)

// Bounds of commit statuses.
const (
	maxStatusDescription = 140  // characters
	maxStatuses          = 1000 // of one context on one commit
)

// status is a commit status, the older kind of check.
type status struct {
	id                                          int64
	sha, state, context, description, targetURL string
	creator                                     *user
	createdAt                                   time.Time
}

func (c *call) createStatus() (reply, error) {
	var in struct {
		State       *string `json:"state"`
		Context     string  `json:"context"`
		Description string  `json:"description"`
		TargetURL   string  `json:"target_url"`
	}
	if err := c.decode(&in); err != nil {
		return reply{}, err
	}
	f := &faultsOf{resource: "Status"}
	f.require("state", in.State)
	f.oneOf("state", in.State, "error", "failure", "pending", "success")
	f.short("description", in.Description, maxStatusDescription)
	if err := f.err(); err != nil {
		return reply{}, err
	}
	sha := c.params["sha"]
	held, err := c.s.holds(c.r.Context(), c.repo, sha)
	if err != nil {
		return reply{}, err
	}
	if !held {
		return reply{}, noSuchCommit(sha)
	}
	if in.Context == "" {
		in.Context = "default"
	}
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	same := 0
	for _, have := range c.repo.statuses {
		if have.sha == sha && have.context == in.Context {
			same++
		}
	}
	if same >= maxStatuses {
		return reply{}, invalid(fieldError{Resource: "Status", Field: "context", Code: "custom", Message: "This SHA and context has reached the maximum number of statuses."})
	}
	made := &status{
		id: s.id(), sha: sha, state: *in.State, context: in.Context, description: in.Description, targetURL: in.TargetURL,
		creator: s.bot(), createdAt: s.now(),
	}
	c.repo.statuses = append(c.repo.statuses, made)
	shown := c.status(made)
	shown["creator"] = c.urls.user(made.creator)
	return created(shown)
}

func (c *call) status(st *status) object {
	return object{
		"id": st.id, "node_id": nodeID("SC", st.id), "url": c.repoURL("/statuses/" + st.sha), "avatar_url": c.urls.web + "/avatars/" + st.creator.login,
		"state": st.state, "context": st.context, "description": orNil(st.description), "target_url": orNil(st.targetURL),
		"created_at": st.createdAt, "updated_at": st.createdAt,
	}
}

// statusesOf lists the statuses of a commit, newest first.
func (c *call) statusesOf() (string, []*status, error) {
	sha, err := c.commitOf(c.params["ref"], notFound())
	if err != nil {
		return "", nil, err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	var found []*status
	for _, st := range slices.Backward(c.repo.statuses) {
		if st.sha == sha {
			found = append(found, st)
		}
	}
	return sha, found, nil
}

func (c *call) listStatuses() (reply, error) {
	_, found, err := c.statusesOf()
	if err != nil {
		return reply{}, err
	}
	shown := []object{}
	for _, st := range found {
		one := c.status(st)
		one["creator"] = c.urls.user(st.creator)
		shown = append(shown, one)
	}
	return list(c, shown)
}

// getCombinedStatus sums the latest status of each context up.
func (c *call) getCombinedStatus() (reply, error) {
	sha, found, err := c.statusesOf()
	if err != nil {
		return reply{}, err
	}
	state, shown, seen := "success", []object{}, map[string]bool{}
	for _, st := range found {
		if seen[st.context] {
			continue
		}
		seen[st.context] = true
		shown = append(shown, c.status(st))
		switch st.state {
		case "error", "failure":
			state = "failure"
		case "pending":
			if state == "success" {
				state = "pending"
			}
		}
	}
	if len(shown) == 0 {
		state = "pending"
	}
	cut, header := pageOf(c, shown)
	return reply{status: http.StatusOK, header: header, body: object{
		"state": state, "statuses": cut, "sha": sha, "total_count": len(shown), "repository": c.urls.repo(c.repo),
		"commit_url": c.repoURL("/commits/" + sha), "url": c.repoURL("/commits/" + sha + "/status"),
	}}, nil
}
