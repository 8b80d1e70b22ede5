package planner

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/workflow"
)

// ask is what a delivery asks to be tested, with what is known of it.
type ask struct {
	flow.Identity
	headRef, baseRef, actor string
	// received is when the webhook came, stored when the bus took it: the times of all
	// that is published, so that a redelivery publishes the same bytes.
	received, stored time.Time
	// facts are what the triggers look at.
	facts workflow.Event
	// from is the commit that changes are counted from, for pushes and merge groups.
	from string
	// fork is the head's repository where it is not this one.
	fork string
	// author opened the pull request.
	author string
	// files is the number of changed files that the pull request shows.
	files int
	// merge is the commit that is the pull request merged into its base, where a
	// workflow tests that; unmerged says why there is none.
	merge, unmerged string

	// subject is what the run is of: the number of the pull request, or the ref.
	subject string
	// nonce tells apart the runs of one commit. newCode says that the commit came with
	// the event, so that its first run has none; see claim.
	nonce   string
	newCode bool
	// again says that somebody wants the commit planned once more, whatever was planned.
	again bool
	// closes says that the pull request or the merge group is at its end.
	closes bool
	// wish is set where somebody wants to run again what was planned before.
	wish *wish
	// event is what was read.
	event flow.Event
}

// run is the name of the run that a nonce gives.
func (a *ask) run(nonce string) string {
	return flow.RunID(a.Installation, a.Repo.ID, a.Event, a.subject, a.SHA, nonce)
}

// queuePrefix begins the branches that GitHub's merge queue makes.
const queuePrefix = "gh-readonly-queue/"

// read takes an event apart. It returns why the event asks for nothing, or an
// error where the event makes no sense.
func read(e flow.Event, stored time.Time) (a ask, ignored string, err error) {
	if stored.IsZero() {
		stored = e.ReceivedAt
	}
	a = ask{
		Identity: flow.Identity{Delivery: e.Delivery, Installation: e.Installation, Repo: e.Repo, Event: e.Kind, SHA: e.SHA()},
		actor:    e.Sender.Login, received: e.ReceivedAt.UTC(), stored: stored.UTC(),
		nonce: e.Delivery, event: e,
	}
	if e.Replay != "" {
		a.nonce, a.again = e.Delivery+"/"+e.Replay, true
	}
	switch {
	case e.Kind == workflow.EventPullRequest && e.PullRequest != nil:
		ignored = a.readPull(e)
	case e.Kind == workflow.EventPush && e.Push != nil:
		ignored = a.readPush(e)
	case e.Kind == workflow.EventMergeGroup && e.MergeGroup != nil:
		ignored = a.readQueue(e)
	case e.Kind == "check_run", e.Kind == "check_suite", e.Kind == flow.KindRerun:
		ignored = a.readWish(e)
	case e.Kind == "issue_comment", e.Kind == "pull_request_review":
		ignored = e.Kind + " " + e.Action + " starts nothing"
	case strings.HasPrefix(e.Kind, "installation"):
		ignored = "an installation has no commit to test"
	default:
		return a, "", fmt.Errorf("event %s of delivery %s has no detail that a planner knows", e.Kind, e.Delivery)
	}
	if ignored != "" {
		return a, ignored, nil
	}
	if e.ReceivedAt.IsZero() {
		a.received = a.stored
	}
	if e.Kind == flow.KindRerun { // the run says which commit
		return a, "", nil
	}
	if !isSHA(a.SHA) || a.Installation <= 0 || a.Repo.ID <= 0 || a.Repo.Owner == "" || a.Repo.Name == "" {
		return a, "", fmt.Errorf("event %s of delivery %s names no commit of a repository: %q of %q", e.Kind, e.Delivery, a.SHA, a.Repo.FullName())
	}
	// A run without a nonce makes the same code by another delivery the same run.
	a.newCode = !a.again && (e.Push != nil || e.PullRequest != nil && (e.Action == "opened" || e.Action == "synchronize"))
	a.Run = a.run(a.nonce)
	if a.newCode {
		a.Run = a.run("")
	}
	return a, "", nil
}

