package planner

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/pkg/fakegithub/fakegithubtest"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/ghapp"
)

func TestOpenedPullRequestIsPlannedOnce(t *testing.T) {
	w := setup(t)
	head := w.commit("topic", "second", folder("a.yml", matrix(3), "b.yml", broken))
	e := w.open(fakegithub.OpenPull{Head: "topic"}, head)
	w.run()
	w.send(e)
	w.hears("planned", "")
	e.Action = "synchronize" // the same code by another delivery
	w.send(e)
	w.hears("ignored", "planned already")

	plans, jobs := w.plans(), w.jobs()
	if len(plans) != 1 || len(jobs) != 3 || len(plans[0].Jobs) != 3 || len(plans[0].Problems) != 1 {
		t.Fatalf("%d plans, %d jobs: %+v", len(plans), len(jobs), plans)
	}
	job := jobs[0]
	if job.Check != "a.yml / a (0)" || job.SHA != head || job.Ref != "refs/pull/1/head" || job.HeadRef != "topic" || job.BaseRef != "main" ||
		job.File != ".lightning/workflows/a.yml" || job.Script != "true" || job.Env["n"] != "0" || job.QueuedAt.IsZero() || job.Run != plans[0].Run {
		t.Errorf("the first job is %+v", job)
	}
	if !plans[0].PlannedAt.Equal(job.QueuedAt) {
		t.Error("times differ between the marker and its jobs")
	}
	source, err := w.bus.Sources().Get(t.Context(), job.Source)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = source.Close() }()
	gz, err := gzip.NewReader(source)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(gz); err != nil || !strings.Contains(string(text), ".lightning/workflows/a.yml") {
		t.Errorf("the stored source is not the commit: %v", err)
	}
}

// A crash between storing the plan and the ack brings the delivery again; two
// planners may hold the same one.
func TestDeliveryInTwoHandsIsPlannedOnce(t *testing.T) {
	w := setup(t)
	head := w.commit("topic", "second", folder("a.yml", matrix(3)))
	e := w.open(fakegithub.OpenPull{Head: "topic"}, head)
	done := make(chan error, 4)
	for range cap(done) {
		go func() { done <- w.planner.plan(t.Context(), e) }()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if plans, jobs := w.plans(), w.jobs(); len(plans) != 1 || len(jobs) != 3 {
		t.Errorf("%d plans and %d jobs", len(plans), len(jobs))
	}
	if n := w.gh.State().Requests["GET /repos/{owner}/{repo}/tarball/{ref}"]; n != 1 {
		t.Errorf("%d archives were fetched", n)
	}
}

func TestStaleDeliveryIsIgnored(t *testing.T) {
	w := setup(t)
	w.planner.settled = 0
	old := w.commit("topic", "second", folder("a.yml", onAll))
	e := w.open(fakegithub.OpenPull{Head: "topic"}, old)
	head := w.commit("topic", "third", nil)
	if _, err := w.gh.Synchronize(t.Context(), "octo", "hello", e.PullRequest.Number, ""); err != nil {
		t.Fatal(err)
	}
	w.run()
	w.send(e)
	w.hears("ignored", "stale: the pull request stands at "+head)
	e.Action, e.PullRequest.HeadSHA = "synchronize", head
	w.send(e)
	w.hears("planned", "")
	if plans := w.plans(); len(plans) != 1 || plans[0].SHA != head {
		t.Errorf("plans are %+v", plans)
	}
}

func TestForkIsGated(t *testing.T) {
	w := setup(t)
	head := w.commit("topic", "second [skip ci]", folder("a.yml", matrix(3)))
	e := w.open(fakegithub.OpenPull{Head: "topic", Fork: true}, head)
	w.run()
	w.send(e)
	w.hears("nothing to run", "gate")
	results := w.results()
	if len(results) != 1 || results[0].Conclusion != flow.ActionRequired || results[0].Run == "" || results[0].PullRequest != e.PullRequest.Number {
		t.Fatalf("results are %+v", results)
	}
	for _, want := range []string{head, "3 jobs", "mona/hello"} {
		if !strings.Contains(results[0].Message, want) {
			t.Errorf("%q does not name %q", results[0].Message, want)
		}
	}
	if jobs := w.jobs(); len(jobs) > 0 {
		t.Errorf("%d jobs of a fork", len(jobs))
	}
	if _, err := w.bus.Sources().Age(t.Context(), flow.SourceName(4711, head)); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("a fork's source is stored: %v", err)
	}
}

