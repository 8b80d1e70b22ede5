package fakegithub

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// maxCommentBody bounds a comment, in characters.
const maxCommentBody = 65536

// comment is a comment on a pull request.
type comment struct {
	id                   int64
	number               int
	author               *user
	viaApp               bool
	body                 string
	createdAt, updatedAt time.Time
	reactions            []*reaction
}

// Comment is a comment as GitHub shows it.
type Comment struct {
	ID                    int64     `json:"id"`
	NodeID                string    `json:"node_id"`
	URL                   string    `json:"url"`
	HTMLURL               string    `json:"html_url"`
	IssueURL              string    `json:"issue_url"`
	User                  object    `json:"user"`
	CreatedAt             time.Time `json:"created_at"`
	UpdatedAt             time.Time `json:"updated_at"`
	AuthorAssociation     string    `json:"author_association"`
	Body                  string    `json:"body"`
	Reactions             object    `json:"reactions"`
	PerformedViaGitHubApp object    `json:"performed_via_github_app"` // null: not by an App
}

// comment renders a comment. s.mu is held.
func (s *Server) comment(l links, r *repo, cm *comment) Comment {
	url := fmt.Sprintf("%s/repos/%s/issues/comments/%d", l.api, r.fullName(), cm.id)
	shown := Comment{
		ID: cm.id, NodeID: nodeID("IC", cm.id), URL: url,
		HTMLURL:  fmt.Sprintf("%s/%s/pull/%d#issuecomment-%d", l.web, r.fullName(), cm.number, cm.id),
		IssueURL: fmt.Sprintf("%s/repos/%s/issues/%d", l.api, r.fullName(), cm.number),
		User:     l.user(cm.author), CreatedAt: cm.createdAt, UpdatedAt: cm.updatedAt,
		AuthorAssociation: r.association(cm.author), Body: cm.body, Reactions: rollup(url, cm.reactions),
	}
	if cm.viaApp {
		shown.PerformedViaGitHubApp = s.app(l)
	}
	return shown
}

// commentsOn lists the comments on a pull request, oldest first. s.mu is held.
func (r *repo) commentsOn(number int) []*comment {
	var found []*comment
	for _, cm := range r.comments {
		if cm.number == number {
			found = append(found, cm)
		}
	}
	return found
}

// issue renders a pull request as the issue that it also is. s.mu is held.
func (s *Server) issue(l links, r *repo, p *pull) object {
	url := fmt.Sprintf("%s/repos/%s/issues/%d", l.api, r.fullName(), p.number)
	html := fmt.Sprintf("%s/%s/pull/%d", l.web, r.fullName(), p.number)
	return object{
		"id": p.issueID, "node_id": nodeID("I", p.issueID), "url": url, "repository_url": l.api + "/repos/" + r.fullName(),
		"labels_url": url + "/labels{/name}", "comments_url": url + "/comments", "events_url": url + "/events", "html_url": html,
		"number": p.number, "state": p.state(), "title": p.title, "body": orNil(p.body), "user": l.user(p.author),
		"labels": l.labels(r, p.labels), "assignee": nil, "assignees": []object{}, "milestone": nil, "locked": false,
		"active_lock_reason": nil, "comments": len(r.commentsOn(p.number)), "closed_at": p.closedAt, "created_at": p.createdAt,
		"updated_at": p.updatedAt, "author_association": r.association(p.author), "draft": p.draft, "reactions": rollup(url, p.reactions),
		"pull_request": object{
			"url": fmt.Sprintf("%s/repos/%s/pulls/%d", l.api, r.fullName(), p.number), "html_url": html,
			"diff_url": html + ".diff", "patch_url": html + ".patch", "merged_at": p.mergedAt,
		},
	}
}

func (c *call) getIssue() (reply, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	p, err := c.pullOf("issue_number")
	if err != nil {
		return reply{}, err
	}
	return ok(c.s.issue(c.urls, c.repo, p))
}

// since reads the parameter by which lists of comments are cut.
func (c *call) since() (time.Time, error) {
	value := c.r.URL.Query().Get("since")
	if value == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return time.Time{}, invalid(fieldError{Resource: "IssueComment", Field: "since", Code: "invalid"})
	}
	return at, nil
}

func (c *call) listComments() (reply, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	p, err := c.pullOf("issue_number")
	if err != nil {
		return reply{}, err
	}
	return c.showComments(c.repo.commentsOn(p.number))
}

func (c *call) listRepoComments() (reply, error) {
	q := c.r.URL.Query()
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	found := slices.Clone(c.repo.comments)
	slices.SortStableFunc(found, func(a, b *comment) int {
		order := a.createdAt.Compare(b.createdAt)
		if q.Get("sort") == "updated" {
			order = a.updatedAt.Compare(b.updatedAt)
		}
		if q.Has("sort") && q.Get("direction") == "desc" { // direction without sort is ignored
			order = -order
		}
		return order
	})
	return c.showComments(found)
}

