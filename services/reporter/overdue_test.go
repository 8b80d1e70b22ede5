package reporter

import (
	"errors"
	"testing"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/cancellation"
	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

// at moves the clock of a reporter that has looked after its jobs for long.
func (r *Reporter) at(t *testing.T, now time.Time) {
	t.Helper()
	r.turns.now = func() time.Time { return now }
	for range 2 { // the second finds nothing to do
		if err := r.endOverdue(t.Context(), time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
}

// waited is how many attempts somebody should still speak of.
func (r *Reporter) waited(t *testing.T) int {
	t.Helper()
	waiting, err := r.bus.Runs().List(t.Context(), "wait.>")
	if err != nil {
		t.Fatal(err)
	}
	return len(waiting)
}

func TestJobsThatNobodyTakesAreEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	r := w.reporter(nil)
	sha := w.shas[2]
	plan, jobs := w.plan("a", sha, 3, epoch)
	r.turns.now = func() time.Time { return epoch }
	hand(t, r, plan, jobs[0], jobs[1], jobs[2], flow.StatusOf(jobs[1], flow.Queued, epoch.Add(10*time.Minute)), endOf(jobs[2], flow.Success))

	due := epoch.Add(r.QueueTimeout + unheard)
	r.at(t, due.Add(-time.Second))
	if c := w.only(sha, "ci / unit (0)"); concluded(c) != "queued" || r.waited(t) != 2 {
		t.Errorf("%s before its time, %d jobs are waited for", concluded(c), r.waited(t))
	}
	r.at(t, due)
	if c := w.only(sha, "ci / unit (0)"); concluded(c) != "failure" || *c.Output.Title != "No capacity: No launcher of the unnamed pool took this job." {
		t.Errorf("%s %s", concluded(c), *c.Output.Title)
	}
	if stands, err := verdict.Of(t.Context(), r.bus, plan.Run, 0, 1); err != nil || stands == nil || stands.Cause != flow.CauseNoCapacity {
		t.Errorf("a launcher that comes back finds %+v, %v", stands, err)
	}
	// A launcher that holds a job has all of its own time, and is not there when that is over.
	if c := w.only(sha, "ci / unit (1)"); concluded(c) != "queued" {
		t.Errorf("%s", concluded(c))
	}
	r.at(t, due.Add(10*time.Minute))
	if c := w.only(sha, "ci / unit (1)"); concluded(c) != "failure" || r.waited(t) != 0 {
		t.Errorf("%s, %d jobs are waited for", concluded(c), r.waited(t))
	}
}

// A machine dies for good while it runs a job: nobody serves its watcher any more.
func TestJobsThatNobodyFollowsAreEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	r := w.reporter(nil)
	sha := w.shas[2]
	plan, jobs := w.plan("a", sha, 3, epoch)
	r.turns.now = func() time.Time { return epoch }
	started := func(j flow.Job) flow.Status { return flow.StatusOf(j, flow.Started, epoch.Add(time.Minute)) }
	running := flow.StatusOf(jobs[1], flow.Running, epoch.Add(20*time.Minute))
	// Two in the order of their words; of the third, the job's own message comes last.
	hand(t, r, plan, jobs[0], started(jobs[0]), jobs[1], running, started(jobs[1]), started(jobs[2]), jobs[2])
	second := jobs[2]
	second.Attempt = 2
	hand(t, r, second, flow.StatusOf(second, flow.Running, epoch.Add(time.Hour)), endOf(second, flow.Success))

	due := epoch.Add(time.Minute + time.Hour + concluding + unheard)
	r.at(t, due.Add(-time.Second))
	if c := w.only(sha, "ci / unit (0)"); concluded(c) != "in_progress" {
		t.Errorf("%s before its time: %s", concluded(c), *c.Output.Title)
	}
	r.at(t, due)
	if c := w.only(sha, "ci / unit (0)"); concluded(c) != "failure" ||
		*c.Output.Title != "Infrastructure: Nobody has reported on this job since 2026-11-22 08:01 UTC." {
		t.Errorf("%s: %s", concluded(c), *c.Output.Title)
	}
	if stands, err := verdict.Of(t.Context(), r.bus, plan.Run, 0, 1); err != nil || stands == nil || stands.Cause != flow.CauseInfrastructure {
		t.Errorf("a watcher that comes back finds %+v, %v", stands, err)
	}
	if c := w.only(sha, "ci / unit (1)"); concluded(c) != "in_progress" {
		t.Errorf("%s though it ran from later on", concluded(c))
	}
	r.at(t, due.Add(19*time.Minute))
	if c := w.only(sha, "ci / unit (1)"); concluded(c) != "failure" {
		t.Errorf("%s", concluded(c))
	}
	if c := w.only(sha, "ci / unit (2)"); concluded(c) != "success" || r.waited(t) != 0 {
		t.Errorf("%s, %d jobs are waited for", concluded(c), r.waited(t))
	}
}

// The verdict of the sweep is all there is: when GitHub is away, the next one brings it.
func TestOverdueJobIsShownOnceGitHubIsBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	r := w.reporter(nil)
	plan, jobs := w.plan("a", w.shas[2], 1, epoch)
	r.turns.now = func() time.Time { return epoch }
	hand(t, r, plan, jobs[0])
	w.hub.AddFaults(fakegithub.Fault{Method: "PATCH", Status: 500, Count: -1})
	r.at(t, epoch.Add(r.QueueTimeout+unheard))
	if c := w.only(w.shas[2], "ci / unit (0)"); concluded(c) != "queued" || r.waited(t) != 1 {
		t.Fatalf("%s, %d jobs are waited for", concluded(c), r.waited(t))
	}
	w.hub.ClearFaults()
	r.at(t, r.turns.now().Add(time.Minute))
	if c := w.only(w.shas[2], "ci / unit (0)"); concluded(c) != "failure" || r.waited(t) != 0 {
		t.Errorf("%s, %d jobs are waited for", concluded(c), r.waited(t))
	}
}