func TestPushes(t *testing.T) {
	filtered := "name: x\ntrigger:\n  push:\n    paths: [src/**]\nrun: 'true'\n"
	for _, c := range []struct {
		name    string
		files   map[string]string
		event   func(w *world, before, head string) flow.Event
		message string
		reason  string
	}{
		{
			name: "a branch", files: folder("a.yml", onAll),
			event:   func(_ *world, before, head string) flow.Event { return push("refs/heads/topic", before, head) },
			message: "planned",
		},
		{
			name: "a branch with an open pull request", files: folder("a.yml", onAll),
			event: func(w *world, before, head string) flow.Event {
				w.open(fakegithub.OpenPull{Head: "topic"}, head)
				return push("refs/heads/topic", before, head)
			},
			message: "ignored", reason: "open pull request",
		},
		{
			name: "a branch with a fork's pull request of the same name", files: folder("a.yml", onAll),
			event: func(w *world, before, head string) flow.Event {
				w.open(fakegithub.OpenPull{Head: "topic", Fork: true}, head)
				return push("refs/heads/topic", before, head)
			},
			message: "planned",
		},
		{
			name: "an annotated tag", files: folder("a.yml", onAll),
			event: func(w *world, _, head string) flow.Event {
				w.git("tag", "-a", "-m", "one", "v1", head)
				e := push("refs/tags/v1", zero, w.git("rev-parse", "v1"))
				e.Push.Head = head
				return e
			},
			message: "planned",
		},
		{
			name: "a deletion", files: folder("a.yml", onAll),
			event: func(_ *world, before, _ string) flow.Event {
				e := push("refs/heads/topic", before, zero)
				e.Push.Deleted, e.Push.Head = true, ""
				return e
			},
			message: "ignored", reason: "deleted",
		},
		{
			name: "no workflow files", files: map[string]string{"src/a": "x"},
			event:   func(_ *world, before, head string) flow.Event { return push("refs/heads/topic", before, head) },
			message: "nothing to run", reason: "no_workflows",
		},
		{
			name: "skip words", files: folder("a.yml", onAll),
			event: func(_ *world, before, head string) flow.Event {
				e := push("refs/heads/topic", before, head)
				e.Push.Message = "words [skip ci]"
				return e
			},
			message: "nothing to run", reason: "not_triggered",
		},
		{
			name: "no changed file selected", files: folder("a.yml", filtered),
			event:   func(_ *world, before, head string) flow.Event { return push("refs/heads/topic", before, head) },
			message: "nothing to run", reason: "not_triggered",
		},
		{
			name: "a new branch without a selected file", files: folder("a.yml", filtered),
			event:   func(_ *world, _, head string) flow.Event { return push("refs/heads/topic", zero, head) },
			message: "nothing to run", reason: "not_triggered",
		},
		{
			name: "a changed file selected", files: map[string]string{"src/a": "x", ".litci.yaml": filtered},
			event:   func(_ *world, before, head string) flow.Event { return push("refs/heads/topic", before, head) },
			message: "planned",
		},
		{
			name: "rewritten history runs whatever the paths", files: folder("a.yml", filtered),
			event: func(w *world, _, head string) flow.Event {
				w.git("checkout", "-q", "--orphan", "aside")
				return push("refs/heads/topic", w.commit("aside", "other", nil), head)
			},
			message: "planned",
		},
		{
			name: "an unreachable commit before runs whatever the paths", files: folder("a.yml", filtered),
			event:   func(_ *world, _, head string) flow.Event { return push("refs/heads/topic", sha, head) },
			message: "planned",
		},
		{
			name: "a symbolic link is no workflow file", files: folder("a.yml", "-> ../../README.md"),
			event:   func(_ *world, before, head string) flow.Event { return push("refs/heads/topic", before, head) },
			message: "nothing to run", reason: "config",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := setup(t)
			before := w.git("rev-parse", "main")
			head := w.commit("topic", "second", c.files)
			e := c.event(w, before, head)
			w.run()
			w.send(e)
			w.hears(c.message, c.reason)
			if jobs := w.jobs(); (len(jobs) > 0) != (c.message == "planned") || len(jobs) > 0 && jobs[0].SHA != head {
				t.Errorf("jobs are %+v", jobs)
			}
		})
	}
}

