package fakegithub

import (
	"net/http"
	"slices"
	"strconv"
	"time"
)

// reaction is one person's emoji.
type reaction struct {
	id        int64
	author    *user
	content   string
	createdAt time.Time
}

// emoji are the contents of reactions.
func emoji() []string {
	return []string{"+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes"}
}

// rollup counts reactions by content.
func rollup(url string, reactions []*reaction) object {
	counts := object{"url": url + "/reactions", "total_count": len(reactions)}
	for _, content := range emoji() {
		n := 0
		for _, r := range reactions {
			if r.content == content {
				n++
			}
		}
		counts[content] = n
	}
	return counts
}

func (c *call) reaction(r *reaction) object {
	return object{"id": r.id, "node_id": nodeID("REA", r.id), "user": c.urls.user(r.author), "content": r.content, "created_at": r.createdAt}
}

// ofComment and ofIssue return the reactions that the path is about. s.mu is
// held.
func (c *call) ofComment() (*[]*reaction, error) {
	_, cm, err := c.commentOf()
	if err != nil {
		return nil, err
	}
	return &cm.reactions, nil
}

func (c *call) ofIssue() (*[]*reaction, error) {
	p, err := c.pullOf("issue_number")
	if err != nil {
		return nil, err
	}
	return &p.reactions, nil
}

func (c *call) listCommentReactions() (reply, error)  { return c.listReactions(c.ofComment) }
func (c *call) listIssueReactions() (reply, error)    { return c.listReactions(c.ofIssue) }
func (c *call) createCommentReaction() (reply, error) { return c.createReaction(c.ofComment) }
func (c *call) createIssueReaction() (reply, error)   { return c.createReaction(c.ofIssue) }
func (c *call) deleteCommentReaction() (reply, error) { return c.deleteReaction(c.ofComment) }
func (c *call) deleteIssueReaction() (reply, error)   { return c.deleteReaction(c.ofIssue) }

func (c *call) listReactions(of func() (*[]*reaction, error)) (reply, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	reactions, err := of()
	if err != nil {
		return reply{}, err
	}
	want := c.r.URL.Query().Get("content")
	shown := []object{}
	for _, r := range *reactions {
		if want == "" || r.content == want {
			shown = append(shown, c.reaction(r))
		}
	}
	return list(c, shown)
}

// createReaction answers 201 to a new reaction, 200 to one that is there.
func (c *call) createReaction(of func() (*[]*reaction, error)) (reply, error) {
	var in struct {
		Content *string `json:"content"`
	}
	if err := c.decode(&in); err != nil {
		return reply{}, err
	}
	f := &faultsOf{resource: "Reaction"}
	f.require("content", in.Content)
	f.oneOf("content", in.Content, emoji()...)
	if err := f.err(); err != nil {
		return reply{}, err
	}
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	reactions, err := of()
	if err != nil {
		return reply{}, err
	}
	for _, r := range *reactions {
		if r.author == s.bot() && r.content == *in.Content {
			return ok(c.reaction(r))
		}
	}
	made := &reaction{id: s.id(), author: s.bot(), content: *in.Content, createdAt: s.now()}
	*reactions = append(*reactions, made)
	return reply{status: http.StatusCreated, body: c.reaction(made)}, nil
}

func (c *call) deleteReaction(of func() (*[]*reaction, error)) (reply, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	reactions, err := of()
	if err != nil {
		return reply{}, err
	}
	before := len(*reactions)
	*reactions = slices.DeleteFunc(*reactions, func(r *reaction) bool {
		return strconv.FormatInt(r.id, 10) == c.params["reaction_id"]
	})
	if len(*reactions) == before {
		return reply{}, notFound()
	}
	return noContent()
}
