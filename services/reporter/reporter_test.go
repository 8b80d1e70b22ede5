package reporter

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/pkg/flow"
)

const zapLevel = zap.ErrorLevel + 1

// hand gives messages to the handlers, as the bus would, until each is taken.
func hand(t *testing.T, r *Reporter, messages ...any) {
	t.Helper()
	for _, m := range messages {
		if err := handle(t.Context(), r, m); err != nil {
			t.Fatalf("%T: %v", m, err)
		}
	}
}

func handle(ctx context.Context, r *Reporter, message any) error {
	switch m := message.(type) {
	case flow.Plan:
		return r.planned(ctx, m)
	case flow.Job:
		return r.queued(ctx, m)
	case flow.Status:
		return r.moved(ctx, m)
	case flow.Result:
		return r.ended(ctx, m)
	}
	panic(fmt.Sprintf("no handler for %T", message))
}

// A run from its plan to its verdicts, over the bus, as services publish it.
func TestRunIsReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	b := w.connect()
	w.run(w.reporter(nil))
	sha := w.shas[2]
	plan, jobs := w.plan("a", sha, 2, epoch)
	if err := bus.PublishPlan(t.Context(), b, plan, jobs); err != nil {
		t.Fatal(err)
	}
	w.await("both jobs queued, the aggregate open, a comment", func(s fakegithub.State) bool {
		return len(checksOf(s, sha, "ci / unit (0)")) == 1 && len(checksOf(s, sha, "ci / unit (1)")) == 1 &&
			len(checksOf(s, sha, "litci")) == 1 && len(s.Comments) == 1
	})
	publish(t, b, flow.States, running(jobs[0]))
	w.await("the first job in progress", func(s fakegithub.State) bool {
		return concluded(checksOf(s, sha, "ci / unit (0)")[0]) == "in_progress"
	})
	publish(t, b, flow.Results, endOf(jobs[0], flow.Failure))
	w.await("the aggregate fails at once", func(s fakegithub.State) bool {
		return concluded(checksOf(s, sha, "litci")[0]) == "failure"
	})
	publish(t, b, flow.Results, endOf(jobs[1], flow.Success))
	state := w.await("the comment says so", func(s fakegithub.State) bool {
		return concluded(checksOf(s, sha, "ci / unit (1)")[0]) == "success" && strings.Contains(s.Comments[0].Body, "1 failed, 1 passed") &&
			strings.Contains(*checksOf(s, sha, "litci")[0].Output.Title, "1 failed, 1 passed")
	})
	failed := w.only(sha, "ci / unit (0)")
	if *failed.Output.Title != "Failed: exit 1 — E: boom" || !strings.Contains(*failed.Output.Text, "E: boom\nbye") {
		t.Errorf("%s\n%s", *failed.Output.Title, *failed.Output.Text)
	}
	if failed.ExternalID != jobs[0].AttemptID() || !strings.Contains(failed.DetailsURL, "/runs/"+plan.Run+"/") {
		t.Errorf("%s %s", failed.ExternalID, failed.DetailsURL)
	}
	if len(state.CheckRuns) != 3 || len(state.Comments) != 1 {
		t.Errorf("too much:\n%s", shown(state))
	}
}

func publish[T flow.Message](t *testing.T, b *bus.Bus, subject flow.Subject[T], msg T) {
	t.Helper()
	if err := bus.Publish(t.Context(), b, subject, msg); err != nil {
		t.Fatal(err)
	}
}

func TestMessagesInReverseOrderAndTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	r := w.reporter(nil)
	sha := w.shas[2]
	plan, jobs := w.plan("a", sha, 1, epoch)
	messages := []any{plan, jobs[0], running(jobs[0]), endOf(jobs[0], flow.Success)}
	slices.Reverse(messages)
	hand(t, r, append(messages, messages...)...)
	if c := w.only(sha, "ci / unit (0)"); concluded(c) != "success" {
		t.Errorf("job %s", concluded(c))
	}
	if c := w.only(sha, "litci"); concluded(c) != "success" {
		t.Errorf("aggregate %s", concluded(c))
	}
	if s := w.hub.State(); len(s.Comments) != 1 || !strings.Contains(s.Comments[0].Body, "1 passed") {
		t.Errorf("comments:\n%s", shown(s))
	}
}

// What GitHub shows already is not sent again.
func TestNothingIsSentTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	r := w.reporter(nil)
	plan, jobs := w.plan("a", w.shas[2], 1, epoch)
	messages := []any{plan, jobs[0], endOf(jobs[0], flow.Success)}
	hand(t, r, messages...)
	before := w.hub.State().Requests
	hand(t, r, messages...)
	if after := w.hub.State().Requests; fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("requests\n%v\n%v", before, after)
	}
}