func TestMergeGroupIsPlannedOnItsHead(t *testing.T) {
	w := setup(t)
	before := w.git("rev-parse", "main")
	head := w.commit("topic", "second", folder("a.yml", onMain))
	e := queueEvent("checks_requested")
	e.MergeGroup.HeadSHA, e.MergeGroup.BaseSHA = head, before
	w.run()
	w.send(e)
	w.hears("planned", "")
	if jobs := w.jobs(); len(jobs) != 1 || jobs[0].SHA != head || jobs[0].Ref != e.MergeGroup.HeadRef || jobs[0].Check != "a.yml / main" {
		t.Errorf("jobs are %+v", jobs)
	}
	e.Action = "destroyed"
	w.send(e)
	w.hears("cancelled", "The merge queue is done with this commit.")
	w.cancelled(w.plans()[0].Run, "The merge queue is done with this commit.")
}

func TestBrokenFileIsNamedWithItsPlace(t *testing.T) {
	w := setup(t)
	head := w.commit("topic", "second", folder("a.yml", broken))
	w.run()
	w.send(push("refs/heads/topic", zero, head))
	w.hears("nothing to run", "config")
	results := w.results()
	if len(results) != 1 || len(results[0].Problems) != 1 {
		t.Fatalf("results are %+v", results)
	}
	problem := results[0].Problems[0]
	if results[0].Conclusion != flow.Failure || problem.File != ".lightning/workflows/a.yml" || problem.Line != 3 || problem.Column != 1 || problem.Severity != "error" {
		t.Errorf("%s: %+v", results[0].Conclusion, problem)
	}
	if results[0].SHA != head || results[0].Run == "" || results[0].Job != "" {
		t.Errorf("the result is of %+v", results[0].Identity)
	}
}

func TestSkipWordsNeedWritePermission(t *testing.T) {
	for _, c := range []struct{ permission, message string }{{"write", "nothing to run"}, {"read", "planned"}} {
		t.Run(c.permission, func(t *testing.T) {
			w := setup(t)
			head := w.commit("topic", "words\n\n[skip ci]", folder("a.yml", onAll))
			e := w.open(fakegithub.OpenPull{Head: "topic", Permission: c.permission}, head)
			w.run()
			w.send(e)
			w.hears(c.message, "")
		})
	}
}

func TestPathsOfAPullRequest(t *testing.T) {
	for _, c := range []struct{ name, path, message string }{
		{"selected", "src/a", "planned"}, {"not selected", "docs/a", "nothing to run"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := setup(t)
			w.commit("main", "workflow", folder("a.yml", "name: x\ntrigger:\n  pull_request:\n    paths: [src/**]\nrun: 'true'\n"))
			head := w.commit("topic", "second", map[string]string{c.path: "x"})
			e := w.open(fakegithub.OpenPull{Head: "topic"}, head)
			w.run()
			w.send(e)
			w.hears(c.message, "")
		})
	}
}

