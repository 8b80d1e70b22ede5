package ingress

import (
	"strings"

	"github.com/litci/litci/pkg/flow"
)

// The structs below name the few fields of GitHub's payloads that litci reads.
// JSON null and absence both leave a Go value as it is, so a nullable field is a
// pointer only where null means something of its own; everything else is a plain
// value, and nothing here can be dereferenced by mistake.

// detail is the payload of one kind of event.
type detail interface {
	// shared is the part that all kinds have.
	shared() *common
	// fill sets the event's detail, and notes in f what is wrong with it.
	fill(e *flow.Event, f *fields)
}

// detailOf returns an empty payload for a kind that litci acts on, nil for any other.
func detailOf(kind string) detail {
	switch kind {
	case "pull_request":
		return new(pullRequestPayload)
	case "push":
		return new(pushPayload)
	case "check_run":
		return new(checkRunPayload)
	case "check_suite":
		return new(checkSuitePayload)
	case "issue_comment":
		return new(commentPayload)
	case "pull_request_review":
		return new(reviewPayload)
	case "merge_group":
		return new(mergeGroupPayload)
	case "installation", "installation_repositories", "installation_target":
		return new(installationPayload)
	}
	return nil
}

type common struct {
	Action string `json:"action"`
	// Installation is nil when a repository's own hook sent the delivery.
	Installation *struct {
		ID int64 `json:"id"`
	} `json:"installation"`
	Repository repository `json:"repository"`
	Sender     account    `json:"sender"`
}

func (c *common) shared() *common { return c }

type repository struct {
	ID    int64  `json:"id"`
	Name  string `json:"name"`
	Owner struct {
		Login string `json:"login"`
		// Name stands for the login in some push payloads.
		Name string `json:"name"`
	} `json:"owner"`
	DefaultBranch string `json:"default_branch"`
	Private       bool   `json:"private"`
}

func (r repository) repo(f *fields) flow.Repo {
	owner := r.Owner.Login
	if owner == "" {
		owner = r.Owner.Name
	}
	return flow.Repo{
		ID:            f.id("repository.id", r.ID),
		Owner:         f.name("repository.owner.login", owner),
		Name:          f.name("repository.name", r.Name),
		DefaultBranch: f.optional(f.ref, "repository.default_branch", r.DefaultBranch),
		Private:       r.Private,
	}
}

// account may be all empty: GitHub sends null for users that are gone.
type account struct {
	Login string `json:"login"`
	ID    int64  `json:"id"`
	Type  string `json:"type"`
}

func (a account) user(f *fields, field string) flow.User {
	return flow.User{
		Login: f.optional(f.login, field+".login", a.Login),
		ID:    a.ID,
		Type:  f.word(field+".type", a.Type),
	}
}

type pullRequestPayload struct {
	common
	PullRequest struct {
		Number int     `json:"number"`
		State  string  `json:"state"`
		Draft  bool    `json:"draft"`
		Merged bool    `json:"merged"`
		User   account `json:"user"`
		Head   struct {
			SHA string `json:"sha"`
			Ref string `json:"ref"`
			// Repo is null when the fork was deleted.
			Repo *struct {
				ID int64 `json:"id"`
			} `json:"repo"`
		} `json:"head"`
		Base struct {
			SHA string `json:"sha"`
			Ref string `json:"ref"`
		} `json:"base"`
	} `json:"pull_request"`
	Changes struct {
		// Base is there when an edit changed the base branch.
		Base *struct{} `json:"base"`
	} `json:"changes"`
}

func (p *pullRequestPayload) fill(e *flow.Event, f *fields) {
	pr := &p.PullRequest
	out := &flow.PullRequest{
		Number:      f.number("pull_request.number", pr.Number),
		HeadSHA:     f.sha("pull_request.head.sha", pr.Head.SHA),
		HeadRef:     f.ref("pull_request.head.ref", pr.Head.Ref),
		BaseSHA:     f.sha("pull_request.base.sha", pr.Base.SHA),
		BaseRef:     f.ref("pull_request.base.ref", pr.Base.Ref),
		Author:      pr.User.user(f, "pull_request.user"),
		Draft:       pr.Draft,
		Open:        pr.State == "open",
		Merged:      pr.Merged,
		BaseChanged: p.Action == "edited" && p.Changes.Base != nil,
	}
	if pr.Head.Repo != nil {
		out.HeadRepo = pr.Head.Repo.ID
	}
	// The base of a pull request is the repository that the event came from.
	out.Fork = out.HeadRepo != e.Repo.ID
	e.PullRequest = out
}

type pushPayload struct {
	common
	Ref     string `json:"ref"`
	Before  string `json:"before"`
	After   string `json:"after"`
	Created bool   `json:"created"`
	Deleted bool   `json:"deleted"`
	Forced  bool   `json:"forced"`
	// HeadCommit is null when the ref was deleted. For an annotated tag it is the
	// commit, while After is the tag object.
	HeadCommit struct {
		ID      string `json:"id"`
		Message string `json:"message"`
	} `json:"head_commit"`
}

