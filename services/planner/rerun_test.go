package planner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/cancellation"
	"github.com/litci/litci/pkg/concurrency"
	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

// click is a click on "Re-run" of a check that bears an id; on the whole suite where it
// bears none.
func click(sha, externalID string) flow.Event {
	e := base("check_run", "rerequested")
	e.ReceivedAt = time.Now().UTC()
	e.CheckRun = &flow.CheckRun{ID: 1, HeadSHA: sha, ExternalID: externalID, App: 1}
	if externalID == "" {
		e.Kind, e.CheckRun, e.CheckSuite = "check_suite", nil, &flow.CheckSuite{ID: 1, HeadSHA: sha, App: 1}
	}
	return e
}

func operator(run, attempt string) flow.Event {
	return flow.Event{
		Delivery: "guid", Kind: flow.KindRerun, ReceivedAt: time.Now().UTC(), Sender: flow.User{Login: "ops"},
		Rerun: &flow.Rerun{Run: run, Attempt: attempt},
	}
}

func TestWhatAClickMeans(t *testing.T) {
	run := strings.Repeat("a2", 10)
	button := click(sha, run+"-0-a1")
	button.Action = "requested_action"
	requested := click(sha, "")
	requested.Action = "requested"
	for _, c := range []struct {
		name    string
		event   flow.Event
		want    wish
		ignored string
	}{
		{name: "a job's check", event: click(sha, run+"-3-a2"), want: wish{run: run, job: 3, attempt: 2}},
		{name: "the aggregate", event: click(sha, "litci-4711-"+sha), want: wish{job: -1}},
		{name: "the aggregate of another repository", event: click(sha, "litci-4712-"+sha), ignored: "none of litci's"},
		{name: "the aggregate of another commit", event: click(sha, "litci-4711-"+strings.Repeat("b", 40)), ignored: "none of litci's"},
		{name: "the workflow files", event: click(sha, run+"-config"), want: wish{run: run, job: -1, file: true}},
		{name: "a skipped workflow", event: click(sha, run+"-s0"), ignored: "skipped by its own rules"},
		{name: "a foreign id", event: click(sha, "../../etc"), ignored: "none of litci's"},
		{name: "a foreign id of our shape", event: click(sha, "x-config"), ignored: "none of litci's"},
		{name: "no part of ours", event: click(sha, run+"-x"), ignored: "none of litci's"},
		{name: "the suite", event: click(sha, ""), want: wish{job: -1}},
		{name: "a new suite", event: requested, ignored: "starts nothing"},
		{name: "another button", event: button, ignored: "starts nothing"},
		{name: "an operator's run", event: operator(run, ""), want: wish{run: run, job: -1}},
		{name: "an operator's job", event: operator(run, run+"-1-a1"), want: wish{run: run, job: 1, attempt: 1}},
		{name: "an operator's job alone", event: operator("", run+"-1-a1"), want: wish{run: run, job: 1, attempt: 1}},
		{name: "an operator's job of another run", event: operator("x", run+"-1-a1"), ignored: "names no attempt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, ignored, err := read(c.event, time.Time{})
			if err != nil || !strings.Contains(ignored, c.ignored) || (ignored == "") != (c.ignored == "") {
				t.Fatalf("%q, %v", ignored, err)
			}
			if ignored == "" && *a.wish != c.want {
				t.Errorf("means %+v, want %+v", *a.wish, c.want)
			}
		})
	}
}