func TestEndsWithoutJobs(t *testing.T) {
	tests := []struct {
		name       string
		cause      flow.Cause
		conclusion flow.Conclusion
		checks     map[string]string
		comments   int
	}{
		{"no workflow files: nothing", flow.CauseNoWorkflows, flow.Success, map[string]string{}, 0},
		{"nothing triggered", flow.CauseNotTriggered, flow.Success, map[string]string{"litci": "success", "ci / docs": "skipped"}, 1},
		{"bad files", flow.CauseConfig, flow.Failure, map[string]string{"litci": "failure", "litci / config": "failure"}, 1},
		{"gate", flow.CauseGate, flow.ActionRequired, map[string]string{"litci": "action_required"}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, fakegithub.Limits{})
			r := w.reporter(nil)
			plan, _ := w.plan("a", w.shas[2], 0, epoch)
			end := flow.Result{Identity: plan.Identity, Cause: test.cause, Conclusion: test.conclusion, Message: "This is why.", FinishedAt: epoch}
			if test.cause == flow.CauseNotTriggered {
				end.Skipped = []flow.Skipped{{Check: "ci / docs", Reason: "no file matched paths"}}
			}
			hand(t, r, end, end)
			s := w.hub.State()
			got := map[string]string{}
			for _, c := range s.CheckRuns {
				got[c.Name] = concluded(c)
			}
			if fmt.Sprint(got) != fmt.Sprint(test.checks) || len(s.CheckRuns) != len(test.checks) || len(s.Comments) != test.comments {
				t.Errorf("checks %v, %d comments", got, len(s.Comments))
			}
		})
	}
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
			plan, jobs := w.plan("a", w.shas[2], 1, epoch)
			if err := first.planned(t.Context(), plan); err == nil {
				t.Fatal("the first life did not die")
			}
			second := w.reporter(nil)
			// The bus brings the message again until the dead life's turn is over.
			for err := errHeld; errors.Is(err, errHeld); {
				err = second.planned(t.Context(), plan)
			}
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
					if err := handle(t.Context(), r, m); err != nil {
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

func TestDeletedCommentComesBackWithAnotherVerdict(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	r := w.reporter(nil)
	plan, jobs := w.plan("a", w.shas[1], 1, epoch)
	hand(t, r, plan, endOf(jobs[0], flow.Success))
	w.deleteComments()

	// A new head, still open, and passed again: nobody wanted to read that.
	plan, jobs = w.plan("b", w.shas[2], 1, epoch.Add(time.Hour))
	hand(t, r, plan, running(jobs[0]), endOf(jobs[0], flow.Success))
	if s := w.hub.State(); len(s.Comments) != 0 {
		t.Errorf("the comment came back:\n%s", shown(s))
	}
	again := jobs[0]
	again.Attempt = 2
	hand(t, r, again, endOf(again, flow.Failure))
	if s := w.hub.State(); len(s.Comments) != 1 || !strings.Contains(s.Comments[0].Body, "1 failed") {
		t.Errorf("no comment about the failure:\n%s", shown(s))
	}
}

// deleteComments does as a person with write permission.
func (w *world) deleteComments() {
	w.t.Helper()
	own := &http.Transport{}
	w.t.Cleanup(own.CloseIdleConnections)
	r := w.reporter(own)
	client, err := r.app.Client(installation, repoID)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range w.hub.State().Comments {
		if _, err := client.Issues.DeleteComment(w.t.Context(), "octo", "repo", c.ID); err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestForeignMarkerIsNotAdopted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	if _, _, err := w.hub.Comment(t.Context(), fakegithub.Remark{
		Owner: "octo", Repo: "repo", Number: w.pull, Author: "mallory", Body: marker(repoID, w.pull) + "\nmine",
	}); err != nil {
		t.Fatal(err)
	}
	r := w.reporter(nil)
	plan, _ := w.plan("a", w.shas[2], 1, epoch)
	hand(t, r, plan)
	if s := w.hub.State(); len(s.Comments) != 2 || s.Comments[0].Body != marker(repoID, w.pull)+"\nmine" {
		t.Errorf("%s", shown(s))
	}
}

// The comment of a new head is not overwritten by what comes late from an older one.
func TestOlderHeadDoesNotOverwriteTheComment(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	r := w.reporter(nil)
	older, olderJobs := w.plan("a", w.shas[1], 1, epoch)
	newer, newerJobs := w.plan("b", w.shas[2], 1, epoch.Add(time.Minute))
	hand(t, r, newer, endOf(newerJobs[0], flow.Success), older, endOf(olderJobs[0], flow.Failure))
	s := w.hub.State()
	if len(s.Comments) != 1 || !strings.Contains(s.Comments[0].Body, w.shas[2]) || strings.Contains(s.Comments[0].Body, w.shas[1]) {
		t.Errorf("%s", shown(s))
	}
	if concluded(w.only(w.shas[1], "litci")) != "failure" || concluded(w.only(w.shas[2], "litci")) != "success" {
		t.Errorf("%s", shown(s))
	}
}

// A re-run gets a check run of its own; an infrastructure retry, whose attempt
// never had a verdict, goes on in the same one.
func TestAttempts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	r := w.reporter(nil)
	sha := w.shas[2]
	plan, jobs := w.plan("a", sha, 1, epoch)
	second, third := jobs[0], jobs[0]
	second.Attempt, third.Attempt = 2, 3

	hand(t, r, plan, jobs[0], running(jobs[0]), second)
	if c := w.only(sha, "ci / unit (0)"); c.ExternalID != second.AttemptID() || concluded(c) != "queued" {
		t.Errorf("retry: %s %s", c.ExternalID, concluded(c))
	}
	hand(t, r, endOf(second, flow.Failure))
	if concluded(w.only(sha, "litci")) != "failure" {
		t.Error("the aggregate is not red")
	}
	hand(t, r, third)
	if c := w.only(sha, "litci"); concluded(c) != "in_progress" {
		t.Errorf("the aggregate is %s after a re-run", concluded(c))
	}
	hand(t, r, endOf(third, flow.Success))
	found := checksOf(w.hub.State(), sha, "ci / unit (0)")
	if len(found) != 2 || found[0].ExternalID != second.AttemptID() || concluded(found[0]) != "failure" ||
		found[1].ExternalID != third.AttemptID() || concluded(found[1]) != "success" {
		t.Errorf("%s", shown(w.hub.State()))
	}
	if c := w.only(sha, "litci"); concluded(c) != "success" {
		t.Errorf("the aggregate is %s", concluded(c))
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
	if writes > 150 { // of the 180 that GitHub allows in a minute
		t.Errorf("%d writes:\n%s", writes, shown(s))
	}
}
