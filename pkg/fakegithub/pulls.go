package fakegithub

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxPullFiles bounds the files of a pull request or commit that GitHub lists.
const maxPullFiles = 3000

// pull is a pull request.
type pull struct {
	id, issueID                   int64
	number                        int
	title, body                   string
	draft                         bool
	author                        *user
	headRef, headSHA              string
	headRepo                      *repo // the fork's, or the base repository
	baseRef, baseSHA              string
	createdAt, updatedAt          time.Time
	closedAt, mergedAt            *time.Time
	mergeSHA                      string // of the trial merge, and once merged of the merge
	mergedBy                      *user
	labels                        []*label
	reactions                     []*reaction
	commits, additions, deletions int
	changedFiles                  int
	mergeable                     *bool
	asked                         bool // mergeable has been asked for: now it is computed
}

func (p *pull) state() string {
	if p.closedAt != nil {
		return "closed"
	}
	return "open"
}

// PullEnd is the head or the base of a pull request.
type PullEnd struct {
	Label string `json:"label"`
	Ref   string `json:"ref"`
	SHA   string `json:"sha"`
	User  object `json:"user"`
	Repo  object `json:"repo"`
}

// PullSimple is a pull request as lists show it.
type PullSimple struct {
	ID                int64             `json:"id"`
	NodeID            string            `json:"node_id"`
	URL               string            `json:"url"`
	HTMLURL           string            `json:"html_url"`
	DiffURL           string            `json:"diff_url"`
	PatchURL          string            `json:"patch_url"`
	IssueURL          string            `json:"issue_url"`
	CommitsURL        string            `json:"commits_url"`
	ReviewCommentsURL string            `json:"review_comments_url"`
	ReviewCommentURL  string            `json:"review_comment_url"`
	CommentsURL       string            `json:"comments_url"`
	StatusesURL       string            `json:"statuses_url"`
	Number            int               `json:"number"`
	State             string            `json:"state"` // open or closed
	Locked            bool              `json:"locked"`
	Title             string            `json:"title"`
	User              object            `json:"user"`
	Body              *string           `json:"body"`
	Labels            []object          `json:"labels"`
	Milestone         any               `json:"milestone"`
	ActiveLockReason  any               `json:"active_lock_reason"`
	CreatedAt         time.Time         `json:"created_at"`
	UpdatedAt         time.Time         `json:"updated_at"`
	ClosedAt          *time.Time        `json:"closed_at"`
	MergedAt          *time.Time        `json:"merged_at"`
	MergeCommitSHA    *string           `json:"merge_commit_sha"`
	Assignee          any               `json:"assignee"`
	Assignees         []object          `json:"assignees"`
	RequestedReviewer []object          `json:"requested_reviewers"`
	RequestedTeams    []object          `json:"requested_teams"`
	Head              PullEnd           `json:"head"`
	Base              PullEnd           `json:"base"`
	Links             map[string]object `json:"_links"`
	AuthorAssociation string            `json:"author_association"`
	AutoMerge         any               `json:"auto_merge"`
	Draft             bool              `json:"draft"`
}

// Pull is a pull request as GitHub shows it by itself and in webhooks.
type Pull struct {
	PullSimple
	Merged              bool   `json:"merged"`
	Mergeable           *bool  `json:"mergeable"` // null: being computed, ask again
	Rebaseable          *bool  `json:"rebaseable"`
	MergeableState      string `json:"mergeable_state"`
	MergedBy            any    `json:"merged_by"`
	Comments            int    `json:"comments"`
	ReviewComments      int    `json:"review_comments"`
	MaintainerCanModify bool   `json:"maintainer_can_modify"`
	Commits             int    `json:"commits"`
	Additions           int    `json:"additions"`
	Deletions           int    `json:"deletions"`
	ChangedFiles        int    `json:"changed_files"`
}