func TestWhichJobsAreRunAgain(t *testing.T) {
	clicked := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	job := func(conclusion flow.Conclusion, ended time.Duration) ran {
		return ran{record: verdict.Record{Attempt: 1, Result: &flow.Result{Conclusion: conclusion, FinishedAt: clicked.Add(ended)}}}
	}
	before := -time.Minute
	good, bad := job(flow.Success, before), job(flow.Failure, before)
	open := ran{}
	raised := ran{record: verdict.Record{Attempt: 2, Earlier: []flow.Earlier{{Attempt: 1, Rerun: true, At: clicked}}}}
	raisedByAnother := ran{record: verdict.Record{Attempt: 2, Earlier: []flow.Earlier{{Attempt: 1, Rerun: true, At: clicked.Add(before)}}}}
	for _, c := range []struct {
		name string
		jobs []ran
		want []int
	}{
		{"those that failed", []ran{good, bad, job(flow.TimedOut, before), job(flow.Cancelled, before), job(flow.Skip, before)}, []int{1, 2, 3, 4}},
		{"those that failed, while others run", []ran{open, bad, good}, []int{1}},
		{"all where none failed", []ran{good, good}, []int{0, 1}},
		{"none while one runs", []ran{good, open}, nil},
		{"none that ended after the click", []ran{good, job(flow.Failure, time.Second)}, nil},
		{"none that another click raised", []ran{good, raisedByAnother}, nil},
		{"what this click raised before a crash", []ran{good, raised, bad}, []int{1, 2}},
		{"nothing of nothing", nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i := range c.jobs {
				c.jobs[i].index = i
			}
			picked, ignored := pick(c.jobs, clicked, clicked)
			var got []int
			for _, k := range picked {
				got = append(got, k.index)
			}
			if !slices.Equal(got, c.want) || (ignored == "") != (len(c.want) > 0) {
				t.Errorf("picks %v, ignored %q, want %v", got, ignored, c.want)
			}
		})
	}
}

func TestTwentyClicksAreOneAttempt(t *testing.T) {
	for name, id := range map[string]func(job flow.Job) string{
		"on a job's check": func(job flow.Job) string { return job.AttemptID() },
		"on the suite":     func(flow.Job) string { return "" },
		"on the aggregate": func(job flow.Job) string { return fmt.Sprintf("litci-%d-%s", job.Repo.ID, job.SHA) },
	} {
		t.Run(name, func(t *testing.T) {
			w := setup(t)
			_, run := w.opened()
			jobs := w.jobs()
			w.ends(jobs[0], flow.Failure, flow.CauseExit)
			w.ends(jobs[1], flow.Success, flow.CauseExit)
			if err := cancellation.Run(t.Context(), w.bus, run, cancellation.Request{ID: "x", Reason: "y"}); err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 20)
			for i := range cap(done) {
				e := click(jobs[0].SHA, id(jobs[0]))
				e.Delivery = fmt.Sprint("click ", i)
				go func() { done <- w.planner.plan(t.Context(), e) }()
			}
			for range cap(done) {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			all := w.jobs()
			if len(all) != 3 {
				t.Fatalf("%d jobs", len(all))
			}
			job := all[2]
			if job.Job != jobs[0].Job || job.Attempt != 2 || len(job.Earlier) != 1 || !job.Earlier[0].Rerun || job.Earlier[0].By != "mona" || job.Earlier[0].Conclusion != flow.Failure {
				t.Errorf("runs again: %+v", job)
			}
			if r, err := cancellation.Of(t.Context(), w.bus, run, 0, 2); err != nil || r != nil {
				t.Errorf("the new attempt is cancelled: %+v, %v", r, err)
			}
			if r, err := cancellation.Of(t.Context(), w.bus, run, 1, 1); err != nil || r == nil {
				t.Errorf("the other job is not cancelled any more: %v", err)
			}
			if record, err := verdict.RecordOf(t.Context(), w.bus, run, 0); err != nil || record.Attempt != 2 {
				t.Errorf("the record is %+v, %v", record, err)
			}
		})
	}
}