// showComments answers with a page of comments. s.mu is held.
func (c *call) showComments(comments []*comment) (reply, error) {
	since, err := c.since()
	if err != nil {
		return reply{}, err
	}
	cut, header := pageOf(c, slices.DeleteFunc(comments, func(cm *comment) bool { return cm.updatedAt.Before(since) }))
	shown := []Comment{}
	for _, cm := range cut {
		shown = append(shown, c.s.comment(c.urls, c.repo, cm))
	}
	return reply{status: http.StatusOK, body: shown, header: header}, nil
}

// bodyOf reads and checks the text of a comment.
func (c *call) bodyOf() (string, error) {
	var in struct {
		Body *string `json:"body"`
	}
	if err := c.decode(&in); err != nil {
		return "", err
	}
	if in.Body == nil {
		return "", invalid(fieldError{Resource: "IssueComment", Field: "body", Code: "missing_field"})
	}
	return *in.Body, checkBody(*in.Body)
}

func checkBody(body string) error {
	if strings.TrimSpace(body) == "" {
		return invalid(fieldError{Resource: "IssueComment", Field: "data", Code: "unprocessable", Message: "Body cannot be blank"})
	}
	if utf8.RuneCountInString(body) > maxCommentBody {
		return invalid(fieldError{Resource: "IssueComment", Field: "data", Code: "unprocessable", Message: "Body is too long (maximum is 65536 characters)"})
	}
	return nil
}

func (c *call) createComment() (reply, error) {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := c.pullOf("issue_number")
	if err != nil {
		return reply{}, err
	}
	body, err := c.bodyOf()
	if err != nil {
		return reply{}, err
	}
	cm := s.newComment(c.repo, p, s.bot(), body)
	cm.viaApp = true
	s.emit("issue_comment", s.commentEvent(c.repo, p, cm, "created", nil))
	return created(s.comment(c.urls, c.repo, cm))
}

// newComment adds a comment. s.mu is held.
func (s *Server) newComment(r *repo, p *pull, author *user, body string) *comment {
	cm := &comment{id: s.id(), number: p.number, author: author, body: body, createdAt: s.now(), updatedAt: s.now()}
	r.comments = append(r.comments, cm)
	p.updatedAt = s.now()
	return cm
}

// commentEvent is the payload of an issue_comment event; before is the text
// that an edit replaced. s.mu is held.
func (s *Server) commentEvent(r *repo, p *pull, cm *comment, action string, before *string) object {
	l := s.linksHeld("")
	payload := s.event(r, action, cm.author)
	payload["issue"], payload["comment"] = s.issue(l, r, p), s.comment(l, r, cm)
	if before != nil {
		payload["changes"] = object{"body": object{"from": *before}}
	}
	return payload
}

// commentOf returns the comment that the path names, and its place in the
// list. s.mu is held.
func (c *call) commentOf() (int, *comment, error) {
	id, err := strconv.ParseInt(c.params["comment_id"], 10, 64)
	if err != nil {
		return 0, nil, notFound()
	}
	for i, cm := range c.repo.comments {
		if cm.id == id {
			return i, cm, nil
		}
	}
	return 0, nil, notFound()
}

func (c *call) getComment() (reply, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	_, cm, err := c.commentOf()
	if err != nil {
		return reply{}, err
	}
	return ok(c.s.comment(c.urls, c.repo, cm))
}

// updateComment changes the App's own comments only: an installation's token
// does not speak for people.
func (c *call) updateComment() (reply, error) {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	_, cm, err := c.commentOf()
	if err != nil {
		return reply{}, err
	}
	if !cm.viaApp {
		return reply{}, refuse(http.StatusForbidden, msgNotAccessible)
	}
	body, err := c.bodyOf()
	if err != nil {
		return reply{}, err
	}
	before := cm.body
	cm.body, cm.updatedAt = body, s.now()
	if p, err := c.repo.pullNumbered(cm.number); err == nil {
		s.emit("issue_comment", s.commentEvent(c.repo, p, cm, "edited", &before))
	}
	return ok(s.comment(c.urls, c.repo, cm))
}

func (c *call) deleteComment() (reply, error) {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	at, cm, err := c.commentOf()
	if err != nil {
		return reply{}, err
	}
	if !cm.viaApp {
		return reply{}, refuse(http.StatusForbidden, msgNotAccessible)
	}
	c.repo.comments = slices.Delete(c.repo.comments, at, at+1)
	if p, err := c.repo.pullNumbered(cm.number); err == nil {
		s.emit("issue_comment", s.commentEvent(c.repo, p, cm, "deleted", nil))
	}
	return noContent()
}
