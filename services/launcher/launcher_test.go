package launcher

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/executortest"
	"github.com/litci/litci/pkg/executor/local"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/leaktest"
)

// TestMain lets the test binary be the supervisor of real jobs.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "supervise" {
		os.Exit(local.Supervise(os.Args[2]))
	}
	leaktest.Main(m)
}

// waitLimit bounds every wait; it is only reached by what is broken.
const waitLimit = 2 * time.Minute

// world is a bus with a source archive, and an executor.
type world struct {
	t        *testing.T
	bus      *bus.Bus
	executor executor.Executor
	options  Options
}

func setup(t *testing.T, e executor.Executor) *world {
	t.Parallel()
	w := &world{t: t, bus: bustest.New(t), executor: e, options: Options{
		Slots: 1, Poll: time.Millisecond, MaxPoll: 5 * time.Millisecond,
		Patience: []time.Duration{time.Millisecond, time.Millisecond}, Lag: time.Nanosecond,
	}}
	archive, err := executortest.Archive(executortest.File("top/README", "hello\n", 0o644))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.bus.Sources().Put(t.Context(), flow.SourceName(7, sha), bytes.NewReader(archive)); err != nil {
		t.Fatal(err)
	}
	return w
}

// run starts a launcher; stop ends it and waits until it has.
func (w *world) run() (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	l := New(w.bus, w.executor, w.options, zaptest.NewLogger(w.t))
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	}
	w.t.Cleanup(stop)
	return stop
}

// job is job number index of a run of its repository.
func (w *world) job(repo int64, index int) flow.Job {
	j := aJob()
	j.Repo.ID = repo
	j.Run = flow.RunID(1, repo, "push", "", sha, "")
	j.Index, j.Attempt = index, 1
	j.Job = flow.JobID(j.Run, index)
	j.QueuedAt = time.Now().UTC()
	return j
}

func (w *world) publish(jobs ...flow.Job) {
	w.t.Helper()
	for _, j := range jobs {
		if err := bus.Publish(w.t.Context(), w.bus, flow.Jobs, j); err != nil {
			w.t.Fatal(err)
		}
	}
}

// await returns the first message of a subject that matches.
func await[T any](t *testing.T, b *bus.Bus, subject flow.Subject[T], match func(T) bool) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	var found *T
	err := bus.Tail(ctx, b, subject, func(msg T) bool {
		if match(msg) {
			found = &msg
		}
		return found == nil
	})
	if err != nil || found == nil {
		t.Fatalf("nothing on %s matches: %v", subject, err)
	}
	return *found
}

func (w *world) started(j flow.Job) flow.Status {
	w.t.Helper()
	return await(w.t, w.bus, flow.States, func(s flow.Status) bool {
		return s.Job == j.Job && s.Attempt == j.Attempt && s.State == flow.Started
	})
}

func (w *world) result(j flow.Job) flow.Result {
	w.t.Helper()
	return await(w.t, w.bus, flow.Results, func(r flow.Result) bool { return r.Job == j.Job && r.Attempt == j.Attempt })
}

// count is how many messages of a subject are stored for a job. It publishes one
// of its own and counts what comes before it.
func (w *world) countStarted(j flow.Job) (n int) {
	w.t.Helper()
	end := flow.Status{Job: "end", State: flow.State(fmt.Sprint(time.Now().UnixNano()))}
	if err := bus.Publish(w.t.Context(), w.bus, flow.States, end); err != nil {
		w.t.Fatal(err)
	}
	await(w.t, w.bus, flow.States, func(s flow.Status) bool {
		if s.Job == j.Job && s.State == flow.Started {
			n++
		}
		return s.Job == end.Job && s.State == end.State
	})
	return n
}

func external(j flow.Job) string { return flow.ExternalName(j.Job, j.Attempt) }

func TestStartsAJob(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	w.run()
	j := w.job(7, 0)
	j.Mode, j.Env = "debug", map[string]string{"GITHUB_TOKEN": "x"}
	w.publish(j)
	s := w.started(j)
	var h executor.Handle
	if err := json.Unmarshal(s.Handle, &h); err != nil || h.ID != external(j) || h.Executor != "machine" {
		t.Errorf("handle %s: %v", s.Handle, err)
	}
	if s.TimeoutMinutes != 5 || s.Mode != "debug" || s.Check != j.Check || s.Identity != j.Identity {
		t.Errorf("status %+v", s)
	}
	if !slices.Equal(s.Notes, []string{"env GITHUB_TOKEN is ignored: the name is reserved"}) {
		t.Errorf("notes %q", s.Notes)
	}
}