func TestClicksThatRunNothing(t *testing.T) {
	w := setup(t)
	_, run := w.opened()
	job := w.jobs()[0]
	change := func(c func(*flow.Event)) flow.Event {
		e := click(job.SHA, job.AttemptID())
		c(&e)
		return e
	}
	w.does(change(func(*flow.Event) {}), "ignored", "still runs")
	w.ends(job, flow.Failure, flow.CauseExit)
	w.does(change(func(e *flow.Event) { e.CheckRun.HeadSHA = strings.Repeat("b", 40) }), "ignored", "of another commit")
	w.does(change(func(e *flow.Event) { e.Repo.ID = 5 }), "ignored", "of another commit")
	w.does(change(func(e *flow.Event) { e.Installation = 5 }), "ignored", "of another commit")
	w.does(change(func(e *flow.Event) { e.CheckRun.App = 2 }), "ignored", "another app's")
	w.does(change(func(e *flow.Event) { e.Sender = flow.User{Login: "litci[bot]", Type: "Bot"} }), "ignored", "own doing")
	w.does(change(func(e *flow.Event) { e.CheckRun.ExternalID = flow.AttemptID(flow.JobID(run, 7), 1) }), "ignored", "has 2 jobs")
	w.does(change(func(e *flow.Event) { e.CheckRun.ExternalID = flow.AttemptID(job.Job, 2) }), "ignored", "has no attempt 2")
	w.does(change(func(e *flow.Event) {
		e.CheckRun.ExternalID = flow.AttemptID(flow.JobID(strings.Repeat("a2", 10), 0), 1)
	}), "ignored", "there is no plan of run")
	w.does(click(strings.Repeat("b", 40), ""), "ignored", "no run of the commit is known")
	w.does(change(func(e *flow.Event) { e.Action = "completed" }), "ignored", "starts nothing")
	if jobs := w.jobs(); len(jobs) != 2 {
		t.Errorf("%d jobs", len(jobs))
	}
	w.does(change(func(e *flow.Event) { e.Sender = flow.User{Login: "other[bot]", Type: "Bot"} }), "runs again", "")
}

func TestSuiteWithoutFailuresRunsAgainAsAWhole(t *testing.T) {
	w := setup(t)
	e, _ := w.opened()
	for _, job := range w.jobs() {
		w.ends(job, flow.Success, flow.CauseExit)
	}
	w.does(click(e.SHA(), ""), "runs again", "", "runs again", "")
	if jobs := w.jobs(); len(jobs) != 4 || jobs[2].Attempt != 2 || jobs[3].Attempt != 2 {
		t.Errorf("%d jobs", len(jobs))
	}
}

// What needs another job is raised behind it, or it would see the old verdict.
func TestSuiteRaisesNeedsFirst(t *testing.T) {
	w := setup(t)
	head := w.commit("topic", "second", folder("a.yml", onAll+"needs: b.yml\n", "b.yml", onAll+"needs: c.yml\n", "c.yml", onAll))
	w.does(push("refs/heads/topic", zero, head), "planned", "")
	jobs := w.jobs()
	w.ends(jobs[0], flow.Skip, flow.CauseNeeds)
	w.ends(jobs[1], flow.Skip, flow.CauseNeeds)
	w.ends(jobs[2], flow.Failure, flow.CauseExit)
	w.does(click(head, ""), "runs again", "", "runs again", "", "runs again", "")
	var order []int
	for _, job := range w.jobs()[3:] {
		order = append(order, job.Index)
	}
	if !slices.Equal(order, []int{2, 1, 0}) {
		t.Errorf("raised in the order %v", order)
	}
}

// What needs a job that runs again was decided by a verdict that no longer counts:
// left alone, a skipped job would count as fine beside a need that has passed.
func TestJobRunsAgainWithWhatNeedsIt(t *testing.T) {
	w := setup(t)
	head := w.commit("topic", "second", folder(
		"a.yml", onAll, "b.yml", onAll+"needs: a.yml\n", "c.yml", onAll+"needs: b.yml\nif: always\n", "d.yml", onAll, "e.yml", onAll+"needs: [a.yml, d.yml]\n"))
	w.does(push("refs/heads/topic", zero, head), "planned", "")
	jobs := w.jobs()
	w.ends(jobs[0], flow.Failure, flow.CauseExit)
	w.ends(jobs[1], flow.Skip, flow.CauseNeeds)
	w.ends(jobs[2], flow.Success, flow.CauseExit)
	w.ends(jobs[3], flow.Success, flow.CauseExit)
	// e.yml has not ended: it waits for what a.yml comes to.
	w.does(click(head, jobs[0].AttemptID()), "runs again", "", "runs again", "", "runs again", "")
	var order []int
	for _, job := range w.jobs()[5:] {
		if order = append(order, job.Index); job.Attempt != 2 {
			t.Errorf("runs again: %+v", job)
		}
	}
	if !slices.Equal(order, []int{0, 1, 2}) {
		t.Errorf("raised in the order %v", order)
	}
}