// pullSimple renders a pull request of a list. s.mu is held.
func (s *Server) pullSimple(l links, r *repo, p *pull) PullSimple {
	url := fmt.Sprintf("%s/repos/%s/pulls/%d", l.api, r.fullName(), p.number)
	html := fmt.Sprintf("%s/%s/pull/%d", l.web, r.fullName(), p.number)
	issue := fmt.Sprintf("%s/repos/%s/issues/%d", l.api, r.fullName(), p.number)
	statuses := l.api + "/repos/" + r.fullName() + "/statuses/" + p.headSHA
	reviewComment := l.api + "/repos/" + r.fullName() + "/pulls/comments{/number}"
	href := func(to string) object { return object{"href": to} }
	return PullSimple{
		ID: p.id, NodeID: nodeID("PR", p.id), URL: url, HTMLURL: html, DiffURL: html + ".diff", PatchURL: html + ".patch",
		IssueURL: issue, CommitsURL: url + "/commits", ReviewCommentsURL: url + "/comments", ReviewCommentURL: reviewComment,
		CommentsURL: issue + "/comments", StatusesURL: statuses, Number: p.number, State: p.state(), Title: p.title,
		User: l.user(p.author), Body: orNil(p.body), Labels: l.labels(r, p.labels),
		CreatedAt: p.createdAt, UpdatedAt: p.updatedAt, ClosedAt: p.closedAt, MergedAt: p.mergedAt, MergeCommitSHA: orNil(p.mergeSHA),
		Assignees: []object{}, RequestedReviewer: []object{}, RequestedTeams: []object{},
		Head: PullEnd{
			Label: p.headRepo.owner.login + ":" + p.headRef, Ref: p.headRef, SHA: p.headSHA,
			User: l.user(p.headRepo.owner), Repo: l.pullRepo(p.headRepo, r),
		},
		Base: PullEnd{Label: r.owner.login + ":" + p.baseRef, Ref: p.baseRef, SHA: p.baseSHA, User: l.user(r.owner), Repo: l.repo(r)},
		Links: map[string]object{
			"self": href(url), "html": href(html), "issue": href(issue), "comments": href(issue + "/comments"),
			"review_comments": href(url + "/comments"), "review_comment": href(reviewComment), "commits": href(url + "/commits"),
			"statuses": href(statuses),
		},
		AuthorAssociation: r.association(p.author), Draft: p.draft,
	}
}

// pullRepo renders the head's repository, which may be a fork of base.
func (l links) pullRepo(head, base *repo) object {
	shown := l.repo(head)
	shown["fork"] = head != base
	return shown
}

// pull renders a pull request. s.mu is held.
func (s *Server) pull(l links, r *repo, p *pull) Pull {
	state := "unknown"
	if p.mergeable != nil {
		state = map[bool]string{true: "clean", false: "dirty"}[*p.mergeable]
	}
	return Pull{
		PullSimple: s.pullSimple(l, r, p), Merged: p.mergedAt != nil, Mergeable: p.mergeable, MergeableState: state,
		MergedBy: l.orNull(p.mergedBy), Comments: len(r.commentsOn(p.number)), MaintainerCanModify: false,
		Commits: p.commits, Additions: p.additions, Deletions: p.deletions, ChangedFiles: p.changedFiles,
	}
}

// orNil is a string as GitHub shows one that may be missing.
func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// pullNumbered returns a pull request of the repository. s.mu is held.
func (r *repo) pullNumbered(number int) (*pull, error) {
	for _, p := range r.pulls {
		if p.number == number {
			return p, nil
		}
	}
	return nil, notFound()
}

// pullOf returns the pull request that the path names. s.mu is held.
func (c *call) pullOf(param string) (*pull, error) {
	number, err := strconv.Atoi(c.params[param])
	if err != nil {
		return nil, notFound()
	}
	return c.repo.pullNumbered(number)
}

// pullHeadName matches the names of pull requests' heads.
var pullHeadName = regexp.MustCompile(`^(?:refs/)?pull/([0-9]{1,9})/head$`)