func (p *pushPayload) fill(e *flow.Event, f *fields) {
	out := &flow.Push{
		Ref:     f.ref("ref", p.Ref),
		Before:  f.optional(f.sha, "before", p.Before),
		After:   f.sha("after", p.After),
		Created: p.Created,
		Deleted: p.Deleted,
		Forced:  p.Forced,
		Head:    f.optional(f.sha, "head_commit.id", p.HeadCommit.ID),
		Message: cut(p.HeadCommit.Message, messageLimit),
	}
	if !strings.HasPrefix(out.Ref, "refs/") {
		f.wrong("ref", "is not fully formed")
	}
	e.Push = out
}

// app is null where the app is gone; its id is then 0.
type app struct {
	ID int64 `json:"id"`
}

type checkRunPayload struct {
	common
	CheckRun struct {
		ID         int64  `json:"id"`
		Name       string `json:"name"`
		HeadSHA    string `json:"head_sha"`
		ExternalID string `json:"external_id"`
		App        app    `json:"app"`
	} `json:"check_run"`
	RequestedAction struct {
		Identifier string `json:"identifier"`
	} `json:"requested_action"`
}

func (p *checkRunPayload) fill(e *flow.Event, f *fields) {
	e.CheckRun = &flow.CheckRun{
		ID:         f.id("check_run.id", p.CheckRun.ID),
		Name:       cut(p.CheckRun.Name, textLimit),
		HeadSHA:    f.sha("check_run.head_sha", p.CheckRun.HeadSHA),
		ExternalID: cut(p.CheckRun.ExternalID, textLimit),
		App:        p.CheckRun.App.ID,
		Identifier: cut(p.RequestedAction.Identifier, textLimit),
	}
}

type checkSuitePayload struct {
	common
	CheckSuite struct {
		ID      int64  `json:"id"`
		HeadSHA string `json:"head_sha"`
		// HeadBranch is null for forks.
		HeadBranch string `json:"head_branch"`
		App        app    `json:"app"`
	} `json:"check_suite"`
}

func (p *checkSuitePayload) fill(e *flow.Event, f *fields) {
	e.CheckSuite = &flow.CheckSuite{
		ID:         f.id("check_suite.id", p.CheckSuite.ID),
		HeadSHA:    f.sha("check_suite.head_sha", p.CheckSuite.HeadSHA),
		HeadBranch: f.optional(f.ref, "check_suite.head_branch", p.CheckSuite.HeadBranch),
		App:        p.CheckSuite.App.ID,
	}
}

type commentPayload struct {
	common
	Issue struct {
		Number int `json:"number"`
		// PullRequest is there when the issue is a pull request.
		PullRequest *struct{} `json:"pull_request"`
	} `json:"issue"`
	Comment struct {
		ID   int64   `json:"id"`
		Body string  `json:"body"`
		User account `json:"user"`
		// App is null for people.
		App *struct {
			ID int64 `json:"id"`
		} `json:"performed_via_github_app"`
	} `json:"comment"`
}

func (p *commentPayload) fill(e *flow.Event, f *fields) {
	e.Comment = &flow.Comment{
		ID:            f.id("comment.id", p.Comment.ID),
		Issue:         f.number("issue.number", p.Issue.Number),
		OnPullRequest: p.Issue.PullRequest != nil,
		Body:          cut(p.Comment.Body, bodyTextLimit),
		Author:        p.Comment.User.user(f, "comment.user"),
	}
	if p.Comment.App != nil {
		e.Comment.App = p.Comment.App.ID
	}
}

type reviewPayload struct {
	common
	Review struct {
		ID    int64  `json:"id"`
		State string `json:"state"`
		// CommitID is null when the commit is gone.
		CommitID string  `json:"commit_id"`
		User     account `json:"user"`
	} `json:"review"`
	PullRequest struct {
		Number int `json:"number"`
	} `json:"pull_request"`
}

func (p *reviewPayload) fill(e *flow.Event, f *fields) {
	e.Review = &flow.Review{
		ID:          f.id("review.id", p.Review.ID),
		PullRequest: f.number("pull_request.number", p.PullRequest.Number),
		State:       strings.ToLower(f.word("review.state", p.Review.State)),
		CommitID:    f.optional(f.sha, "review.commit_id", p.Review.CommitID),
		Author:      p.Review.User.user(f, "review.user"),
	}
}

type mergeGroupPayload struct {
	common
	MergeGroup struct {
		HeadSHA string `json:"head_sha"`
		HeadRef string `json:"head_ref"`
		BaseSHA string `json:"base_sha"`
		BaseRef string `json:"base_ref"`
	} `json:"merge_group"`
}

func (p *mergeGroupPayload) fill(e *flow.Event, f *fields) {
	e.MergeGroup = &flow.MergeGroup{
		HeadSHA: f.sha("merge_group.head_sha", p.MergeGroup.HeadSHA),
		HeadRef: f.ref("merge_group.head_ref", p.MergeGroup.HeadRef),
		BaseSHA: f.sha("merge_group.base_sha", p.MergeGroup.BaseSHA),
		BaseRef: f.ref("merge_group.base_ref", p.MergeGroup.BaseRef),
	}
}

// installationPayload has no detail: the action says it all.
type installationPayload struct{ common }

func (*installationPayload) fill(*flow.Event, *fields) {}
