package launcher

import (
	"fmt"
	"testing"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

// woken tells whether something has changed for a view since changes was called.
func woken(changes <-chan struct{}) bool {
	select {
	case <-changes:
		return true
	default:
		return false
	}
}

func TestAChangeWakesWhomItConcerns(t *testing.T) {
	r := newRuns(nil)
	mine, other := r.hold("mine"), r.hold("other")
	mine.heed([]string{"group.7.x", "ahead"})
	for key, want := range map[string][2]bool{
		"attempt.mine.3":    {true, false},
		"attempt.other.0":   {false, true},
		"attempt.ahead.0":   {true, false},
		"attempt.unknown.0": {false, false},
		"attempt.mine":      {false, false},
		"group.7.x":         {true, false},
		"group.7.y":         {false, false},
	} {
		a, b := mine.changes(), other.changes()
		r.hear(bus.Entry{Key: key})
		if woken(a) != want[0] || woken(b) != want[1] {
			t.Errorf("%s woke %t and %t", key, woken(a), woken(b))
		}
	}
	a, b := mine.changes(), other.changes()
	r.hear(bus.Entry{Current: true})
	if !woken(a) || !woken(b) {
		t.Error("an interruption did not wake everybody")
	}
	again := r.hold("mine")
	r.drop(mine)
	if again != mine || len(r.views) != 2 {
		t.Errorf("%d views", len(r.views))
	}
	r.drop(again)
	r.drop(other)
	if len(r.views) != 0 || len(r.interest) != 0 {
		t.Errorf("kept are %v, %v", r.views, r.interest)
	}
}

// TestWhatChangedIsReadAgain has a need that failed and is run again before the rest
// has ended.
func TestWhatChangedIsReadAgain(t *testing.T) {
	t.Parallel()
	r := newRuns(bustest.New(t))
	run := flow.RunID(1, 7, "push", "", sha, "")
	settle := func(index, attempt int, c flow.Conclusion) {
		t.Helper()
		result := flow.Result{Identity: flow.Identity{Run: run}, Job: flow.JobID(run, index), Index: index, Attempt: attempt, Conclusion: c}
		if _, err := verdict.Settle(t.Context(), r.bus, result); err != nil {
			t.Fatal(err)
		}
		r.hear(bus.Entry{Key: verdict.Key(run, index)})
	}
	v := r.hold(run)
	v.show(aPlan())
	job := flow.Job{Identity: flow.Identity{Run: run}, Index: 5, Options: flow.Options{Needs: []string{"build.yml"}}}
	want := func(wait, never string) {
		t.Helper()
		if got, err := v.check(t.Context(), job); err != nil || got.wait.text != wait || got.never != never {
			t.Errorf("step %+v, %v", got, err)
		}
	}
	settle(0, 1, flow.Failure)
	want("waits for build.yml", "")
	settle(0, 2, flow.Success)
	want("waits for build.yml", "")
	settle(1, 1, flow.Success)
	want("", "")
}

// TestAJobThatIsRunAgainIsNotDecidedByWhatWasKnownBefore has a job and its need that
// are run again while another job of the run waits: the job is there before the
// change of its need is heard of.
func TestAJobThatIsRunAgainIsNotDecidedByWhatWasKnownBefore(t *testing.T) {
	t.Parallel()
	run := flow.RunID(1, 7, "push", "", sha, "")
	result := flow.Result{Identity: flow.Identity{Run: run}, Job: flow.JobID(run, 0), Attempt: 1, Conclusion: flow.Failure}
	job := flow.Job{Identity: flow.Identity{Run: run}, Index: 5, Options: flow.Options{Needs: []string{"build.yml"}}}
	for name, later := range map[string]func(*runs){
		"another job comes":          func(r *runs) { r.hold(run) },
		"the watch was interrupted":  func(r *runs) { r.hear(bus.Entry{Current: true}) },
		"everybody looks once again": func(r *runs) { r.recheck() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRuns(bustest.New(t))
			if _, err := verdict.Settle(t.Context(), r.bus, result); err != nil {
				t.Fatal(err)
			}
			v := r.hold(run)
			v.show(aPlan())
			if got, err := v.check(t.Context(), job); err != nil || got.wait.text != "waits for build.yml" {
				t.Fatalf("step %+v, %v", got, err)
			}
			if _, err := bus.Change(t.Context(), r.bus.Runs(), verdict.Key(run, 0), func(record *verdict.Record) bool {
				*record = verdict.Record{Attempt: 2}
				return true
			}); err != nil {
				t.Fatal(err)
			}
			second := result
			second.Index, second.Job = 1, flow.JobID(run, 1)
			second.Conclusion = flow.Success
			if _, err := verdict.Settle(t.Context(), r.bus, second); err != nil {
				t.Fatal(err)
			}
			r.hear(bus.Entry{Key: verdict.Key(run, 1)})
			later(r)
			if got, err := v.check(t.Context(), job); err != nil || got.wait.text != "waits for build.yml" {
				t.Errorf("step %+v, %v", got, err)
			}
		})
	}
}

// BenchmarkConditions wakes the jobs of a run of 256, of which the last ones wait for
// the others.
func BenchmarkConditions(b *testing.B) {
	r := newRuns(bustest.New(b))
	v := r.hold("run")
	var plan []flow.PlannedJob
	for i := range 256 {
		plan = append(plan, flow.PlannedJob{Job: fmt.Sprint("run-", i), Workflow: "shards"})
	}
	v.show(plan)
	jobs := make([]flow.Job, 256)
	for i := range jobs {
		jobs[i] = flow.Job{Identity: flow.Identity{Run: "run"}, Index: i, Options: flow.Options{MaxParallel: 1}}
	}
	for b.Loop() {
		r.hear(bus.Entry{Key: "attempt.run.0"})
		for _, j := range jobs {
			if _, err := v.check(b.Context(), j); err != nil {
				b.Fatal(err)
			}
		}
	}
}
