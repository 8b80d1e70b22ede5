package verdict_test

import (
	"testing"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/cancellation"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

// matrix is a bus with a run of three jobs of one workflow and one of another.
func matrix(t *testing.T) (*bus.Bus, []flow.Job) {
	t.Helper()
	b := bustest.New(t)
	id := flow.Identity{Run: flow.RunID(1, 2, "push", "main", "matrix", "")}
	plan := flow.Plan{Identity: id}
	var jobs []flow.Job
	for i, workflow := range []string{"test.yml", "test.yml", "lint.yml", "test.yml"} {
		jobs = append(jobs, flow.Job{
			Identity: id, Job: flow.JobID(id.Run, i), Index: i, Attempt: 1, Check: workflow + " / x", Options: flow.Options{FailFast: true},
		})
		plan.Jobs = append(plan.Jobs, flow.PlannedJob{Job: jobs[i].Job, Workflow: workflow, File: "ci.yaml"})
	}
	if err := bus.PublishPlan(t.Context(), b, plan, jobs); err != nil {
		t.Fatal(err)
	}
	return b, jobs
}

// asked are the indices of the jobs whose attempt somebody asked to end.
func asked(t *testing.T, b *bus.Bus, jobs []flow.Job, attempt int) (indices []int) {
	t.Helper()
	for _, j := range jobs {
		r, err := cancellation.Of(t.Context(), b, j.Run, j.Index, attempt)
		if err != nil {
			t.Fatal(err)
		}
		if r != nil {
			indices = append(indices, j.Index)
		}
	}
	return indices
}

func TestFailFastStopsTheOthersOfTheWorkflow(t *testing.T) {
	t.Parallel()
	b, jobs := matrix(t)
	done := flow.ResultOf(jobs[3], flow.Success, flow.CauseExit, "exit 0", time.Now())
	if _, err := verdict.Settle(t.Context(), b, done); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := verdict.FailFast(t.Context(), b, jobs[0], flow.ResultOf(jobs[0], flow.Failure, flow.CauseExit, "exit 1", time.Now())); err != nil {
			t.Fatal(err)
		}
	}
	if got := asked(t, b, jobs, 1); len(got) != 1 || got[0] != 1 {
		t.Errorf("asked for the end of %v, want job 1 alone", got)
	}
	r, err := cancellation.Of(t.Context(), b, jobs[1].Run, 1, 1)
	if err != nil || r == nil || r.Reason != "Stopped because test.yml / x failed (fail_fast)." || r.ID != "fail-fast-"+jobs[0].AttemptID() {
		t.Errorf("request %+v, %v", r, err)
	}
}

func TestFailFastIsForFailures(t *testing.T) {
	t.Parallel()
	b, jobs := matrix(t)
	for name, c := range map[string]struct {
		options    flow.Options
		conclusion flow.Conclusion
	}{
		"the workflow does not want it": {flow.Options{}, flow.Failure},
		"the failure is allowed":        {flow.Options{FailFast: true, ContinueOnError: true}, flow.Failure},
		"success":                       {flow.Options{FailFast: true}, flow.Success},
		"cancelled":                     {flow.Options{FailFast: true}, flow.Cancelled},
		"skipped":                       {flow.Options{FailFast: true}, flow.Skip},
	} {
		jobs[0].Options = c.options
		if err := verdict.FailFast(t.Context(), b, jobs[0], flow.ResultOf(jobs[0], c.conclusion, flow.CauseExit, "", time.Now())); err != nil {
			t.Fatal(err)
		}
		if got := asked(t, b, jobs, 1); len(got) > 0 {
			t.Errorf("%s: asked for the end of %v", name, got)
		}
	}
	jobs[0].Options = flow.Options{FailFast: true}
	if err := verdict.FailFast(t.Context(), b, jobs[0], flow.ResultOf(jobs[0], flow.TimedOut, flow.CauseDeadline, "", time.Now())); err != nil {
		t.Fatal(err)
	}
	if got := asked(t, b, jobs, 1); len(got) != 2 {
		t.Errorf("out of time: asked for the end of %v", got)
	}
}

// A failure that is delivered again must not end what somebody wanted since.
func TestFailFastSparesWhatSomebodyWantedSince(t *testing.T) {
	t.Parallel()
	b, jobs := matrix(t)
	failure := flow.ResultOf(jobs[0], flow.Failure, flow.CauseExit, "exit 1", time.Now())
	if _, err := verdict.Settle(t.Context(), b, flow.ResultOf(jobs[1], flow.Cancelled, flow.CauseStopped, "", time.Now())); err != nil {
		t.Fatal(err)
	}
	wanted := flow.Earlier{Attempt: 1, Rerun: true, At: failure.FinishedAt.Add(time.Minute)}
	if ok, err := verdict.Raise(t.Context(), b, failure.Run, 1, wanted); !ok || err != nil {
		t.Fatal(ok, err)
	}
	lost := flow.Earlier{Attempt: 1, Cause: flow.CauseInfrastructure, At: failure.FinishedAt.Add(time.Minute)}
	if ok, err := verdict.Raise(t.Context(), b, failure.Run, 3, lost); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := verdict.FailFast(t.Context(), b, jobs[0], failure); err != nil {
		t.Fatal(err)
	}
	if got := asked(t, b, jobs, 2); len(got) != 1 || got[0] != 3 {
		t.Errorf("asked for the end of %v, want the second attempt of job 3 alone", got)
	}
}

func TestARequestIsCarriedToTheAttemptThatLitciRaised(t *testing.T) {
	t.Parallel()
	for name, rerun := range map[string]bool{"raised by litci": false, "wanted by somebody": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, jobs := matrix(t)
			if rerun {
				if _, err := verdict.Settle(t.Context(), b, flow.ResultOf(jobs[1], flow.Cancelled, flow.CauseStopped, "", time.Now())); err != nil {
					t.Fatal(err)
				}
			}
			if ok, err := verdict.Raise(t.Context(), b, jobs[1].Run, 1, flow.Earlier{Attempt: 1, Rerun: rerun, At: time.Now()}); !ok || err != nil {
				t.Fatal(ok, err)
			}
			request := cancellation.Request{ID: "operator", Reason: "Cancelled by mona.", At: time.Now()}
			if err := cancellation.Job(t.Context(), b, jobs[1].Run, 1, 1, request); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if err := verdict.Carry(t.Context(), b, jobs[1].Run, 1, 1); err != nil {
					t.Fatal(err)
				}
			}
			if got := asked(t, b, jobs, 2); len(got) == 1 == rerun {
				t.Errorf("asked for the end of the second attempts of %v", got)
			}
			// And where the request is later than the look for one to carry.
			request.ID = "later"
			last, err := verdict.Stop(t.Context(), b, jobs[1].Run, 1, 1, request)
			if err != nil || last == 2 == rerun {
				t.Errorf("asked for the end of attempt %d, %v", last, err)
			}
			if r, err := cancellation.Of(t.Context(), b, jobs[1].Run, 1, 2); err != nil || (r != nil && r.ID == "later") == rerun {
				t.Errorf("the second attempt's request is %+v, %v", r, err)
			}
		})
	}
}
