package fakegithub

import (
	"net/http"
	"slices"
	"strings"
)

// grant sets what somebody may do in the repository: admin, maintain, write,
// triage, read or none. s.mu is held.
func (r *repo) grant(login, role string) error {
	if !slices.Contains([]string{"admin", "maintain", "write", "triage", "read", "none"}, role) {
		return refuse(http.StatusUnprocessableEntity, "permission "+role+" is none of admin, maintain, write, triage, read, none")
	}
	r.collaborators[strings.ToLower(login)] = role
	return nil
}

// SetPermission sets what somebody may do in a repository: admin, maintain,
// write, triage, read or none.
func (s *Server) SetPermission(owner, name, login, role string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(owner, name)
	if err != nil {
		return err
	}
	s.user(login, "User")
	return r.grant(login, role)
}

// role returns what somebody may do: everybody reads a public repository.
func (r *repo) role(login string) string {
	role := r.collaborators[strings.ToLower(login)]
	if role == "" || role == "none" {
		if role = "read"; r.Private {
			role = "none"
		}
	}
	return role
}

// collaborates reports whether somebody was given more than the public has.
func (r *repo) collaborates(login string) bool {
	role := r.collaborators[strings.ToLower(login)]
	return role != "" && role != "none" && (r.Private || role != "read")
}

// association is GitHub's author_association: a hint, never a grant.
func (r *repo) association(u *user) string {
	switch {
	case u == r.owner:
		return "OWNER"
	case r.collaborates(u.login):
		return "COLLABORATOR"
	}
	return "NONE"
}

func (c *call) checkCollaborator() (reply, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if !c.repo.collaborates(c.params["username"]) {
		return reply{}, notFound()
	}
	return noContent()
}

func (c *call) getPermission() (reply, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	u := c.s.users[strings.ToLower(c.params["username"])]
	if u == nil {
		return reply{}, refuse(http.StatusNotFound, c.params["username"]+" is not a user")
	}
	role := c.repo.role(u.login)
	// The older field knows four levels only.
	permission := map[string]string{"maintain": "write", "triage": "read"}[role]
	if permission == "" {
		permission = role
	}
	shown := c.urls.user(u)
	shown["role_name"] = role
	at := func(roles ...string) bool { return slices.Contains(roles, role) }
	shown["permissions"] = object{
		"admin": at("admin"), "maintain": at("admin", "maintain"), "push": at("admin", "maintain", "write"),
		"triage": at("admin", "maintain", "write", "triage"), "pull": role != "none",
	}
	return ok(object{"permission": permission, "role_name": role, "user": shown})
}
