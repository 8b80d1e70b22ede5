package reporter

import (
	"slices"
	"testing"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/flow"
)

// listed are the jobs of a run, all for none, as "job word".
func listed(t *testing.T, b *bus.Bus, run string) []string {
	t.Helper()
	found := []string{}
	err := EachJob(t.Context(), b, run, func(j Job) error {
		found = append(found, flow.AttemptID(j.Job, j.Attempt)+" "+j.Word()+" "+j.Check)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	return found
}

func TestJobsAreListedFromTheFirstWordOfThem(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	id := flow.Identity{Repo: flow.Repo{ID: 1, Owner: "octo", Name: "repo"}, SHA: "abc", Run: "one"}
	other := id
	other.Run = "two"
	jobs := []flow.PlannedJob{{Job: "one-0", Check: "a"}, {Job: "one-1", Check: "b"}}
	for _, p := range []flow.Plan{{Identity: id, PlannedAt: at, Jobs: jobs}, {Identity: other, PlannedAt: at, Jobs: []flow.PlannedJob{{Job: "two-0", Check: "c"}}}} {
		if _, err := bus.Change(t.Context(), b.Runs(), runKey(p.Run), func(r *runState) bool { return foldPlan(r, p) }); err != nil {
			t.Fatal(err)
		}
	}
	if want, have := []string{"one-0-a1 queued a", "one-1-a1 queued b", "two-0-a1 queued c"}, listed(t, b, ""); !slices.Equal(have, want) {
		t.Errorf("planned jobs: %q, want %q", have, want)
	}
	result := flow.Result{Identity: id, Job: "one-1", Index: 1, Attempt: 2, Check: "b", Conclusion: flow.TimedOut, Cause: flow.CauseDeadline, FinishedAt: at}
	if _, err := bus.Change(t.Context(), b.Runs(), jobKey("one", 1), func(s *jobState) bool { return foldResult(s, result) }); err != nil {
		t.Fatal(err)
	}
	if want, have := []string{"one-0-a1 queued a", "one-1-a2 timed out b"}, listed(t, b, "one"); !slices.Equal(have, want) {
		t.Errorf("jobs of a run: %q, want %q", have, want)
	}
	if have := listed(t, b, "three"); len(have) != 0 {
		t.Errorf("jobs of no run: %q", have)
	}
}

func TestRunsAreFoundByThePrefixOfTheirID(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	for _, run := range []string{"abd", "abc", "b"} {
		end := flow.Result{Identity: flow.Identity{Run: run}, Conclusion: flow.Success}
		if _, err := bus.Change(t.Context(), b.Runs(), runKey(run), func(r *runState) bool { return foldEnd(r, end) }); err != nil {
			t.Fatal(err)
		}
	}
	for prefix, want := range map[string][]string{"ab": {"abc", "abd"}, "abc": {"abc"}, "": {"abc", "abd", "b"}, "x": nil} {
		if have, err := Runs(t.Context(), b, prefix); err != nil || !slices.Equal(have, want) {
			t.Errorf("runs of %q: %q, %v; want %q", prefix, have, err, want)
		}
	}
}
