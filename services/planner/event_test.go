package planner

import (
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/workflow"
)

const (
	sha  = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	zero = "0000000000000000000000000000000000000000"
)

func base(kind, action string) flow.Event {
	return flow.Event{
		Delivery: "guid", Kind: kind, Action: action, Installation: 42, ReceivedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Repo: flow.Repo{ID: 4711, Owner: "octo", Name: "hello", DefaultBranch: "main"}, Sender: flow.User{Login: "mona"},
	}
}

func pullEvent(action string) flow.Event {
	e := base("pull_request", action)
	e.PullRequest = &flow.PullRequest{Number: 7, HeadSHA: sha, HeadRef: "topic", BaseRef: "main", Author: flow.User{Login: "mona"}, Open: true}
	return e
}

func pushEvent(ref string) flow.Event {
	e := base("push", "")
	e.Push = &flow.Push{Ref: ref, Before: zero, After: sha, Head: sha, Message: "text"}
	return e
}

func queueEvent(action string) flow.Event {
	e := base("merge_group", action)
	e.MergeGroup = &flow.MergeGroup{HeadSHA: sha, HeadRef: "refs/heads/gh-readonly-queue/main/pr-7-abc", BaseSHA: sha, BaseRef: "refs/heads/main"}
	return e
}

func TestWhatAnEventAsksFor(t *testing.T) {
	with := func(e flow.Event, change func(*flow.Event)) flow.Event {
		change(&e)
		return e
	}
	detail := func(kind, action string) flow.Event {
		e := base(kind, action)
		e.CheckRun = &flow.CheckRun{HeadSHA: sha}
		return e
	}
	for _, c := range []struct {
		name    string
		event   flow.Event
		ignored string
		closes  bool
		ref     string
		facts   workflow.Event
	}{
		{name: "an opened pull request", event: pullEvent("opened"), ref: "refs/pull/7/head", facts: workflow.Event{Kind: "pull_request", Action: "opened", Branch: "main"}},
		{name: "a label", event: pullEvent("labeled"), ref: "refs/pull/7/head", facts: workflow.Event{Kind: "pull_request", Action: "labeled", Branch: "main"}},
		{name: "a new base", event: with(pullEvent("edited"), func(e *flow.Event) { e.PullRequest.BaseChanged = true }), ref: "refs/pull/7/head", facts: workflow.Event{Kind: "pull_request", Action: "edited", Branch: "main", BaseChanged: true}},
		{name: "a new title", event: pullEvent("edited"), ignored: "only words"},
		{name: "a closed pull request", event: pullEvent("closed"), closes: true, ref: "refs/pull/7/head", facts: workflow.Event{Kind: "pull_request", Action: "closed", Branch: "main"}},
		{name: "an action that GitHub adds", event: pullEvent("enchanted"), ignored: "no workflow can listen"},
		{name: "a pushed branch", event: pushEvent("refs/heads/topic/a"), ref: "refs/heads/topic/a", facts: workflow.Event{Kind: "push", Branch: "topic/a", Message: "text", TrustedAuthor: true}},
		{name: "a pushed tag", event: pushEvent("refs/tags/v1"), ref: "refs/tags/v1", facts: workflow.Event{Kind: "push", Tag: "v1", Message: "text", TrustedAuthor: true}},
		{name: "a note", event: pushEvent("refs/notes/commits"), ignored: "neither a branch nor a tag"},
		{name: "a deleted branch", event: with(pushEvent("refs/heads/topic"), func(e *flow.Event) { e.Push.Deleted, e.Push.After, e.Push.Head = true, zero, "" }), ignored: "deleted"},
		{name: "a deletion by its zeros alone", event: with(pushEvent("refs/tags/v1"), func(e *flow.Event) { e.Push.After, e.Push.Head = zero, "" }), ignored: "deleted"},
		{name: "the queue's branch", event: pushEvent("refs/heads/gh-readonly-queue/main/pr-7-abc"), ignored: "merge_group"},
		{name: "a merge group", event: queueEvent("checks_requested"), ref: "refs/heads/gh-readonly-queue/main/pr-7-abc", facts: workflow.Event{Kind: "merge_group", Action: "checks_requested", Branch: "main"}},
		{name: "a destroyed merge group", event: queueEvent("destroyed"), closes: true, ref: "refs/heads/gh-readonly-queue/main/pr-7-abc", facts: workflow.Event{Kind: "merge_group", Action: "destroyed", Branch: "main"}},
		{name: "a button", event: detail("check_run", "requested_action"), ignored: "check_run requested_action"},
		{name: "a comment", event: detail("issue_comment", "created"), ignored: "issue_comment"},
		{name: "a review", event: detail("pull_request_review", "submitted"), ignored: "pull_request_review"},
		{name: "an installation", event: base("installation_repositories", "added"), ignored: "installation"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, ignored, err := read(c.event, time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			if c.ignored != "" {
				if !strings.Contains(ignored, c.ignored) {
					t.Errorf("ignored because %q, want %q", ignored, c.ignored)
				}
				return
			}
			if ignored != "" || a.closes != c.closes || a.Ref != c.ref || a.SHA != sha || len(a.Run) != 20 {
				t.Errorf("asks for %+v, ignored %q", a.Identity, ignored)
			}
			if got, want := a.facts, c.facts; got.Kind != want.Kind || got.Action != want.Action || got.Branch != want.Branch || got.Tag != want.Tag ||
				got.Message != want.Message || got.TrustedAuthor != want.TrustedAuthor || got.BaseChanged != want.BaseChanged {
				t.Errorf("facts are %+v, want %+v", got, want)
			}
		})
	}
}

