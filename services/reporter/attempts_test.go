package reporter

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

// after is the attempt of a job that follows one that ended for a cause.
func after(j flow.Job, cause flow.Cause) flow.Job {
	next := j
	next.Attempt++
	next.Earlier = append(append([]flow.Earlier{}, j.Earlier...), flow.Earlier{
		Attempt: j.Attempt, Cause: cause, Message: "The machine went away.", Log: flow.LogName(j.Job, j.Attempt), At: j.QueuedAt.Add(4*time.Minute + time.Second),
	})
	return next
}

// wanted is the attempt of a job that somebody asked for.
func wanted(j flow.Job, was flow.Conclusion) flow.Job {
	next := after(j, flow.CauseExit)
	last := &next.Earlier[len(next.Earlier)-1]
	last.Rerun, last.By, last.Conclusion = true, "alice", was
	return next
}

// litci tries again: one check run all the way, whatever order the messages come in.
func TestRetryGoesOnInOneCheckRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	r := w.reporter(nil)
	sha := w.shas[2]
	plan, jobs := w.plan("a", sha, 2, epoch)
	second := after(jobs[0], flow.CausePreempted)
	hand(t, r, plan, jobs[0], jobs[1], running(jobs[0]), second)
	c := w.only(sha, "ci / unit (0)")
	if c.ExternalID != second.AttemptID() || concluded(c) != "in_progress" || *c.Output.Title != "Preempted after 4m: attempt 2 of 3 is starting" {
		t.Errorf("%s %s: %s", c.ExternalID, concluded(c), *c.Output.Title)
	}
	third := after(second, flow.CauseInfrastructure)
	hand(t, r, third, endOf(third, flow.Success), endOf(jobs[1], flow.Success))
	c = w.only(sha, "ci / unit (0)")
	if c.ExternalID != third.AttemptID() || concluded(c) != "success" {
		t.Errorf("%s %s", c.ExternalID, concluded(c))
	}
	for _, want := range []string{
		"**Attempt 1:** preempted after 4m — The machine went away. · [log](", "/jobs/0/attempts/1)",
		"**Attempt 2:** machine failed — The machine went away.", "/jobs/0/attempts/2)",
	} {
		if !strings.Contains(*c.Output.Summary, want) {
			t.Errorf("lacks %q:\n%s", want, *c.Output.Summary)
		}
	}
	const again = "1 of 2 jobs was started again: 1 preempted, 1 machine failure."
	if body := w.hub.State().Comments[0].Body; !strings.Contains(body, again) {
		t.Errorf("%s", body)
	}
	if c := w.only(sha, "litci"); !strings.Contains(*c.Output.Summary, again) {
		t.Errorf("%s", *c.Output.Summary)
	}
}

// Somebody asks again: a new check run of the same name, and everything is open again.
func TestRerunGetsItsOwnCheckRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	r := w.reporter(nil)
	sha := w.shas[2]
	plan, jobs := w.plan("a", sha, 1, epoch)
	hand(t, r, plan, jobs[0], endOf(jobs[0], flow.Failure))
	second := wanted(jobs[0], flow.Failure)
	for range 20 { // as many clicks
		hand(t, r, second)
	}
	found := checksOf(w.hub.State(), sha, "ci / unit (0)")
	if len(found) != 2 || concluded(found[0]) != "failure" || concluded(found[1]) != "queued" || found[1].ExternalID != second.AttemptID() {
		t.Fatalf("%s", shown(w.hub.State()))
	}
	if c := w.only(sha, "litci"); concluded(c) != "in_progress" {
		t.Errorf("the aggregate is %s", concluded(c))
	}
	if body := w.hub.State().Comments[0].Body; !strings.Contains(body, "1 still to come") || strings.Contains(body, "started again") {
		t.Errorf("%s", body)
	}
	hand(t, r, endOf(second, flow.Success))
	if c := w.only(sha, "litci"); concluded(c) != "success" {
		t.Errorf("the aggregate is %s", concluded(c))
	}
	found = checksOf(w.hub.State(), sha, "ci / unit (0)")
	if len(found) != 2 || !strings.Contains(*found[1].Output.Summary, "run again by alice") {
		t.Errorf("%s", shown(w.hub.State()))
	}
}