// A crash between raising an attempt and publishing it.
func TestCrashBeforeTheNewAttemptIsPublished(t *testing.T) {
	for name, whole := range map[string]bool{"of a job": false, "of a suite": true} {
		t.Run(name, func(t *testing.T) {
			w := setup(t)
			_, run := w.opened()
			jobs := w.jobs()
			for _, job := range jobs {
				w.ends(job, flow.Failure, flow.CauseExit)
			}
			e := click(jobs[0].SHA, jobs[0].AttemptID())
			if whole {
				e = click(jobs[0].SHA, "")
			}
			e.Delivery = "crashed"
			a := asked(t, e)
			a.stored = e.ReceivedAt
			_, err := bus.Change(t.Context(), w.bus.Runs(), verdict.Key(run, 0), func(r *verdict.Record) bool {
				*r = verdict.Record{Attempt: 2, Earlier: []flow.Earlier{{Attempt: 1, Rerun: true, At: a.stored}}, RaisedAt: a.stored}
				return true
			})
			if err != nil {
				t.Fatal(err)
			}
			if whole {
				w.redoes(e, "runs again", "", "runs again", "")
			} else {
				w.redoes(e, "runs again", "")
			}
			w.does(click(jobs[0].SHA, jobs[0].AttemptID()), "ignored", "asked for already")
			if all := w.jobs(); all[2].Job != jobs[0].Job || all[2].Attempt != 2 {
				t.Errorf("runs again: %+v", all[2])
			}
		})
	}
}

// Who wanted the attempt comes no more: its delivery is a dead letter, or was given up.
func TestAttemptThatWasRaisedAndNeverPublishedIsPublishedByWhoLooksNext(t *testing.T) {
	for name, look := range map[string]func(w *world, job flow.Job){
		"a click on the job": func(w *world, job flow.Job) {
			w.does(click(job.SHA, job.AttemptID()), "published after all", "", "ignored", "asked for already")
		},
		"a click on the suite": func(w *world, job flow.Job) {
			w.does(click(job.SHA, ""), "published after all", "", "ignored", "something still runs")
		},
		"an operator": func(w *world, job flow.Job) {
			w.does(operator("", flow.AttemptID(job.Job, 2)), "published after all", "", "ignored", "still runs")
		},
		"the last word": func(w *world, job flow.Job) {
			e := click(job.SHA, job.AttemptID())
			if err := w.planner.lastWord(w.t.Context(), e, errors.New("boom")); err != nil {
				w.t.Fatal(err)
			}
			w.hears("published after all", "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := setup(t)
			_, run := w.opened()
			jobs := w.jobs()
			w.ends(jobs[0], flow.Failure, flow.CauseExit)
			w.ends(jobs[1], flow.Success, flow.CauseExit)
			_, err := bus.Change(t.Context(), w.bus.Runs(), verdict.Key(run, 0), func(r *verdict.Record) bool {
				at := time.Now().UTC()
				*r = verdict.Record{Attempt: 2, Earlier: []flow.Earlier{{Attempt: 1, Rerun: true, At: at}}, RaisedAt: at}
				return true
			})
			if err != nil {
				t.Fatal(err)
			}
			look(w, jobs[0])
			if all := w.jobs(); len(all) != 3 || all[2].Job != jobs[0].Job || all[2].Attempt != 2 {
				t.Fatalf("%d jobs", len(all))
			}
			w.does(click(jobs[0].SHA, jobs[0].AttemptID()), "ignored", "asked for already") // now it is there
		})
	}
}