func TestLargeTreeIsReadByItsFolder(t *testing.T) {
	w := setup(t)
	files := folder("a.yml", onAll)
	for i := range 20 {
		files[fmt.Sprintf("src/%d", i)] = "x"
	}
	head := w.commit("topic", "second", files)
	key, err := fakegithub.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	gh, err := fakegithub.New(fakegithub.Config{AppID: 1, PrivateKey: key, Limits: fakegithub.Limits{TreeEntries: 5}})
	if err != nil {
		t.Fatal(err)
	}
	if err := gh.AddRepo(fakegithub.Repo{Owner: "octo", Name: "hello", ID: 4711, Dir: w.dir, Installation: 42}); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(fakegithubtest.Handler(t, gh))
	t.Cleanup(func() { server.Close(); _ = gh.Close() })
	app, err := ghapp.New(ghapp.Config{BaseURL: server.URL, AppID: 1, PrivateKey: fakegithub.EncodeKey(key)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(app.Close)
	w.planner = New(w.bus, app, zap.New(w.log))
	w.run()
	w.send(push("refs/heads/topic", zero, head))
	w.hears("planned", "")
	if jobs := w.jobs(); len(jobs) != 1 || jobs[0].File != ".lightning/workflows/a.yml" {
		t.Errorf("jobs are %+v", jobs)
	}
}

func TestLimitBringsTheDeliveryAgain(t *testing.T) {
	w := setup(t)
	head := w.commit("topic", "second", folder("a.yml", onAll))
	const tree = "/repos/{owner}/{repo}/git/trees/{tree_sha}"
	w.gh.AddFaults(fakegithub.Fault{Method: "GET", Path: tree, Status: 403, Headers: map[string]string{"Retry-After": "1"}})
	w.run()
	w.send(push("refs/heads/topic", zero, head))
	w.hears("planned", "")
	if n := w.gh.State().Requests["GET "+tree]; n != 2 {
		t.Errorf("%d requests, want one before the limit and one after", n)
	}
}

// A delivery whose first try ended for another reason gets the same patience: its
// age counts, and not how often it was delivered.
func TestYoungDeliveryIsLookedAtAgain(t *testing.T) {
	const (
		tree = "/repos/{owner}/{repo}/git/trees/{tree_sha}"
		pull = "/repos/{owner}/{repo}/pulls/{pull_number}"
	)
	limit := func(path string) fakegithub.Fault {
		return fakegithub.Fault{Method: "GET", Path: path, Status: 403, Headers: map[string]string{"Retry-After": "1"}}
	}
	t.Run("whose commit is not found", func(t *testing.T) {
		w := setup(t)
		w.planner.settled = time.Hour
		head := w.commit("topic", "second", folder("a.yml", onAll))
		w.gh.AddFaults(limit(tree), fakegithub.Fault{Method: "GET", Path: tree, Status: 404})
		w.run()
		w.send(push("refs/heads/topic", zero, head))
		w.hears("planned", "")
	})
	t.Run("whose pull request stands elsewhere", func(t *testing.T) {
		w := setup(t)
		w.planner.settled = time.Hour
		old := w.commit("topic", "second", folder("a.yml", onAll))
		e := w.open(fakegithub.OpenPull{Head: "topic"}, old)
		e.Action, e.PullRequest.HeadSHA = "synchronize", w.commit("topic", "third", nil)
		w.gh.AddFaults(limit(pull))
		w.run()
		w.send(e)
		for w.gh.State().Requests["GET "+pull] < 2 {
			runtime.Gosched()
		}
		if _, err := w.gh.Synchronize(t.Context(), "octo", "hello", e.PullRequest.Number, ""); err != nil {
			t.Fatal(err)
		}
		w.hears("planned", "")
	})
}

func TestWhatGitHubRefusesIsDropped(t *testing.T) {
	for _, c := range []struct {
		name  string
		event func(*flow.Event)
		setup func(*world)
	}{
		{"an unknown commit", func(e *flow.Event) { e.Push.Head, e.Push.After = sha, sha }, func(*world) {}},
		{"an unknown repository", func(e *flow.Event) { e.Repo = flow.Repo{ID: 5, Owner: "octo", Name: "gone"} }, func(*world) {}},
		{"an unknown installation", func(e *flow.Event) { e.Installation = 43 }, func(*world) {}},
		{"a suspended installation", func(*flow.Event) {}, func(w *world) {
			if err := w.gh.Suspend(42, true); err != nil {
				w.t.Fatal(err)
			}
		}},
		{"no commit at all", func(e *flow.Event) { e.Push.Head, e.Push.After = "x", "x" }, func(*world) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := setup(t)
			w.planner.settled = 0
			e := push("refs/heads/topic", zero, w.commit("topic", "second", folder("a.yml", onAll)))
			c.event(&e)
			c.setup(w)
			w.run()
			w.send(e)
			select {
			case <-w.dead:
			case s := <-w.log:
				t.Errorf("the planner says %+v", s)
			case <-time.After(patience):
				t.Error("no dead letter")
			}
			results := w.results()
			if isSHA(e.SHA()) != (len(results) == 1) || len(results) == 1 && (results[0].Cause != flow.CauseGivenUp || results[0].SHA != e.SHA()) {
				t.Errorf("people are told %+v", results)
			}
		})
	}
}

func TestPoolIsServedOnceItIsProvisioned(t *testing.T) {
	w := setup(t)
	head := w.commit("topic", "second", folder("a.yml", onAll+"pool: desk\n"))
	w.run()
	w.send(push("refs/heads/topic", zero, head))
	w.hears("nothing to run", "config")
	ctx, cancel := context.WithCancel(t.Context())
	taken := make(chan flow.Job, 10)
	done := make(chan error, 1)
	go func() {
		done <- bus.Consume(ctx, w.bus, flow.Jobs, bus.Consumer{Service: "launcher", Pool: "desk"}, func(_ context.Context, j flow.Job) error {
			taken <- j
			return nil
		})
	}()
	w.serve("desk")
	w.send(push("refs/heads/next", zero, head))
	w.hears("planned", "")
	if job := <-taken; job.Pool != "desk" || job.SHA != head {
		t.Errorf("the pool takes %+v", job)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