func TestHoldsASlotUntilTheJobHasEnded(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	w.options.Slots = 2
	w.run()
	var jobs []flow.Job
	for i := range 10 {
		jobs = append(jobs, w.job(int64(7+i%2), i))
		jobs[i].Source = ""
	}
	w.publish(jobs...)
	for range jobs {
		m.end(<-m.begun)
	}
	for _, j := range jobs {
		w.started(j)
	}
	if ids, most := m.begunJobs(); most > 2 || len(ids) != len(jobs) {
		t.Errorf("%d jobs ran, %d at once", len(ids), most)
	}
}

func TestServesASmallRepositoryBesideALargeOne(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	w.options.Tell = time.Millisecond
	w.run()
	var jobs []flow.Job
	for i := range 30 {
		jobs = append(jobs, w.job(7, i))
	}
	small := w.job(8, 0)
	small.Source = flow.SourceName(7, sha)
	w.publish(jobs...)
	running := <-m.begun // the slot is the large one's
	w.publish(small)
	w.waits(small, "no free slot: 1 of 1 taken")
	for running != external(small) {
		m.end(running)
		running = <-m.begun
	}
	if ids, _ := m.begunJobs(); slices.Index(ids, external(small)) > 2 {
		t.Errorf("the small repository's job was number %d", slices.Index(ids, external(small)))
	}
}

func TestCountsWhatRunsAfterARestart(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	stop := w.run()
	first, second := w.job(7, 0), w.job(7, 1)
	w.publish(first)
	w.started(first)
	stop()
	w.run()
	w.publish(second)
	m.end(<-m.begun)
	w.started(second)
	if _, most := m.begunJobs(); most != 1 {
		t.Errorf("%d jobs ran at once on one slot", most)
	}
}

func TestAdoptsWhatItStartedAndDidNotReport(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	crash := make(chan struct{})
	m.after = func(ctx context.Context, _ executor.Spec) error {
		close(crash)
		<-ctx.Done()
		return ctx.Err()
	}
	stop := w.run()
	j := w.job(7, 0)
	w.publish(j)
	<-crash
	stop()
	m.after = nil
	if n := w.countStarted(j); n != 0 {
		t.Fatalf("%d started messages of a launcher that died before", n)
	}
	w.run()
	w.started(j)
	if ids, _ := m.begunJobs(); len(ids) != 1 {
		t.Errorf("ran %v", ids)
	}
}

func TestAdoptsAJobThatEndedMeanwhileEvenWhenItsQueueTimeIsOver(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	j := w.job(7, 0)
	j.QueuedAt = time.Now().Add(-24 * time.Hour)
	if _, err := m.Start(t.Context(), executor.Spec{ID: external(j), Hash: hashOf(j)}); err != nil {
		t.Fatal(err)
	}
	m.end(external(j))
	w.run()
	w.publish(j)
	w.started(j)
}

func TestReportsOnceHoweverOftenItIsDelivered(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	l := New(w.bus, m, w.options, zaptest.NewLogger(t))
	j := w.job(7, 0)
	for range 3 {
		if err := l.launch(t.Context(), j, func(executor.Handle) {}); err != nil {
			t.Fatal(err)
		}
	}
	if ids, _ := m.begunJobs(); len(ids) != 1 {
		t.Errorf("ran %v", ids)
	}
	if n := w.countStarted(j); n != 1 {
		t.Errorf("%d started messages", n)
	}
}