func TestOperatorRunsAgain(t *testing.T) {
	w := setup(t)
	_, run := w.opened()
	jobs := w.jobs()
	w.does(operator(run, ""), "ignored", "still runs")
	w.ends(jobs[0], flow.Success, flow.CauseExit)
	w.ends(jobs[1], flow.TimedOut, flow.CauseDeadline)
	w.does(operator(run, ""), "runs again", "")
	w.does(operator(run, jobs[0].AttemptID()), "runs again", "")
	all := w.jobs()
	if len(all) != 4 || all[2].Index != 1 || all[3].Index != 0 || all[3].Earlier[0].By != "ops" {
		t.Errorf("jobs are %+v", all[2:])
	}
	w.does(operator(strings.Repeat("a2", 10), ""), "ignored", "there is no plan")
}

func TestRunOfAnOlderHeadRunsAgainUntilTheNextHead(t *testing.T) {
	w := setup(t)
	e, run := w.opened()
	jobs := w.jobs()
	w.does(w.moved(e, w.commit("topic", "third", nil)), "cancelled", "", "planned", "")
	w.ends(jobs[0], flow.Cancelled, flow.CauseStopped)
	w.does(click(jobs[0].SHA, jobs[0].AttemptID()), "runs again", "")
	if r, err := cancellation.Of(t.Context(), w.bus, run, 0, 2); err != nil || r != nil {
		t.Errorf("the new attempt is cancelled: %+v, %v", r, err)
	}
	w.does(w.moved(e, w.commit("topic", "fourth", nil)), "cancelled", "", "cancelled", "", "planned", "")
	if r, err := cancellation.Of(t.Context(), w.bus, run, 0, 2); err != nil || r == nil || r.Reason != w.reasonOf(t) {
		t.Errorf("the new attempt is not cancelled: %+v, %v", r, err)
	}
}

// hooked is an App that calls a hook once, right before it fetches an archive.
type hooked struct {
	App
	hook func()
}

func (h *hooked) Archive(ctx context.Context, installation, repo int64, owner, name, sha string) (io.ReadCloser, error) {
	if hook := h.hook; hook != nil {
		h.hook = nil
		hook()
	}
	return h.App.Archive(ctx, installation, repo, owner, name, sha)
}

func TestEndThatIsAskedForDuringAReRunEndsIt(t *testing.T) {
	for name, ask := range map[string]func(w *world, e flow.Event, run string) (reason string){
		"by a push": func(w *world, e flow.Event, _ string) string {
			e = w.moved(e, w.commit("topic", "third", nil))
			e.ReceivedAt = time.Now().UTC()
			w.does(e, "cancelled", "", "planned", "")
			return w.reasonOf(w.t)
		},
		"by an operator whose clock is behind": func(w *world, _ flow.Event, run string) string {
			r := cancellation.Request{ID: "x", Reason: "y", By: "ops", At: time.Now().Add(-time.Hour)}
			if err := cancellation.Run(w.t.Context(), w.bus, run, r); err != nil {
				w.t.Fatal(err)
			}
			return "y"
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := setup(t)
			e, run := w.opened()
			jobs := w.jobs()
			w.ends(jobs[0], flow.Failure, flow.CauseExit)
			w.planner.archiveAge = 0
			reason := ""
			w.planner.app = &hooked{App: w.planner.app, hook: func() { reason = ask(w, e, run) }}
			w.does(click(jobs[0].SHA, jobs[0].AttemptID()), "runs again", "")
			if r, err := cancellation.Of(t.Context(), w.bus, run, 0, 2); err != nil || r == nil || r.Reason != reason {
				t.Errorf("the new attempt is not cancelled: %+v, %v", r, err)
			}
		})
	}
}

