package reporter

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/pkg/flow"
)

// Every answer to a creation is lost once; nothing is created twice.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	for _, fault := range []fakegithub.Fault{{Drop: true, AfterEffect: true}, {Status: 502, AfterEffect: true}, {Drop: true}, {Status: 503}} {
		w := newWorld(t, fakegithub.Limits{})
		r := w.reporter(nil)
		for _, path := range []string{"/repos/{owner}/{repo}/check-runs", "/repos/{owner}/{repo}/issues/{issue_number}/comments"} {
			f := fault
			f.Method, f.Path, f.Count = "POST", path, 2
			w.hub.AddFaults(f)
		}
		plan, jobs := w.plan("a", w.shas[2], 1, epoch)
		for _, m := range []any{plan, jobs[0], endOf(jobs[0], flow.Success)} {
			for tries := 0; handle(t.Context(), r, m) != nil; tries++ {
				if tries > 10 {
					t.Fatalf("%+v: never done", fault)
				}
			}
		}
		w.only(w.shas[2], "ci / unit (0)")
		w.only(w.shas[2], "litci")
		if n := len(w.hub.State().Comments); n != 1 {
			t.Errorf("%+v: %d comments", fault, n)
		}
	}
}

// dying is a transport that takes the process's bus away right after GitHub
// has done what a request to path asked for.
type dying struct {
	path string
	die  func()
	next http.RoundTripper
}

func (d *dying) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := d.next.RoundTrip(req)
	if err == nil && req.Method == http.MethodPost && strings.HasSuffix(req.URL.Path, d.path) {
		_ = resp.Body.Close()
		d.die()
		return nil, errors.New("the process died")
	}
	return resp, err
}

func TestCrashBetweenCreationAndRecord(t *testing.T) {
	for _, path := range []string{"/check-runs", "/comments"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, fakegithub.Limits{})
			own := &http.Transport{}
			t.Cleanup(own.CloseIdleConnections)
			b := w.connect()
			first := w.reporterOn(b, &dying{path: path, die: b.Close, next: own})
			first.turns.lease = time.Hour
			plan, jobs := w.plan("a", w.shas[2], 1, epoch)
			if err := first.planned(t.Context(), plan); err == nil {
				t.Fatal("the first life did not die")
			}
			second := w.reporter(nil)
			// The bus brings the message again until the dead life's turn is over.
			if err := second.planned(t.Context(), plan); !errors.Is(err, errHeld) {
				t.Fatalf("within the dead life's turn: %v", err)
			}
			second.turns.now = func() time.Time { return time.Now().Add(first.turns.lease) }
			hand(t, second, plan, jobs[0], endOf(jobs[0], flow.Success))
			w.only(w.shas[2], "litci")
			w.only(w.shas[2], "ci / unit (0)")
			if n := len(w.hub.State().Comments); n != 1 {
				t.Errorf("%d comments", n)
			}
		})
	}
}

func TestTwoReportersAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{Off: true})
	lives := []*Reporter{w.reporter(nil), w.reporter(nil)}
	plan, jobs := w.plan("a", w.shas[2], 6, epoch)
	var wait sync.WaitGroup
	for i, r := range lives {
		wait.Go(func() { // both get everything
			messages := []any{plan}
			for _, j := range jobs {
				messages = append(messages, j, running(j), endOf(j, flow.Success))
			}
			if i == 1 {
				slices.Reverse(messages)
			}
			var each sync.WaitGroup
			for _, m := range messages {
				each.Go(func() {
					err := handle(t.Context(), r, m)
					for errors.Is(err, errHeld) { // the bus brings it again
						err = handle(t.Context(), r, m)
					}
					if err != nil {
						t.Errorf("%T: %v", m, err)
					}
				})
			}
			each.Wait()
		})
	}
	wait.Wait()
	s := w.hub.State()
	if len(s.Comments) != 1 || !strings.Contains(s.Comments[0].Body, "6 passed") || len(s.CheckRuns) != 7 {
		t.Errorf("%s", shown(s))
	}
	for _, c := range s.CheckRuns {
		if concluded(c) != "success" {
			t.Errorf("%s: %s", c.Name, concluded(c))
		}
	}
}

// The last update meets GitHub's limit: the message comes back, and the verdict is shown.
func TestLimitDuringTheLastUpdate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	b := w.connect()
	w.run(w.reporter(nil))
	sha := w.shas[2]
	plan, jobs := w.plan("a", sha, 1, epoch)
	if err := bus.PublishPlan(t.Context(), b, plan, jobs); err != nil {
		t.Fatal(err)
	}
	w.await("all shown as open", func(s fakegithub.State) bool { return len(s.CheckRuns) == 2 && len(s.Comments) == 1 })
	w.hub.AddFaults(fakegithub.Fault{Method: "PATCH", Status: 403, Headers: map[string]string{"Retry-After": "1"}, Count: 1})
	publish(t, b, flow.Results, endOf(jobs[0], flow.Success))
	w.await("the verdict everywhere", func(s fakegithub.State) bool {
		return concluded(checksOf(s, sha, "ci / unit (0)")[0]) == "success" && concluded(checksOf(s, sha, "litci")[0]) == "success" &&
			strings.Contains(s.Comments[0].Body, "1 passed")
	})
}

func TestManyAnnotationsAreSentOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	plan, _ := w.plan("a", w.shas[2], 0, epoch)
	end := flow.Result{Identity: plan.Identity, Cause: flow.CauseConfig, Conclusion: flow.Failure, FinishedAt: epoch}
	for i := range 121 {
		end.Problems = append(end.Problems, flow.Problem{File: "ci.yml", Line: i + 1, Column: 1, Severity: "error", Message: "bad"})
	}
	// The first two requests for more annotations do their work, and their answers are lost.
	w.hub.AddFaults(fakegithub.Fault{Method: "PATCH", Path: "/repos/{owner}/{repo}/check-runs/{check_run_id}", Drop: true, AfterEffect: true, Count: 2})
	r := w.reporter(nil)
	for handle(t.Context(), r, end) != nil {
		if t.Context().Err() != nil {
			t.Fatal("never done")
		}
	}
	if c := w.only(w.shas[2], "litci / config"); c.Output.AnnotationsCount != 121 {
		t.Errorf("%d annotations", c.Output.AnnotationsCount)
	}
}

// A field that GitHub refuses costs the text and never the verdict.
func TestRefusedOutputIsSentPlain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	r := w.reporter(nil)
	plan, jobs := w.plan("a", w.shas[2], 1, epoch)
	hand(t, r, plan, jobs[0])
	check := w.only(w.shas[2], "ci / unit (0)")
	w.hub.AddFaults(fakegithub.Fault{Method: "PATCH", Path: fmt.Sprintf("/repos/octo/repo/check-runs/%d", check.ID), Status: 422})
	hand(t, r, endOf(jobs[0], flow.Failure))
	if c := w.only(w.shas[2], "ci / unit (0)"); concluded(c) != "failure" || !strings.Contains(*c.Output.Summary, "see the whole report") {
		t.Errorf("%s: %s", concluded(c), *c.Output.Summary)
	}
}

func TestMissingPermissionIsADeadLetter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	r := w.reporter(nil)
	plan, jobs := w.plan("a", w.shas[2], 1, epoch)
	w.hub.AddFaults(fakegithub.Fault{Method: "POST", Path: "/repos/{owner}/{repo}/check-runs", Status: 403, Count: -1})
	err := r.queued(t.Context(), jobs[0])
	if err == nil || fmt.Sprintf("%T", err) != fmt.Sprintf("%T", bus.Drop(errors.New(""))) {
		t.Errorf("%T %v", err, err)
	}
	// The comment is a courtesy: without its permission the checks are the report.
	w.hub.ClearFaults()
	w.hub.AddFaults(fakegithub.Fault{Method: "POST", Path: "/repos/{owner}/{repo}/issues/{issue_number}/comments", Status: 403, Count: -1})
	hand(t, r, plan, endOf(jobs[0], flow.Success))
	if c := w.only(w.shas[2], "litci"); concluded(c) != "success" {
		t.Errorf("%s", concluded(c))
	}
}

// Forty jobs that all begin and end within a minute stay within GitHub's limits,
// which would otherwise hold the verdicts back.
func TestFortyJobsStayWithinGitHubsLimits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	r := w.reporter(nil)
	r.checkEvery, r.sumEvery, r.commentEvery = 2*time.Second, 3*time.Second, 5*time.Second
	plan, jobs := w.plan("a", w.shas[2], 40, epoch)
	begin := time.Now()
	hand(t, r, plan)
	var wait sync.WaitGroup
	take := func(m any) {
		wait.Go(func() {
			if err := handle(t.Context(), r, m); err != nil {
				t.Errorf("%T: %v", m, err)
			}
		})
	}
	for _, j := range jobs {
		take(j)
		take(running(j))
		take(endOf(j, flow.Success))
	}
	wait.Wait()
	s := w.hub.State()
	if c := w.only(w.shas[2], "litci"); concluded(c) != "success" || len(s.CheckRuns) != 41 || !strings.Contains(s.Comments[0].Body, "40 passed") {
		t.Errorf("%s", shown(s))
	}
	writes := 0
	for path, n := range s.Requests {
		if !strings.HasPrefix(path, "GET") {
			writes += n
		}
	}
	minutes := 1 + int(time.Since(begin)/time.Minute)
	if writes > 150*minutes { // of the 180 that GitHub allows in a minute
		t.Errorf("%d writes:\n%s", writes, shown(s))
	}
}

// The answer to the first attempt's creation is lost, and the next attempt
// comes before it is asked for again: it goes on in what was created.
func TestNextAttemptFindsWhatTheLastOneLeft(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	r := w.reporter(nil)
	_, jobs := w.plan("a", w.shas[2], 1, epoch)
	w.hub.AddFaults(fakegithub.Fault{Method: "POST", Path: "/repos/{owner}/{repo}/check-runs", Drop: true, AfterEffect: true})
	if err := r.queued(t.Context(), jobs[0]); err == nil {
		t.Fatal("the answer was not lost")
	}
	next := jobs[0]
	next.Attempt = 2
	hand(t, r, endOf(next, flow.Success))
	if c := w.only(w.shas[2], "ci / unit (0)"); c.ExternalID != next.AttemptID() || concluded(c) != "success" {
		t.Errorf("%s %s", c.ExternalID, concluded(c))
	}
}
