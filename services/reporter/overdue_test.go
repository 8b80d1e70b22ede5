package reporter

import (
	"errors"
	"testing"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

func TestJobsThatNobodyTakesAreEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	r := w.reporter(nil)
	sha := w.shas[2]
	plan, jobs := w.plan("a", sha, 3, epoch)
	hand(t, r, plan, jobs[0], jobs[1], jobs[2], flow.StatusOf(jobs[1], flow.Queued, epoch), endOf(jobs[2], flow.Success))

	// Nothing is due yet; what was heard of is forgotten.
	if err := r.endOverdue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if waiting, err := r.bus.Runs().List(t.Context(), "wait.>"); err != nil || len(waiting) != 1 {
		t.Errorf("%d jobs are waited for, %v", len(waiting), err)
	}
	r.turns.now = func() time.Time { return time.Now().Add(r.QueueTimeout + unheard + time.Minute) }
	for range 2 {
		if err := r.endOverdue(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if c := w.only(sha, "ci / unit (0)"); concluded(c) != "failure" || *c.Output.Title != "No capacity: No launcher of the unnamed pool took this job." {
		t.Errorf("%s %s", concluded(c), *c.Output.Title)
	}
	if stands, err := verdict.Of(t.Context(), r.bus, plan.Run, 0, 1); err != nil || stands == nil || stands.Cause != flow.CauseNoCapacity {
		t.Errorf("a launcher that comes back finds %+v, %v", stands, err)
	}
	// A launcher that holds a job ends it itself.
	if c := w.only(sha, "ci / unit (1)"); concluded(c) != "queued" {
		t.Errorf("%s", concluded(c))
	}
	if waiting, err := r.bus.Runs().List(t.Context(), "wait.>"); err != nil || len(waiting) != 0 {
		t.Errorf("%d jobs are waited for, %v", len(waiting), err)
	}
}

func TestDamagedRecordsStopNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	r := w.reporter(nil)
	sha := w.shas[2]
	plan, jobs := w.plan("a", sha, 2, epoch)
	hand(t, r, plan, jobs[0], jobs[1])
	// Keys are listed in the order of their last writes: the damaged ones come first.
	broken := flow.JobID(plan.Run, 1)
	for _, key := range []string{"wait.broken", jobKey(plan.Run, 1)} {
		_, revision, err := r.bus.Runs().Get(t.Context(), key)
		if err != nil && !errors.Is(err, bus.ErrNotFound) {
			t.Fatal(err)
		}
		if _, err := r.bus.Runs().Put(t.Context(), key, []byte(`{"attempt": "`+broken), revision); err != nil {
			t.Fatal(err)
		}
	}
	r.turns.now = func() time.Time { return time.Now().Add(r.QueueTimeout + unheard + time.Minute) }
	for range 8 { // a map's order is another each time
		if err := r.endOverdue(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if stands, err := verdict.Of(t.Context(), r.bus, plan.Run, 0, 1); err != nil || stands == nil || stands.Cause != flow.CauseNoCapacity {
		t.Errorf("beside damaged records a job has the verdict %+v, %v", stands, err)
	}
}