func TestSourceIsStoredAgainForAReRun(t *testing.T) {
	w := setup(t)
	w.planner.archiveAge = 0
	w.opened()
	job := w.jobs()[0]
	w.ends(job, flow.Failure, flow.CauseExit)
	w.does(click(job.SHA, job.AttemptID()), "runs again", "")
	if n := w.gh.State().Requests["GET /repos/{owner}/{repo}/tarball/{ref}"]; n != 2 {
		t.Errorf("%d archives were fetched", n)
	}
}

func TestGateIsPlannedAgain(t *testing.T) {
	w := setup(t)
	e := w.open(fakegithub.OpenPull{Head: "topic", Fork: true}, w.commit("topic", "second", folder("a.yml", onAll)))
	w.does(e, "nothing to run", "gate")
	again := click(e.SHA(), "litci-4711-"+e.SHA())
	again.Delivery = "click"
	w.redoes(again, "nothing to run", "gate")
	w.redoes(again, "nothing to run", "gate") // that delivery again
	results := w.results()
	if len(results) != 2 || results[1].Run == results[0].Run || results[1].Conclusion != flow.ActionRequired || results[1].PullRequest != e.PullRequest.Number || results[1].SHA != e.SHA() {
		t.Errorf("results are %+v", results)
	}
	if jobs := w.jobs(); len(jobs) > 0 {
		t.Errorf("%d jobs of a fork", len(jobs))
	}
	again.Delivery = "click made before that"
	w.redoes(again, "ignored", "no job to run again")
}

func TestBadFilesArePlannedAgain(t *testing.T) {
	w := setup(t)
	e := w.open(fakegithub.OpenPull{Head: "topic"}, w.commit("topic", "second", folder("a.yml", onAll+"pool: desk\n")))
	w.does(e, "nothing to run", "config")
	bad := w.results()[0]
	w.serve("desk")
	again := click(e.SHA(), bad.Run+"-config")
	w.does(again, "planned", "")
	w.does(again, "ignored", "planned again already")
	jobs := w.jobs()
	if len(jobs) != 0 { // they are the pool's
		t.Errorf("jobs are %+v", jobs)
	}
	if plans := w.plans(); len(plans) != 1 || plans[0].Run == bad.Run || len(plans[0].Jobs) != 1 {
		t.Errorf("plans are %+v", plans)
	}
}

// serve makes a pool one that is served.
func (w *world) serve(pool string) {
	w.t.Helper()
	if err := w.bus.Provision(w.t.Context(), bus.Provision{Pools: []string{pool}}); err != nil {
		w.t.Fatal(err)
	}
}

func TestGivenUpPlanSaysSoAndIsPlannedAgain(t *testing.T) {
	w := setup(t)
	e := w.open(fakegithub.OpenPull{Head: "topic"}, w.commit("topic", "second", folder("a.yml", matrix(2))))
	if err := w.planner.lastWord(t.Context(), e, errors.New("boom")); err != nil {
		t.Fatal(err)
	}
	results := w.results()
	if len(results) != 1 || results[0].Conclusion != flow.Failure || results[0].Cause != flow.CauseGivenUp || results[0].SHA != e.SHA() ||
		!strings.Contains(results[0].Message, "Planning was given up") || strings.Contains(results[0].Message, "boom") {
		t.Fatalf("results are %+v", results)
	}
	w.does(click(e.SHA(), "litci-4711-"+e.SHA()), "planned", "")
	w.does(click(e.SHA(), "litci-4711-"+e.SHA()), "ignored", "still runs")
	w.does(e, "ignored", "already")
	if plans := w.plans(); len(plans) != 1 || plans[0].Run == results[0].Run || len(plans[0].Jobs) != 2 {
		t.Errorf("plans are %+v", plans)
	}
}