// pullActions are those that workflows may listen to.
const pullActions = " opened synchronize reopened ready_for_review converted_to_draft labeled unlabeled edited "

func (a *ask) readPull(e flow.Event) (ignored string) {
	pr := e.PullRequest
	a.subject = strconv.Itoa(pr.Number)
	a.PullRequest, a.Ref = pr.Number, fmt.Sprintf("refs/pull/%d/head", pr.Number)
	a.headRef, a.baseRef, a.author = pr.HeadRef, pr.BaseRef, pr.Author.Login
	a.facts = workflow.Event{Kind: e.Kind, Action: e.Action, Branch: pr.BaseRef, Draft: pr.Draft, BaseChanged: pr.BaseChanged}
	switch {
	case e.Action == "closed":
		a.closes = true
	case !strings.Contains(pullActions, " "+e.Action+" "):
		ignored = "no workflow can listen to pull_request " + e.Action
	case e.Action == "edited" && !pr.BaseChanged:
		ignored = "only words of the pull request were edited"
	}
	return ignored
}

func (a *ask) readPush(e flow.Event) (ignored string) {
	push := e.Push
	a.subject = push.Ref
	a.Ref, a.from = push.Ref, push.Before
	branch, isBranch := strings.CutPrefix(push.Ref, "refs/heads/")
	tag, isTag := strings.CutPrefix(push.Ref, "refs/tags/")
	a.facts = workflow.Event{Kind: e.Kind, Deleted: push.Deleted, Message: push.Message, TrustedAuthor: true} // who pushes may write
	switch {
	case push.Deleted || isZero(push.After):
		ignored = "the ref was deleted"
	case strings.HasPrefix(branch, queuePrefix):
		ignored = "the merge queue's own branch runs by merge_group, not by push"
	case isBranch:
		a.facts.Branch = branch
	case isTag:
		a.facts.Tag = tag
	default:
		ignored = push.Ref + " is neither a branch nor a tag"
	}
	return ignored
}

func (a *ask) readQueue(e flow.Event) (ignored string) {
	group := e.MergeGroup
	base := strings.TrimPrefix(group.BaseRef, "refs/heads/")
	a.Ref, a.from = "refs/heads/"+strings.TrimPrefix(group.HeadRef, "refs/heads/"), group.BaseSHA
	a.subject = a.Ref
	a.facts = workflow.Event{Kind: e.Kind, Action: e.Action, Branch: base}
	switch e.Action {
	case "checks_requested":
	case "destroyed":
		a.closes = true
	default:
		ignored = "the merge queue asks for no checks by " + e.Action
	}
	return ignored
}

// pull is a pull request as it stands now.
type pull struct {
	open, merged, draft       bool
	headSHA, headRef, baseRef string
	// fork is the head's repository where it is another one.
	fork   string
	author string
	files  int
}

// see takes over how the pull request stands now, or says why the event is past.
func (a *ask) see(p pull) (ignored string) {
	switch {
	case p.headSHA != a.SHA:
		return "stale: the pull request stands at " + p.headSHA
	case !p.open:
		return "the pull request is closed"
	}
	a.headRef, a.baseRef, a.author, a.fork, a.files = p.headRef, p.baseRef, p.author, p.fork, p.files
	a.facts.Branch, a.facts.Draft = p.baseRef, p.draft
	return ""
}

// fresh tells whether the event brings code to a place where it was not before.
// Other events matter only to workflows that list them.
func (a *ask) fresh() bool {
	return a.Event != workflow.EventPullRequest || slices.Contains([]string{"opened", "synchronize", "reopened"}, a.facts.Action)
}

func isZero(sha string) bool { return sha == "" || strings.Trim(sha, "0") == "" }

func isSHA(sha string) bool {
	return len(sha) == 40 && strings.Trim(sha, "0123456789abcdef") == "" && !isZero(sha)
}