func TestEventsThatMakeNoSenseAreRefused(t *testing.T) {
	for name, change := range map[string]func(*flow.Event){
		"no detail":       func(e *flow.Event) { e.PullRequest = nil },
		"a short commit":  func(e *flow.Event) { e.PullRequest.HeadSHA = "abc" },
		"no commit":       func(e *flow.Event) { e.PullRequest.HeadSHA = "" },
		"a path":          func(e *flow.Event) { e.PullRequest.HeadSHA = strings.Repeat("../", 13) + "x" },
		"no repository":   func(e *flow.Event) { e.Repo = flow.Repo{} },
		"no installation": func(e *flow.Event) { e.Installation = 0 },
		"unknown":         func(e *flow.Event) { e.Kind = "star" },
	} {
		t.Run(name, func(t *testing.T) {
			e := pullEvent("opened")
			change(&e)
			if _, ignored, err := read(e, time.Time{}); err == nil {
				t.Errorf("read, ignored %q", ignored)
			}
		})
	}
}

func TestRunIsTheSameForTheSameCode(t *testing.T) {
	run := func(e flow.Event, delivery string) string {
		e.Delivery = delivery
		a, ignored, err := read(e, time.Time{})
		if err != nil || ignored != "" {
			t.Fatal(ignored, err)
		}
		return a.Run
	}
	for _, c := range []struct {
		name        string
		first, then flow.Event
		same        bool
	}{
		{"opened and synchronize", pullEvent("opened"), pullEvent("synchronize"), true},
		{"a push twice", pushEvent("refs/heads/main"), pushEvent("refs/heads/main"), true},
		{"reopened twice", pullEvent("reopened"), pullEvent("reopened"), false},
		{"opened and reopened", pullEvent("opened"), pullEvent("reopened"), false},
		{"two labels", pullEvent("labeled"), pullEvent("labeled"), false},
		{"two merge groups", queueEvent("checks_requested"), queueEvent("checks_requested"), false},
		{"two branches", pushEvent("refs/heads/main"), pushEvent("refs/heads/next"), false},
		{"a push and a pull request", pushEvent("refs/heads/topic"), pullEvent("opened"), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if same := run(c.first, "one") == run(c.then, "two"); same != c.same {
				t.Errorf("the same run: %t, want %t", same, c.same)
			}
		})
	}
	if first, again := run(pullEvent("reopened"), "one"), run(pullEvent("reopened"), "one"); first != again {
		t.Errorf("a redelivery is another run: %s and %s", first, again)
	}
}

func TestPullRequestAsItStandsNow(t *testing.T) {
	now := pull{open: true, headSHA: sha, headRef: "renamed", baseRef: "next", author: "mona", draft: true, fork: "mona/hello", files: 3}
	for _, c := range []struct {
		name    string
		change  func(*pull)
		ignored string
	}{
		{"is taken over", func(*pull) {}, ""},
		{"has moved on", func(p *pull) { p.headSHA = strings.Repeat("b", 40) }, "stale"},
		{"is closed", func(p *pull) { p.open = false }, "closed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, _, err := read(pullEvent("opened"), time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			p := now
			c.change(&p)
			ignored := a.see(p)
			if c.ignored != "" {
				if !strings.Contains(ignored, c.ignored) {
					t.Errorf("%q, want %q", ignored, c.ignored)
				}
			} else if ignored != "" || a.headRef != "renamed" || a.baseRef != "next" || a.facts.Branch != "next" || !a.facts.Draft || a.fork == "" || a.files != 3 {
				t.Errorf("%q, %+v", ignored, a)
			}
		})
	}
}
