package fakegithub

import (
	"hash/fnv"
	"net/http"
	"strings"
)

// user is a person, an organization or a bot.
type user struct {
	login string
	id    int64
	kind  string // User, Organization or Bot
}

// user returns the account of that login, made on first mention, as anybody
// may turn up in an event. Its id follows from the login. s.mu is held.
func (s *Server) user(login, kind string) *user {
	key := strings.ToLower(login)
	if u := s.users[key]; u != nil {
		return u
	}
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(key)) // a hash takes all
	u := &user{login: login, id: 1_000_000 + int64(sum.Sum32()), kind: kind}
	s.users[key] = u
	return u
}

// bot is the App's own account. s.mu is held.
func (s *Server) bot() *user { return s.user(s.cfg.AppSlug+"[bot]", "Bot") }

// links builds the addresses in answers.
type links struct {
	web string // scheme and host
	api string // where the API starts: web, or web/api/v3
}

func (s *Server) links(prefix string) links {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.linksHeld(prefix)
}

// linksHeld is links while s.mu is held.
func (s *Server) linksHeld(prefix string) links { return links{web: s.base, api: s.base + prefix} }

// user renders an account as GitHub's simple-user.
func (l links) user(u *user) object {
	if u == nil {
		return nil
	}
	url := l.api + "/users/" + u.login
	return object{
		"login": u.login, "id": u.id, "node_id": nodeID("U", u.id), "avatar_url": l.web + "/avatars/" + u.login,
		"gravatar_id": "", "url": url, "html_url": l.web + "/" + u.login, "followers_url": url + "/followers",
		"following_url": url + "/following{/other_user}", "gists_url": url + "/gists{/gist_id}",
		"starred_url": url + "/starred{/owner}{/repo}", "subscriptions_url": url + "/subscriptions",
		"organizations_url": url + "/orgs", "repos_url": url + "/repos", "events_url": url + "/events{/privacy}",
		"received_events_url": url + "/received_events", "type": u.kind, "user_view_type": "public", "site_admin": false,
	}
}

// organization renders the owner of a repository as events carry it.
func (l links) organization(u *user) object {
	url := l.api + "/orgs/" + u.login
	return object{
		"login": u.login, "id": u.id, "node_id": nodeID("O", u.id), "url": url, "repos_url": url + "/repos",
		"events_url": url + "/events", "hooks_url": url + "/hooks", "issues_url": url + "/issues",
		"members_url": url + "/members{/member}", "public_members_url": url + "/public_members{/member}",
		"avatar_url": l.web + "/avatars/" + u.login, "description": nil,
	}
}

// orNull renders an account that may be missing as an object or JSON's null.
func (l links) orNull(u *user) any {
	if u == nil {
		return nil
	}
	return l.user(u)
}

func (c *call) getUser() (reply, error) {
	c.s.mu.Lock()
	u := c.s.users[strings.ToLower(c.params["username"])]
	c.s.mu.Unlock()
	if u == nil {
		return reply{}, refuse(http.StatusNotFound, "Not Found")
	}
	shown := c.urls.user(u)
	for _, name := range []string{"name", "company", "location", "email", "hireable", "bio", "blog"} {
		shown[name] = nil
	}
	for _, name := range []string{"public_repos", "public_gists", "followers", "following"} {
		shown[name] = 0
	}
	shown["created_at"], shown["updated_at"] = epoch(), epoch()
	return ok(shown)
}