func TestReplayedDeadLetterIsAnotherRun(t *testing.T) {
	w := setup(t)
	head := w.commit("topic", "second", folder("a.yml", onAll))
	pr := w.open(fakegithub.OpenPull{Head: "topic"}, head)
	pr.Action = "reopened"
	for _, e := range []flow.Event{push("refs/tags/v1", zero, head), pr} {
		e.Delivery = "letter " + e.Kind
		if err := w.planner.lastWord(t.Context(), e, errors.New("boom")); err != nil {
			t.Fatal(err)
		}
		w.redoes(e, "planned", "")
		w.redoes(e, "ignored", "already")
	}
	results, plans := w.results(), w.plans()
	if len(results) != 2 || len(plans) != 2 || plans[0].Run == results[0].Run || plans[1].Run == results[1].Run {
		t.Errorf("given up: %+v, planned: %+v", results, plans)
	}
}

func TestLastWordIsOfWhatIsWaitedForAlone(t *testing.T) {
	w := setup(t)
	planned, _ := w.opened()
	label := planned
	label.Action = "labeled"
	closed := planned
	closed.Action = "closed"
	gone := w.moved(planned, w.commit("topic", "third", nil))
	gone.ReceivedAt = time.Now()
	w.does(gone, "cancelled", "", "planned", "")
	for name, e := range map[string]flow.Event{"planned": gone, "a label": label, "closed": closed, "superseded": planned, "a click": click(planned.SHA(), "")} {
		if err := w.planner.lastWord(t.Context(), e, errors.New("boom")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if results := w.results(); len(results) > 0 {
		t.Errorf("results are %+v", results)
	}
}

func TestWorkflowsEnterTheirGroups(t *testing.T) {
	w := setup(t)
	head := w.commit("topic", "second", folder("a.yml", matrix(2)+"concurrency: Deploy\n", "b.yml", onAll))
	w.does(push("refs/heads/topic", zero, head), "planned", "")
	group := flow.Concurrency{Group: "deploy", Queue: "latest"}
	jobs := w.jobs()
	mine, _, err := concurrency.Turn(t.Context(), w.bus, 4711, group, concurrency.MemberOf(jobs[0], "a.yml"))
	if err != nil || !mine {
		t.Fatalf("%t, %v", mine, err)
	}
	w.does(push("refs/heads/next", zero, head), "planned", "")
	mine, ahead, err := concurrency.Turn(t.Context(), w.bus, 4711, group, concurrency.MemberOf(w.jobs()[3], "a.yml"))
	if err != nil || mine || ahead.Run != jobs[0].Run {
		t.Errorf("%t, %+v, %v", mine, ahead, err)
	}
	for _, job := range jobs {
		w.ends(job, flow.Failure, flow.CauseExit)
	}
	w.does(click(head, jobs[1].AttemptID()), "runs again", "")
	all := w.jobs()
	again := all[len(all)-1]
	mine, ahead, err = concurrency.Turn(t.Context(), w.bus, 4711, group, concurrency.MemberOf(again, "a.yml"))
	if err != nil || mine || ahead.Run != all[3].Run {
		t.Errorf("the re-run: %t, %+v, %v", mine, ahead, err)
	}
}

func TestJobsOfOneWorkflowEnterTogether(t *testing.T) {
	group := &flow.Concurrency{Group: "deploy"}
	job := func(index, attempt int, c *flow.Concurrency) flow.Job {
		return flow.Job{Identity: flow.Identity{Run: "r"}, Index: index, Attempt: attempt, Options: flow.Options{Concurrency: c}}
	}
	got := entries([]flow.Job{job(0, 1, group), job(1, 3, group), job(2, 1, nil), job(3, 1, group)}, []string{"a.yml", "a.yml", "b.yml", "c.yml"}, time.Time{})
	if len(got) != 2 || !slices.Equal(got[0].member.Jobs, []int{0, 1}) || got[0].member.Attempts[1] != 3 || len(got[0].member.Attempts) != 1 || got[1].member.Workflow != "c.yml" {
		t.Errorf("enter: %+v", got)
	}
}