// A pool is gone for good, and its jobs were cancelled: nobody but the sweep ends them.
func TestCancelledJobsOfAPoolThatIsGoneAreEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	r := w.reporter(nil)
	sha := w.shas[2]
	plan, jobs := w.plan("a", sha, 4, epoch)
	r.turns.now = func() time.Time { return epoch }
	second := after(jobs[3], flow.CausePreempted)
	hand(t, r, plan, jobs[0], jobs[1], jobs[2], jobs[3], second, flow.StatusOf(jobs[2], flow.Started, epoch.Add(time.Minute)))
	if n := r.waited(t); n != 4 {
		t.Errorf("%d attempts are waited for", n)
	}
	asked := epoch.Add(10 * time.Minute)
	request := cancellation.Request{ID: "x", Reason: "Superseded by abc1234.", At: asked}
	if err := cancellation.Run(t.Context(), r.bus, plan.Run, request); err != nil {
		t.Fatal(err)
	}
	if err := cancellation.Spare(t.Context(), r.bus, plan.Run, 3, 2, asked.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	hand(t, r, flow.StatusOf(jobs[1], flow.Queued, asked.Add(time.Minute))) // its launcher lives
	r.at(t, asked.Add(abandoned-time.Second))
	if c := w.only(sha, "ci / unit (0)"); concluded(c) != "queued" {
		t.Errorf("%s before its time", concluded(c))
	}
	r.at(t, asked.Add(abandoned))
	if c := w.only(sha, "ci / unit (0)"); concluded(c) != "cancelled" || *c.Output.Title != "Cancelled: Superseded by abc1234." {
		t.Errorf("%s: %s", concluded(c), *c.Output.Title)
	}
	if stands, err := verdict.Of(t.Context(), r.bus, plan.Run, 0, 1); err != nil || stands == nil || stands.Conclusion != flow.Cancelled {
		t.Errorf("a launcher that comes back finds %+v, %v", stands, err)
	}
	for i, want := range map[int]string{1: "queued", 2: "in_progress", 3: "in_progress"} {
		if c := w.only(sha, jobs[i].Check); concluded(c) != want {
			t.Errorf("job %d is %s", i, concluded(c))
		}
	}
	r.at(t, asked.Add(time.Minute+abandoned))
	if c := w.only(sha, "ci / unit (1)"); concluded(c) != "cancelled" {
		t.Errorf("%s", concluded(c))
	}
}

