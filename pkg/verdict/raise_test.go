package verdict_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

// planned is a bus on which a run of two jobs is planned.
func planned(t *testing.T) (*bus.Bus, string) {
	t.Helper()
	b := bustest.New(t)
	run := flow.RunID(1, 2, "push", "main", "sha", "")
	id := flow.Identity{Run: run}
	plan := flow.Plan{Identity: id}
	var jobs []flow.Job
	for i := range 2 {
		job := flow.Job{Identity: id, Job: flow.JobID(run, i), Index: i, Attempt: 1, Script: "make", Interruptible: true}
		jobs = append(jobs, job)
		plan.Jobs = append(plan.Jobs, flow.PlannedJob{Job: job.Job})
	}
	if err := bus.PublishPlan(t.Context(), b, plan, jobs); err != nil {
		t.Fatal(err)
	}
	return b, run
}

func started(t *testing.T, b *bus.Bus) (jobs []flow.Job) {
	t.Helper()
	if err := bus.Scan(t.Context(), b, flow.Jobs, bus.From{}, func(_ bus.Meta, j flow.Job) bool {
		jobs = append(jobs, j)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return jobs
}

func TestTwentyClicksAreOneAttempt(t *testing.T) {
	t.Parallel()
	b, run := planned(t)
	if _, err := verdict.Settle(t.Context(), b, flow.Result{Identity: flow.Identity{Run: run}, Job: flow.JobID(run, 1), Index: 1, Attempt: 1, Conclusion: flow.Failure, Cause: flow.CauseExit, Message: "exit 1"}); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var raised atomic.Int32
	for range 20 {
		all.Go(func() {
			ok, err := verdict.Raise(t.Context(), b, run, 1, flow.Earlier{Attempt: 1, Rerun: true, By: "mona", At: time.Unix(9, 0)})
			if err != nil {
				t.Error(err)
			}
			if ok {
				raised.Add(1)
			}
		})
	}
	all.Wait()
	if raised.Load() != 20 {
		t.Errorf("%d of 20 clicks were told of the attempt that they share", raised.Load())
	}
	jobs := started(t, b)
	if len(jobs) != 3 {
		t.Fatalf("%d messages, want the two of the plan and one", len(jobs))
	}
	again := jobs[2]
	want := flow.Earlier{Attempt: 1, Rerun: true, By: "mona", Conclusion: flow.Failure, Cause: flow.CauseExit, Message: "exit 1", At: time.Unix(9, 0)}
	if again.Attempt != 2 || again.Script != "make" || len(again.Earlier) != 1 || !again.QueuedAt.Equal(want.At) {
		t.Fatalf("second attempt is %+v", again)
	}
	got := again.Earlier[0]
	if got.At = want.At; got != want {
		t.Errorf("earlier attempt is %+v, want %+v", got, want)
	}
}

func TestAttemptsAreRaisedOnlyFromWhatStands(t *testing.T) {
	t.Parallel()
	b, run := planned(t)
	raise := func(attempt int, rerun, want bool) {
		t.Helper()
		ok, err := verdict.Raise(t.Context(), b, run, 0, flow.Earlier{Attempt: attempt, Rerun: rerun, Cause: flow.CausePreempted, At: time.Unix(int64(attempt), 0)})
		if err != nil || ok != want {
			t.Errorf("raise from attempt %d (rerun %v): %v, %v", attempt, rerun, ok, err)
		}
	}
	raise(1, true, false) // no verdict yet: nothing to run again
	raise(2, false, false)
	raise(1, false, true)
	raise(1, false, true) // again, after a crash
	raise(2, false, true)
	raise(1, false, false) // old news
	if err := verdict.Resume(t.Context(), b, run, 0, 2); err != nil {
		t.Fatal(err)
	}
	jobs := started(t, b)
	if len(jobs) != 4 {
		t.Fatalf("%d messages, want the plan's two and attempts 2 and 3", len(jobs))
	}
	if jobs[2].Attempt != 2 || !jobs[2].Interruptible || jobs[3].Attempt != 3 || jobs[3].Interruptible {
		t.Errorf("attempts are %+v and %+v; the one behind two preemptions is not interruptible", jobs[2], jobs[3])
	}
}

func TestWhatTheStreamForgotIsNotRaised(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	run := flow.RunID(1, 2, "push", "main", "gone", "")
	ok, err := verdict.Raise(t.Context(), b, run, 0, flow.Earlier{Attempt: 1, At: time.Unix(1, 0)})
	if ok || !errors.Is(err, verdict.ErrForgotten) {
		t.Errorf("%v, %v", ok, err)
	}
	if r, err := verdict.RecordOf(t.Context(), b, run, 0); err != nil || r.Attempt != 0 {
		t.Errorf("record is %+v, %v", r, err)
	}
}