// The wish for another attempt overtakes the verdict of the one before, which had a
// check run: that one ends as it should, and the next has its own. Whatever answer of
// GitHub is lost on the way, nothing is there twice.
func TestRerunOvertakesTheVerdict(t *testing.T) {
	const create, change = "POST /repos/{owner}/{repo}/check-runs", "PATCH /repos/{owner}/{repo}/check-runs/{check_run_id}"
	for _, test := range []struct {
		name        string
		first, then string // the writes whose answers are lost
	}{
		{"all goes well", "", ""},
		{"the first creation's answer is lost", create, ""},
		{"the end's answer is lost", "", change},
		{"the second creation's answer is lost", "", create},
		{"both creations' answers are lost", create, create},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, fakegithub.Limits{})
			r := w.reporter(nil)
			sha := w.shas[2]
			_, jobs := w.plan("a", sha, 1, epoch)
			lose := func(write string) {
				if method, path, ok := strings.Cut(write, " "); ok {
					w.hub.AddFaults(fakegithub.Fault{Method: method, Path: path, Drop: true, AfterEffect: true})
				}
			}
			second := wanted(jobs[0], flow.TimedOut)
			lose(test.first)
			if err := handle(t.Context(), r, jobs[0]); (err != nil) != (test.first != "") {
				t.Fatal(err)
			}
			lose(test.then)
			for range 2 { // the bus brings it again
				if err := handle(t.Context(), r, second); err == nil {
					break
				}
			}
			hand(t, r, second, endOf(jobs[0], flow.TimedOut))
			found := checksOf(w.hub.State(), sha, jobs[0].Check)
			if len(found) != 2 || concluded(found[0]) != "timed_out" || found[0].ExternalID != jobs[0].AttemptID() ||
				concluded(found[1]) != "queued" || found[1].ExternalID != second.AttemptID() {
				t.Errorf("%s", shown(w.hub.State()))
			}
		})
	}
}

// Whatever order the messages of three attempts come in, GitHub ends with the last
// verdict, each attempt has at most one check run, and none stays open.
func TestAttemptsInAnyOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{Off: true})
	r := w.reporter(nil)
	for n := range 8 {
		sha := w.shas[n%3]
		plan, jobs := w.plan(string(rune('a'+n)), sha, 1, epoch.Add(time.Duration(n)*time.Minute))
		first := jobs[0]
		first.Check = fmt.Sprintf("ci / order %d", n)
		plan.Jobs[0].Check = first.Check
		second := after(first, flow.CausePreempted)
		third := wanted(second, flow.Failure)
		messages := []any{
			plan, first, running(first), second, running(second), endOf(second, flow.Failure), third, running(third), endOf(third, flow.Success),
		}
		rand.Shuffle(len(messages), func(i, j int) { messages[i], messages[j] = messages[j], messages[i] })
		hand(t, r, messages...)
		byID := map[string]int{}
		for _, c := range checksOf(w.hub.State(), sha, first.Check) {
			byID[c.ExternalID]++
			want := "success"
			if c.ExternalID == second.AttemptID() {
				want = "failure"
			}
			if concluded(c) != want {
				t.Errorf("%s is %s", c.ExternalID, concluded(c))
			}
		}
		if byID[third.AttemptID()] != 1 || byID[second.AttemptID()] > 1 || byID[first.AttemptID()] > 0 {
			t.Errorf("%v after %T", byID, messages)
		}
	}
}

func TestAttemptsAndVerdictsAreCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	r := w.reporter(nil)
	plan, jobs := w.plan("a", w.shas[2], 1, epoch)
	second := after(jobs[0], flow.CausePreempted)
	third := wanted(second, flow.Failure)
	for range 2 {
		hand(t, r, plan, jobs[0], second, endOf(second, flow.Failure), third, endOf(third, flow.Success))
	}
	for cause, want := range map[string]float64{"preempted": 1, "rerun": 1, "infrastructure": 0} {
		if n := testutil.ToFloat64(r.metrics.attempts.WithLabelValues(cause)); n != want {
			t.Errorf("%g attempts because of %s", n, cause)
		}
	}
	for conclusion, want := range map[string]float64{"failure": 1, "success": 1} {
		if n := testutil.ToFloat64(r.metrics.outcomes.WithLabelValues(conclusion, "exit")); n != want {
			t.Errorf("%g times %s", n, conclusion)
		}
	}
}