func TestEndsTheWaitAtTheQueueDeadline(t *testing.T) {
	tests := map[string]struct {
		own     int
		general time.Duration
		queued  time.Duration
		want    string
	}{
		"the launcher's own":        {0, 90 * time.Second, 2 * time.Minute, "waited 1m30s for a free slot: all slots were taken"},
		"the job's":                 {60, time.Nanosecond, 61 * time.Minute, "waited 60m for a free slot: all slots were taken"},
		"that comes while it waits": {0, 50 * time.Millisecond, 0, "waited 0s for a free slot: all slots were taken"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := newMachine()
			w := setup(t, m)
			w.options.QueueTimeout = test.general
			l := New(w.bus, m, w.options, zaptest.NewLogger(t))
			l.slots.queue.take("holder")
			j := w.job(7, 1)
			j.QueueTimeoutMinutes, j.QueuedAt = test.own, time.Now().Add(-test.queued)
			if err := l.launch(t.Context(), j, func(executor.Handle) {}); err != nil {
				t.Fatal(err)
			}
			r := w.result(j)
			if r.Conclusion != flow.Failure || r.Cause != flow.CauseNoCapacity || r.Message != test.want {
				t.Errorf("result %s %s %q", r.Conclusion, r.Cause, r.Message)
			}
			if ids, _ := m.begunJobs(); len(ids) != 0 {
				t.Errorf("ran %v", ids)
			}
		})
	}
}

// TestTheWaitBeginsWhenTheJobIsThere has a job whose webhook waited for longer than a
// job may wait for a slot: the planner was down, or GitHub's limit put it off.
func TestTheWaitBeginsWhenTheJobIsThere(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	w.options.Tell = time.Millisecond
	if _, err := m.Start(t.Context(), executor.Spec{ID: "holder"}); err != nil {
		t.Fatal(err)
	}
	w.run()
	j := w.job(7, 1)
	j.QueuedAt = time.Now().Add(-2 * time.Hour)
	w.publish(j)
	w.waits(j, "no free slot: 1 of 1 taken")
	m.end("holder")
	w.started(j)
}

func TestSaysWhyAJobCannotBeStarted(t *testing.T) {
	away := errors.New("the machine is away")
	tests := map[string]struct {
		before  func(context.Context, executor.Spec, int) error
		change  func(*flow.Job)
		cause   flow.Cause
		message string
		calls   int
	}{
		"refused": {
			before: func(context.Context, executor.Spec, int) error {
				return fmt.Errorf("job: %w", &executor.StartError{Message: "image is malformed", Err: away})
			},
			cause: flow.CauseRefused, message: "image is malformed", calls: 1,
		},
		"machine away for good": {
			before: func(context.Context, executor.Spec, int) error { return away },
			cause:  flow.CauseInfrastructure, message: "could not be started", calls: 3,
		},
		"no source": {
			change: func(j *flow.Job) { j.Source = flow.SourceName(7, merge) },
			cause:  flow.CauseInfrastructure, message: "source archive", calls: 3,
		},
		"name taken": {
			before: func(context.Context, executor.Spec, int) error { return fmt.Errorf("job: %w", executor.ErrConflict) },
			cause:  flow.CauseInfrastructure, message: "same name", calls: 1,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := newMachine()
			m.before = test.before
			w := setup(t, m)
			w.run()
			j := w.job(7, 0)
			if test.change != nil {
				test.change(&j)
			}
			w.publish(j)
			r := w.result(j)
			if r.Conclusion != flow.Failure || r.Cause != test.cause || !strings.Contains(r.Message, test.message) {
				t.Errorf("result %s %s %q", r.Conclusion, r.Cause, r.Message)
			}
			m.mu.Lock()
			calls := m.calls[external(j)]
			m.mu.Unlock()
			if calls != test.calls {
				t.Errorf("asked %d times, want %d", calls, test.calls)
			}
			if test.cause == flow.CauseInfrastructure && test.calls == 1 {
				await(t, w.bus, flow.Subject[flow.Job]("dlq.launcher"), func(d flow.Job) bool { return d.Job == j.Job })
			}
			// Its slot is free again.
			m.before = nil
			next := w.job(7, 1)
			w.publish(next)
			w.started(next)
		})
	}
}

// TestLooksAgainForTheSourceOfAYoungJob has an archive that is not to be seen until
// the last try is over.
func TestLooksAgainForTheSourceOfAYoungJob(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	w.options.Lag = time.Minute
	j := w.job(7, 0)
	j.Source = flow.SourceName(7, merge)
	m.before = func(ctx context.Context, _ executor.Spec, n int) error {
		if n <= 1+len(w.options.Patience) {
			return nil
		}
		archive, err := executortest.Archive(executortest.File("top/README", "hello\n", 0o644))
		if err != nil {
			return err
		}
		return w.bus.Sources().Put(ctx, j.Source, bytes.NewReader(archive))
	}
	w.run()
	w.publish(j)
	w.started(j)
}