// pullHead returns the commit that pull/N/head names, "" for other names.
func (s *Server) pullHead(r *repo, name string) string {
	parts := pullHeadName.FindStringSubmatch(name)
	if parts == nil {
		return ""
	}
	number, _ := strconv.Atoi(parts[1]) // digits only, and few
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, err := r.pullNumbered(number); err == nil {
		return p.headSHA
	}
	return ""
}

// pullRefs lists refs/pull/N/head of all pull requests.
func (s *Server) pullRefs(r *repo) []gitRef {
	s.mu.Lock()
	defer s.mu.Unlock()
	var refs []gitRef
	for _, p := range r.pulls {
		refs = append(refs, gitRef{name: fmt.Sprintf("refs/pull/%d/head", p.number), object: gitObject{sha: p.headSHA, kind: "commit"}})
	}
	return refs
}

func (c *call) listPulls() (reply, error) {
	q := c.r.URL.Query()
	state := q.Get("state")
	if state == "" {
		state = "open"
	}
	if !slices.Contains([]string{"open", "closed", "all"}, state) {
		return reply{}, invalid(fieldError{Resource: "PullRequest", Field: "state", Code: "invalid"})
	}
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	found := []*pull{}
	for _, p := range c.repo.pulls {
		label := p.headRepo.owner.login + ":" + p.headRef
		// A head without "owner:" is ignored, as on GitHub.
		head := q.Get("head")
		if (state == "all" || p.state() == state) && (q.Get("base") == "" || p.baseRef == q.Get("base")) &&
			(!strings.Contains(head, ":") || strings.EqualFold(head, label)) {
			found = append(found, p)
		}
	}
	sortPulls(found, q.Get("sort"), q.Get("direction"))
	cut, header := pageOf(c, found)
	shown := []PullSimple{}
	for _, p := range cut {
		shown = append(shown, s.pullSimple(c.urls, c.repo, p))
	}
	return reply{status: http.StatusOK, body: shown, header: header}, nil
}

// sortPulls orders by created (newest first unless said otherwise) or updated.
func sortPulls(pulls []*pull, by, direction string) {
	if direction == "" && by != "" && by != "created" {
		direction = "asc"
	}
	slices.SortStableFunc(pulls, func(a, b *pull) int {
		order := a.number - b.number
		if by == "updated" {
			if n := a.updatedAt.Compare(b.updatedAt); n != 0 {
				order = n
			}
		}
		if direction != "asc" {
			order = -order
		}
		return order
	})
}