// Who raised an attempt died before its job was published, and for good: somebody
// still waits for it, and its check ends.
func TestRaisedAttemptThatWasNeverPublishedIsEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	r := w.reporter(nil)
	sha := w.shas[2]
	plan, jobs := w.plan("a", sha, 1, epoch)
	r.turns.now = func() time.Time { return epoch }
	hand(t, r, plan, jobs[0], running(jobs[0]))
	if _, err := bus.Change(t.Context(), r.bus.Runs(), verdict.Key(plan.Run, 0), func(v *verdict.Record) bool {
		*v = verdict.Record{Attempt: 2, Earlier: after(jobs[0], flow.CausePreempted).Earlier, RaisedAt: epoch}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	due := epoch.Add(time.Second + time.Hour + concluding + unheard)
	r.at(t, due)
	if c := w.only(sha, "ci / unit (0)"); concluded(c) != "in_progress" || r.waited(t) != 1 {
		t.Errorf("%s, %d attempts are waited for", concluded(c), r.waited(t))
	}
	r.at(t, due.Add(r.QueueTimeout+unheard))
	c := w.only(sha, "ci / unit (0)")
	if concluded(c) != "failure" || c.ExternalID != flow.AttemptID(jobs[0].Job, 2) || r.waited(t) != 0 {
		t.Errorf("%s %s, %d attempts are waited for", c.ExternalID, concluded(c), r.waited(t))
	}
}

// What nobody could say while the reporter, the bus or the whole machine was away
// is said soon after; until then nothing is overdue.
func TestNothingIsOverdueSoonAfterABreak(t *testing.T) {
	t.Parallel()
	var v vigil
	look := func(at time.Duration) time.Duration {
		v.look(epoch.Add(at), 5*time.Minute)
		return v.since.Sub(epoch)
	}
	for _, at := range []time.Duration{0, time.Minute, 6 * time.Minute, 7 * time.Minute} {
		if since := look(at); since != 0 {
			t.Errorf("at %s it looks since %s", at, since)
		}
	}
	if since := look(3 * time.Hour); since != 3*time.Hour {
		t.Errorf("after a break it looks since %s", since)
	}
	v.broken()
	if since := look(3*time.Hour + time.Minute); since != 3*time.Hour+time.Minute {
		t.Errorf("after a failure it looks since %s", since)
	}

	w := newWorld(t, fakegithub.Limits{})
	r := w.reporter(nil)
	_, jobs := w.plan("a", w.shas[2], 1, epoch)
	r.turns.now = func() time.Time { return epoch }
	hand(t, r, jobs[0])
	back := epoch.Add(24 * time.Hour)
	for _, look := range []struct {
		after time.Duration
		want  string
	}{{unheard - time.Second, "queued"}, {unheard, "failure"}} {
		r.turns.now = func() time.Time { return back.Add(look.after) }
		if err := r.endOverdue(t.Context(), back); err != nil {
			t.Fatal(err)
		}
		if c := w.only(w.shas[2], "ci / unit (0)"); concluded(c) != look.want {
			t.Errorf("%s after the reporter came back: %s", look.after, concluded(c))
		}
	}
}

func TestDamagedRecordsStopNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	r := w.reporter(nil)
	sha := w.shas[2]
	plan, jobs := w.plan("a", sha, 2, epoch)
	hand(t, r, plan, jobs[0], jobs[1])
	for _, key := range []string{"wait.broken", jobKey(plan.Run, 1)} {
		_, revision, err := r.bus.Runs().Get(t.Context(), key)
		if err != nil && !errors.Is(err, bus.ErrNotFound) {
			t.Fatal(err)
		}
		if _, err := r.bus.Runs().Put(t.Context(), key, []byte(`{"job": `), revision); err != nil {
			t.Fatal(err)
		}
	}
	r.turns.now = func() time.Time { return time.Now().Add(r.QueueTimeout + unheard + time.Minute) }
	for range 8 { // a map's order is another each time
		if err := r.endOverdue(t.Context(), time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	if stands, err := verdict.Of(t.Context(), r.bus, plan.Run, 0, 1); err != nil || stands == nil || stands.Cause != flow.CauseNoCapacity {
		t.Errorf("beside damaged records a job has the verdict %+v, %v", stands, err)
	}
}