func TestTriesAgainWhenTheMachineWasAway(t *testing.T) {
	m := newMachine()
	m.before = func(_ context.Context, _ executor.Spec, n int) error {
		if n < 3 {
			return errors.New("away")
		}
		return nil
	}
	w := setup(t, m)
	w.run()
	j := w.job(7, 0)
	w.publish(j)
	w.started(j)
}

func TestServesItsPool(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	w.options.Pool = "gpu"
	if err := w.bus.Provision(t.Context(), bus.Provision{Pools: []string{"gpu"}}); err != nil {
		t.Fatal(err)
	}
	w.run()
	j := w.job(7, 0)
	j.Pool = "gpu"
	if err := bus.Publish(t.Context(), w.bus, flow.Jobs.OfPool("gpu"), j); err != nil {
		t.Fatal(err)
	}
	await(t, w.bus, flow.States.OfPool("gpu"), func(s flow.Status) bool { return s.Job == j.Job && s.Pool == "gpu" })
}

func TestRunsARealJob(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	e, err := local.New(local.Config{Dir: t.TempDir() + "/jobs", Command: []string{program, "supervise"}, Log: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	w := setup(t, e)
	stop := w.run()
	j := w.job(7, 0)
	j.Script = "test \"$(cat README)\" = hello && test \"$COLOUR\" = red && test \"$GITHUB_SHA\" = " + sha
	w.publish(j)
	s := w.started(j)
	if !slices.Equal(s.Notes, []string{"image python:3.11 is ignored: the local executor runs on the machine itself"}) {
		t.Errorf("notes %q", s.Notes)
	}
	var h executor.Handle
	if err := json.Unmarshal(s.Handle, &h); err != nil {
		t.Fatal(err)
	}
	// The next job gets the slot when this one has ended.
	next := w.job(7, 1)
	w.publish(next)
	w.started(next)
	// It must not write to its folder while that is removed.
	executortest.Until(t, e, executor.Handle{Executor: h.Executor, ID: external(next), Host: h.Host}, executor.Ended)
	state, err := e.Observe(t.Context(), h)
	if err != nil || state.Phase != executor.Ended || state.ExitCode == nil || *state.ExitCode != 0 {
		t.Errorf("first job is %+v, %v", state, err)
	}
	stop()
	l := New(w.bus, e, w.options, zaptest.NewLogger(t))
	if err := l.launch(t.Context(), j, func(executor.Handle) {}); err != nil {
		t.Fatal(err)
	}
	if n := w.countStarted(j); n != 1 {
		t.Errorf("%d started messages", n)
	}

	if err := l.sweep(t.Context(), time.Now().Add(25*time.Hour)); err != nil {
		t.Fatal(err)
	}
	// What was removed is still known to have run.
	if state, err := e.Observe(t.Context(), h); err != nil || state.Phase != executor.Ended {
		t.Errorf("removed job is %+v, %v", state, err)
	}
	if err := l.sweep(t.Context(), time.Now().Add(9*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if state, err := e.Observe(t.Context(), h); err != nil || state.Phase != executor.Absent {
		t.Errorf("collected job is %+v, %v", state, err)
	}
}

// TestADamagedJobDoesNotStopTheOthers has a job that cannot be observed.
func TestADamagedJobDoesNotStopTheOthers(t *testing.T) {
	m := newMachine()
	if _, err := m.Start(t.Context(), executor.Spec{ID: "damaged"}); err != nil {
		t.Fatal(err)
	}
	m.damaged = "damaged"
	w := setup(t, m)
	w.run()
	j := w.job(7, 0)
	w.publish(j)
	w.started(j)
}

func TestStartsNothingBeforeItKnowsWhatRuns(t *testing.T) {
	m := newMachine()
	if _, err := m.Start(t.Context(), executor.Spec{ID: "running"}); err != nil {
		t.Fatal(err)
	}
	m.away = 2 // the first two counts fail
	w := setup(t, m)
	w.run()
	j := w.job(7, 1)
	w.publish(j)
	<-m.counted
	m.end("running")
	w.started(j)
	if _, most := m.begunJobs(); most != 1 {
		t.Errorf("%d jobs ran at once on one slot", most)
	}
}