// getPull answers with a pull request. Whether it can be merged is computed
// after it was first asked for, so the first answer is null, as on GitHub.
func (c *call) getPull() (reply, error) {
	s := c.s
	s.mu.Lock()
	p, err := c.pullOf("pull_number")
	if err != nil {
		s.mu.Unlock()
		return reply{}, err
	}
	compute := p.asked && p.mergeable == nil && p.closedAt == nil
	base, head := p.baseSHA, p.headSHA
	p.asked = true
	s.mu.Unlock()
	if compute {
		merge, err := c.repo.git.testMerge(c.r.Context(), base, head, "Merge "+head+" into "+base)
		if err != nil {
			return reply{}, err
		}
		s.mu.Lock()
		if p.headSHA == head && p.baseSHA == base {
			mergeable := merge != ""
			p.mergeable = &mergeable
			if mergeable { // where there are conflicts the old one stays
				p.mergeSHA = merge
			}
		}
		s.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return ok(s.pull(c.urls, c.repo, p))
}

// testMerge merges a head into a base and returns the commit, or nothing where they
// conflict. Its objects go to a scratch directory, so that the repository stays as
// it is.
func (g gitDir) testMerge(ctx context.Context, base, head, message string) (sha string, err error) {
	objects, err := g.run(ctx, "", "rev-parse", "--path-format=absolute", "--git-path", "objects")
	if err != nil {
		return "", err
	}
	scratch, err := g.merges.dir()
	if err != nil {
		return "", err
	}
	write := func(args ...string) (string, error) {
		cmd := g.command(ctx, args...)
		cmd.Env = append(cmd.Env, "GIT_OBJECT_DIRECTORY="+scratch, "GIT_ALTERNATE_OBJECT_DIRECTORIES="+strings.TrimSpace(string(objects)),
			"GIT_AUTHOR_NAME=GitHub", "GIT_AUTHOR_EMAIL=noreply@github.com", "GIT_COMMITTER_NAME=GitHub", "GIT_COMMITTER_EMAIL=noreply@github.com")
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err
	}
	tree, err := write("merge-tree", "--write-tree", base, head)
	if exitCode(err) == 1 {
		return "", nil // conflicts
	}
	if err == nil {
		sha, err = write("commit-tree", "-p", base, "-p", head, "-m", message, tree)
	}
	if err != nil {
		return "", fmt.Errorf("trial merge of %s into %s: %w", head, base, err)
	}
	return sha, nil
}

// rangeOf returns the commits that a pull request's lists run between.
func (c *call) rangeOf() (base, head string, err error) {
	c.s.mu.Lock()
	p, err := c.pullOf("pull_number")
	if err != nil {
		c.s.mu.Unlock()
		return "", "", err
	}
	base, head = p.baseSHA, p.headSHA
	c.s.mu.Unlock()
	return base, head, nil
}

func (c *call) listPullCommits() (reply, error) {
	base, head, err := c.rangeOf()
	if err != nil {
		return reply{}, err
	}
	commits, err := c.repo.git.commits(c.r.Context(), []string{head, "^" + base}, []string{"--reverse"})
	if err != nil {
		return reply{}, err
	}
	shown := []object{}
	for _, cm := range commits[:min(len(commits), maxCompareCommits)] {
		shown = append(shown, c.urls.commit(c.repo, cm))
	}
	return list(c, shown)
}

func (c *call) listPullFiles() (reply, error) {
	base, head, err := c.rangeOf()
	if err != nil {
		return reply{}, err
	}
	changes, err := c.repo.git.changed(c.r.Context(), base, head)
	if err != nil {
		return reply{}, err
	}
	return list(c, c.urls.files(c.repo, head, changes[:min(len(changes), maxPullFiles)]))
}

// changed lists what head changed since it left base; all of it when the two
// have no common past.
func (g gitDir) changed(ctx context.Context, base, head string) ([]change, error) {
	from, err := g.mergeBase(ctx, base, head)
	if err != nil {
		return nil, err
	}
	if from == "" {
		from = base
	}
	return g.diff(ctx, from, head)
}

// listReviews answers that there are none: nobody reviews here.
func (c *call) listReviews() (reply, error) {
	if _, _, err := c.rangeOf(); err != nil {
		return reply{}, err
	}
	return list(c, []object{})
}

// listCommitPulls lists the pull requests that hold a commit: open ones with
// it among their commits, and merged ones.
func (c *call) listCommitPulls() (reply, error) {
	s, ctx := c.s, c.r.Context()
	sha, err := c.commitOf(c.params["commit_sha"], noSuchCommit(c.params["commit_sha"]))
	if err != nil {
		return reply{}, err
	}
	s.mu.Lock()
	type candidate struct {
		pull       *pull
		base, head string
	}
	var candidates []candidate
	for _, p := range c.repo.pulls {
		candidates = append(candidates, candidate{p, p.baseSHA, p.headSHA})
	}
	s.mu.Unlock()
	holding := []*pull{}
	for _, try := range candidates {
		holds := try.head == sha
		if !holds {
			commits, err := c.repo.git.run(ctx, "", "rev-list", try.head, "^"+try.base)
			if err != nil {
				return reply{}, err
			}
			holds = strings.Contains("\n"+string(commits), "\n"+sha+"\n")
		}
		if holds {
			holding = append(holding, try.pull)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	shown := []PullSimple{}
	for _, p := range holding {
		shown = append(shown, s.pullSimple(c.urls, c.repo, p))
	}
	return list(c, shown)
}