// What a queued job waits for stands on the pages; GitHub is not called for it.
func TestReasonsToWaitCostNoCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	r := w.reporter(nil)
	plan, jobs := w.plan("a", w.shas[2], 1, epoch)
	hand(t, r, plan, jobs[0])
	before := fmt.Sprint(w.hub.State().Requests)
	for i, reason := range []string{"no free slot: 4 of 4 taken", "pool gpu is busy"} {
		s := flow.StatusOf(jobs[0], flow.Queued, epoch.Add(time.Duration(i)*time.Minute))
		s.Message = reason
		hand(t, r, s)
	}
	if after := fmt.Sprint(w.hub.State().Requests); before != after {
		t.Errorf("%s\n%s", before, after)
	}
	state, err := load[jobState](t.Context(), r.bus.Runs(), jobKey(plan.Run, 0))
	if err != nil || jobTitle(state) != "Queued: pool gpu is busy" {
		t.Errorf("%s, %v", jobTitle(state), err)
	}
	starting := flow.StatusOf(jobs[0], flow.Starting, epoch.Add(time.Hour))
	starting.Message = "pulling image ubuntu"
	hand(t, r, starting)
	if c := w.only(w.shas[2], "ci / unit (0)"); *c.Output.Title != "Starting: pulling image ubuntu" {
		t.Errorf("%s", *c.Output.Title)
	}
}

func TestRetryCounts(t *testing.T) {
	of := func(causes ...flow.Cause) (earlier []flow.Earlier) {
		for i, c := range causes {
			earlier = append(earlier, flow.Earlier{Attempt: i + 1, Cause: c})
		}
		return earlier
	}
	for _, test := range []struct {
		earlier [][]flow.Earlier
		want    string
	}{
		{[][]flow.Earlier{nil, nil}, ""},
		{[][]flow.Earlier{of(flow.CausePreempted)}, "1 of 1 job was started again: 1 preempted."},
		{
			[][]flow.Earlier{of(flow.CausePreempted, flow.CauseInfrastructure), of(flow.CauseInfrastructure), nil},
			"2 of 3 jobs were started again: 1 preempted, 2 machine failures.",
		},
		{[][]flow.Earlier{of(flow.CauseExit), nil}, "1 of 2 jobs was started again: 1 failure that the workflow retries."},
		{[][]flow.Earlier{of("new"), nil}, "1 of 2 jobs was started again."},
		{[][]flow.Earlier{{{Attempt: 1, Rerun: true, Cause: flow.CauseExit}}}, ""},
	} {
		var states []jobState
		for _, earlier := range test.earlier {
			j := job(len(earlier) + 1)
			j.Earlier = earlier
			states = append(states, stateOf(j))
		}
		if got := sumUp([]runView{viewOf(len(states), states...)}, testLinks).startedAgain(); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

// The numbers that people read are those by which services decide.
func TestMostAttempts(t *testing.T) {
	none := 0
	for _, test := range []struct {
		retry flow.Retry
		cause flow.Cause
		want  int
	}{
		{flow.Retry{}, flow.CausePreempted, 1 + verdict.DefaultInfraRetries},
		{flow.Retry{Infra: &none}, flow.CausePreempted, 2},
		{flow.Retry{OnExit: []int{75}, Limit: 3}, flow.CauseExit, 4},
		{flow.Retry{OnExit: []int{75}, Limit: 100}, flow.CauseExit, 5},
	} {
		j := job(2)
		j.Options.Retry, j.Earlier = test.retry, []flow.Earlier{{Attempt: 1, Cause: test.cause}}
		if got := stateOf(j).most(); got != test.want {
			t.Errorf("%+v: %d, want %d", test, got, test.want)
		}
	}
}
