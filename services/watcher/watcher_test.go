package watcher

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/local"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/leaktest"
	"github.com/litci/litci/pkg/verdict"
)

// TestMain lets the test binary be the supervisor of real jobs, and a watcher in a
// process of its own.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 {
		switch os.Args[1] {
		case "supervise":
			os.Exit(local.Supervise(os.Args[2]))
		case "hold":
			os.Exit(hold(os.Args[2]))
		}
	}
	leaktest.Main(m)
}

// waitLimit bounds every wait; it is only reached by what is broken.
const waitLimit = 2 * time.Minute

// world is a bus and an executor.
type world struct {
	t        testing.TB
	bus      *bus.Bus
	executor executor.Executor
	options  Options
}

func setup(t *testing.T, e executor.Executor) *world {
	t.Parallel()
	return newWorld(t, e)
}

func newWorld(t testing.TB, e executor.Executor) *world {
	return &world{t: t, bus: bustest.New(t), executor: e, options: Options{
		Dir: t.TempDir(), Poll: time.Millisecond, MaxPoll: 5 * time.Millisecond, Live: time.Millisecond,
		Tell: time.Millisecond, Lost: time.Millisecond, Grace: 10 * time.Millisecond, Force: 10 * time.Millisecond, Slack: 10 * time.Millisecond, Masks: []string{"given-secret"},
	}}
}

func (w *world) watcher() *Watcher {
	made := New(w.bus, w.executor, w.options, zaptest.NewLogger(w.t))
	made.blockTimeout = waitLimit // a lost block is no failure, but for a test that waits for it
	return made
}

// run starts a watcher; stop ends it and waits until it has.
func (w *world) run() (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	watcher := w.watcher()
	go func() { ended <- watcher.Run(ctx) }()
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

func started(t testing.TB, h executor.Handle) flow.Status {
	t.Helper()
	run := flow.RunID(1, 7, "push", t.Name(), "", "")
	handle, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	return flow.Status{
		Identity: flow.Identity{Delivery: "d", Installation: 1, Repo: flow.Repo{ID: 7, Owner: "octo", Name: "hello"}, Event: "push", Run: run},
		Job:      flow.JobID(run, 3), Index: 3, Attempt: 1, Check: "ci.yml / test", State: flow.Started, At: time.Now().UTC(),
		Handle: handle, TimeoutMinutes: 5, Notes: []string{"a note"},
	}
}

// planned is like started, for the last of four jobs of one workflow whose plan is
// in the stream.
func (w *world) planned(options flow.Options) flow.Status {
	w.t.Helper()
	return w.plannedWith(func(j *flow.Job) { j.Options = options })
}

func (w *world) plannedWith(change func(*flow.Job)) flow.Status {
	w.t.Helper()
	s := started(w.t, executor.Handle{Executor: "scene", ID: "x"})
	plan := flow.Plan{Identity: s.Identity}
	var jobs []flow.Job
	for i := range s.Index + 1 {
		job := flow.Job{Identity: s.Identity, Job: flow.JobID(s.Run, i), Index: i, Attempt: 1, Check: s.Check}
		change(&job)
		jobs = append(jobs, job)
		plan.Jobs = append(plan.Jobs, flow.PlannedJob{Job: job.Job, Check: job.Check, Workflow: "ci.yml"})
	}
	if err := bus.PublishPlan(w.t.Context(), w.bus, plan, jobs); err != nil {
		w.t.Fatal(err)
	}
	return s
}

// withHandle is a status of another job at the executor.
func (w *world) withHandle(s flow.Status, h executor.Handle) flow.Status {
	w.t.Helper()
	handle, err := json.Marshal(h)
	if err != nil {
		w.t.Fatal(err)
	}
	s.Handle = handle
	return s
}

// scan hands fn every status that is stored.
func scan(t *testing.T, w *world, fn func(flow.Status)) error {
	t.Helper()
	return bus.Scan(t.Context(), w.bus, flow.States, bus.From{}, func(_ bus.Meta, m flow.Status) bool { fn(m); return true })
}

// attempts are the messages of a job behind its first attempt's.
func (w *world) attempts(s flow.Status) (all []flow.Job) {
	w.t.Helper()
	if err := bus.Scan(w.t.Context(), w.bus, flow.Jobs, bus.From{}, func(_ bus.Meta, j flow.Job) bool {
		if j.Job == s.Job && j.Attempt > 1 {
			all = append(all, j)
		}
		return true
	}); err != nil {
		w.t.Fatal(err)
	}
	return all
}

func (w *world) publish(s flow.Status) {
	w.t.Helper()
	if err := bus.Publish(w.t.Context(), w.bus, flow.States.OfPool(w.options.Pool), s); err != nil {
		w.t.Fatal(err)
	}
}

// await returns the first message of a subject that matches.
func await[T any](t testing.TB, b *bus.Bus, subject flow.Subject[T], match func(T) bool) T {
	t.Helper()
	var found *T
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
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

func (w *world) result(s flow.Status) flow.Result {
	w.t.Helper()
	return await(w.t, w.bus, flow.Results, func(r flow.Result) bool { return r.Job == s.Job })
}

// results are all results of a job that are stored. It publishes one of its own
// and collects what comes before it.
func (w *world) results(s flow.Status) (all []flow.Result) {
	w.t.Helper()
	end := flow.Result{Job: "end", Attempt: int(time.Now().UnixNano())}
	if err := bus.Publish(w.t.Context(), w.bus, flow.Results, end); err != nil {
		w.t.Fatal(err)
	}
	await(w.t, w.bus, flow.Results, func(r flow.Result) bool {
		if r.Job == s.Job {
			all = append(all, r)
		}
		return r.Job == end.Job && r.Attempt == end.Attempt
	})
	return all
}

func (w *world) archived(name string) string {
	w.t.Helper()
	r, err := w.bus.Logs().Get(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(data)
}

func TestFollowsAJobToItsEnd(t *testing.T) {
	e := newScene()
	e.state.Image = "debian@sha256:1234"
	w := setup(t, e)
	w.run()
	s := started(t, executor.Handle{Executor: "scene", ID: "x"})
	w.publish(s)

	running := await(t, w.bus, flow.States, func(m flow.Status) bool { return m.Job == s.Job && m.State == flow.Running })
	if running.Handle != nil || !running.At.Equal(e.state.StartedAt) || running.Identity != s.Identity {
		t.Errorf("running status %+v", running)
	}
	notes := []string{"a note", "it ran in debian@sha256:1234"}
	if !slices.Equal(running.Notes, notes) {
		t.Errorf("notes of the running job are %q", running.Notes)
	}
	e.print("one given-secret\n::add-mask::hunter22\n\x1b[31mtwo hunter22\x1b[0m\r\n")
	// The log is live while the job runs.
	await(t, w.bus, flow.LogOf(s.Job), func(b flow.LogBlock) bool { return strings.Contains(b.Text, "two ***\n") })
	e.print("three")
	e.exit(0)

	const want = "one ***\ntwo ***\nthree\n"
	r := w.result(s)
	if r.Conclusion != flow.Success || r.Cause != flow.CauseExit || r.ExitCode == nil || *r.ExitCode != 0 || r.Check != s.Check || r.Index != 3 {
		t.Errorf("result %+v", r)
	}
	if !r.StartedAt.Equal(e.state.StartedAt) || !r.FinishedAt.Equal(e.state.FinishedAt) {
		t.Errorf("from %s to %s", r.StartedAt, r.FinishedAt)
	}
	if r.Window != nil || r.Tail != nil || r.FirstError != "" || !slices.Equal(r.Notes, notes) {
		t.Errorf("result of a green job has %q %q %q", r.Window, r.Tail, r.Notes)
	}
	if r.Log != flow.LogName(s.Job, 1) || r.LogBytes != int64(len(want)) || r.LogDropped != 0 || w.archived(r.Log) != want {
		t.Errorf("log %s of %d bytes: %q", r.Log, r.LogBytes, w.archived(r.Log))
	}
	live, offset := "", int64(0)
	await(t, w.bus, flow.LogOf(s.Job), func(b flow.LogBlock) bool {
		if b.Offset != offset {
			t.Errorf("block at %d, want %d", b.Offset, offset)
		}
		live, offset = live+b.Text, offset+int64(len(b.Text))
		return b.Last
	})
	if live != want {
		t.Errorf("live log %q", live)
	}
}

func TestShowsWhereAJobFailed(t *testing.T) {
	e := newScene()
	w := setup(t, e)
	e.print("one\ntwo\nerror: given-secret is wrong\nfour\n")
	e.exit(2)
	s := started(t, executor.Handle{Executor: "scene", ID: "x"})
	w.run()
	w.publish(s)
	r := w.result(s)
	lines := []string{"one", "two", "error: *** is wrong", "four"}
	if r.Conclusion != flow.Failure || *r.ExitCode != 2 || r.FirstError != "error: *** is wrong" || r.WindowLine != 1 ||
		!reflect.DeepEqual(r.Window, lines) || !reflect.DeepEqual(r.Tail, lines) {
		t.Errorf("result %+v", r)
	}
}

func TestShowsTheTailOfAGreenJobInDebugMode(t *testing.T) {
	e := newScene()
	w := setup(t, e)
	e.print("error: not really\n")
	e.exit(0)
	s := started(t, executor.Handle{Executor: "scene", ID: "x"})
	s.Mode = "debug"
	w.run()
	w.publish(s)
	if r := w.result(s); r.Mode != "debug" || len(r.Tail) != 1 || r.Window != nil || r.FirstError != "" {
		t.Errorf("result %+v", r)
	}
}

func TestEndings(t *testing.T) {
	code := 143
	tests := map[string]struct {
		state      executor.State
		conclusion flow.Conclusion
		cause      flow.Cause
	}{
		"timeout": {executor.State{Reason: executor.ReasonTimeout, ExitCode: &code}, flow.TimedOut, flow.CauseDeadline},
		"stopped": {executor.State{Reason: executor.ReasonStopped, ExitCode: &code}, flow.Cancelled, flow.CauseStopped},
		"lost":    {executor.State{Reason: executor.ReasonLost, Message: "given-secret"}, flow.Failure, flow.CauseInfrastructure},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := newScene()
			w := setup(t, e)
			e.end(test.state)
			s := started(t, executor.Handle{Executor: "scene", ID: "x"})
			w.run()
			w.publish(s)
			r := w.result(s)
			if r.Conclusion != test.conclusion || r.Cause != test.cause || !reflect.DeepEqual(r.ExitCode, test.state.ExitCode) || strings.Contains(r.Message, "given-secret") {
				t.Errorf("result %+v", r)
			}
			if r.Log != flow.LogName(s.Job, 1) || w.archived(r.Log) != "" {
				t.Errorf("log %q", r.Log)
			}
		})
	}
}

func TestTakesAbsentForLost(t *testing.T) {
	e := newScene()
	w := setup(t, e)
	e.set(func(s *executor.State) { *s = executor.State{Phase: executor.Absent} })
	s := started(t, executor.Handle{Executor: "scene", ID: "x"})
	w.run()
	w.publish(s)
	if r := w.result(s); r.Conclusion != flow.Failure || r.Cause != flow.CauseInfrastructure || !strings.Contains(r.Message, "lost") {
		t.Errorf("result %+v", r)
	}
}

func TestAnotherWatcherTakesOver(t *testing.T) {
	e := newScene()
	w := setup(t, e)
	s := started(t, executor.Handle{Executor: "scene", ID: "x"})
	w.publish(s)
	stop := w.run()
	e.print("::add-mask::hunter22\none\n")
	await(t, w.bus, flow.LogOf(s.Job), func(b flow.LogBlock) bool { return strings.Contains(b.Text, "one") })
	stop()
	if all := w.results(s); len(all) != 0 {
		t.Fatalf("a stopping watcher published %+v", all)
	}
	e.print("two hunter22\n")
	e.exit(0)
	w.run()
	if r := w.result(s); r.Conclusion != flow.Success || w.archived(r.Log) != "one\ntwo ***\n" {
		t.Errorf("result %+v with log %q", r, w.archived(r.Log))
	}
}

// A watcher that is killed at any of its calls leaves a job that the next one
// brings to the same single verdict.
func TestKilledAnywhere(t *testing.T) {
	e := newScene()
	w := setup(t, e)
	e.print("one\nerror: two\n")
	e.exit(1)
	for call := 1; ; call++ {
		s := started(t, executor.Handle{Executor: "scene", ID: "x"})
		s.Index = call
		s.Job = flow.JobID(s.Run, call)
		ctx, kill := context.WithCancel(t.Context())
		calls := 0
		count := func() error {
			if calls++; calls == call {
				kill()
			}
			return nil
		}
		e.onObserve, e.onLogs = count, count
		err := w.watcher().watch(ctx, s)
		killed := ctx.Err() != nil
		kill()
		if killed == (err == nil) {
			t.Fatalf("killed %v at call %d, and watch gave %v", killed, call, err)
		}
		e.onObserve, e.onLogs = nil, nil
		for range 2 {
			if err := w.watcher().watch(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
		all := w.results(s)
		if len(all) != 1 || all[0].FirstError != "error: two" || w.archived(all[0].Log) != "one\nerror: two\n" {
			t.Fatalf("killed at call %d: results %+v", call, all)
		}
		if !killed {
			if call < 4 {
				t.Fatalf("a job takes %d calls", call-1)
			}
			return
		}
	}
}

func TestKilledAfterTheVerdictWasRecorded(t *testing.T) {
	e := newScene()
	w := setup(t, e)
	s := started(t, executor.Handle{Executor: "scene", ID: "x"})
	recorded := resultOf(&s, ending{flow.Success, flow.CauseExit, "exit 0"}, time.Now().UTC())
	if _, err := verdict.Settle(t.Context(), w.bus, recorded); err != nil {
		t.Fatal(err)
	}
	e.exit(1) // nobody looks any more
	w.run()
	w.publish(s)
	if r := w.result(s); !reflect.DeepEqual(r, recorded) {
		t.Errorf("published %+v, recorded %+v", r, recorded)
	}
}

// Two watchers that both hold a job, and see it end differently, agree.
func TestTwoWatchersGiveOneVerdict(t *testing.T) {
	green, red := newScene(), newScene()
	w := setup(t, green)
	green.exit(0)
	red.exit(1)
	s := started(t, executor.Handle{Executor: "scene", ID: "x"})
	ended := make(chan error, 2)
	for _, e := range []executor.Executor{green, red} {
		watcher := New(w.bus, e, w.options, zaptest.NewLogger(t))
		go func() { ended <- watcher.watch(t.Context(), s) }()
	}
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	all := w.results(s)
	stands, err := verdict.Of(t.Context(), w.bus, s.Run, s.Index, s.Attempt)
	if err != nil || len(all) != 1 || !reflect.DeepEqual(all[0], *stands) {
		t.Errorf("published %+v, recorded %+v, %v", all, stands, err)
	}
}

func TestStopsWhatRunsBehindItsDeadline(t *testing.T) {
	e := newScene()
	w := setup(t, e)
	e.set(func(s *executor.State) { s.StartedAt = time.Now().Add(-6 * time.Minute).UTC() })
	s := started(t, executor.Handle{Executor: "scene", ID: "x"})
	w.run()
	w.publish(s)
	if r := w.result(s); r.Conclusion != flow.TimedOut || r.Cause != flow.CauseDeadline || r.Message != "timed out after 5m" {
		t.Errorf("result %+v", r)
	}
}

func TestGivesUpOnWhatCannotBeStopped(t *testing.T) {
	e := newScene()
	w := setup(t, e)
	e.onStop = func() error { return nil }
	e.set(func(s *executor.State) { s.StartedAt = time.Now().Add(-6 * time.Minute).UTC() })
	s := started(t, executor.Handle{Executor: "scene", ID: "x"})
	w.run()
	w.publish(s)
	if r := w.result(s); r.Conclusion != flow.TimedOut || len(r.Notes) != 2 {
		t.Errorf("result %+v", r)
	}
}

func TestGivesUpOnAnExecutorThatIsAwayBehindTheDeadline(t *testing.T) {
	e := newScene()
	w := setup(t, e)
	away := func() error { return errors.New("away") }
	e.onObserve, e.onLogs, e.onStop = away, away, away
	s := started(t, executor.Handle{Executor: "scene", ID: "x"})
	s.At = time.Now().Add(-6 * time.Minute)
	w.run()
	w.publish(s)
	if r := w.result(s); r.Conclusion != flow.Failure || r.Cause != flow.CauseInfrastructure || !strings.Contains(r.Message, "cannot be reached") {
		t.Errorf("result %+v", r)
	}
}

func TestLeavesAJobItCannotSeeToAnother(t *testing.T) {
	e := newScene()
	w := setup(t, e)
	e.onObserve = func() error { return errors.New("this is another machine") }
	s := started(t, executor.Handle{Executor: "scene", ID: "x"})
	if err := w.watcher().watch(t.Context(), s); err == nil || !strings.Contains(err.Error(), "another machine") {
		t.Errorf("watch gave %v", err)
	}
}

func TestGoesOnWhileTheExecutorIsAway(t *testing.T) {
	e := newScene()
	w := setup(t, e)
	calls := 0
	e.onObserve = func() error {
		if calls++; calls > 1 && calls < 5 {
			return errors.New("away")
		}
		if calls == 5 {
			e.exit(0)
		}
		return nil
	}
	s := started(t, executor.Handle{Executor: "scene", ID: "x"})
	w.run()
	w.publish(s)
	if r := w.result(s); r.Conclusion != flow.Success {
		t.Errorf("result %+v", r)
	}
}

func TestSaysWhereTheExecutorDroppedTheLog(t *testing.T) {
	e := newScene()
	w := setup(t, e)
	e.print("dropped\nkept\n")
	e.gap = int64(len("dropped\n"))
	e.exit(0)
	s := started(t, executor.Handle{Executor: "scene", ID: "x"})
	w.run()
	w.publish(s)
	r := w.result(s)
	if got := w.archived(r.Log); got != "[litci: 8 bytes of the log were not kept]\nkept\n" || r.LogDropped != 8 {
		t.Errorf("log %q, %d dropped", got, r.LogDropped)
	}
}

func TestGivesAVerdictWithoutALog(t *testing.T) {
	e := newScene()
	w := setup(t, e)
	e.onLogs = func() error { return os.ErrNotExist }
	e.exit(0)
	s := started(t, executor.Handle{Executor: "scene", ID: "x"})
	w.run()
	w.publish(s)
	if r := w.result(s); r.Conclusion != flow.Success || len(r.Notes) != 2 || !strings.Contains(r.Notes[1], "could not be read") {
		t.Errorf("result %+v", r)
	}
}

func TestGivesAVerdictWithoutADisk(t *testing.T) {
	e := newScene()
	w := setup(t, e)
	w.options.Dir += "/missing"
	e.print(strings.Repeat("line\n", inMemory))
	e.exit(0)
	s := started(t, executor.Handle{Executor: "scene", ID: "x"})
	w.run()
	w.publish(s)
	if r := w.result(s); r.Conclusion != flow.Success || r.Log != "" || len(r.Notes) != 2 || !strings.Contains(r.Notes[1], "could not be stored") {
		t.Errorf("result %+v", r)
	}
}

func TestEndsAJobWhoseHandleCannotBeRead(t *testing.T) {
	w := setup(t, newScene())
	s := started(t, executor.Handle{})
	s.Handle = json.RawMessage(`"nonsense"`)
	w.run()
	w.publish(s)
	if r := w.result(s); r.Conclusion != flow.Failure || r.Cause != flow.CauseGivenUp || r.Message != "litci gave up watching this job: the job's handle cannot be read" {
		t.Errorf("result %+v", r)
	}
	await(t, w.bus, flow.Subject[flow.Status]("dlq.watcher"), func(d flow.Status) bool { return d.Job == s.Job })
}

func TestServesItsPool(t *testing.T) {
	e := newScene()
	w := setup(t, e)
	w.options.Pool = "gpu"
	if err := w.bus.Provision(t.Context(), bus.Provision{Pools: []string{"gpu"}}); err != nil {
		t.Fatal(err)
	}
	s := started(t, executor.Handle{Executor: "scene", ID: "x"})
	w.run()
	w.publish(s)
	await(t, w.bus, flow.States.OfPool("gpu"), func(m flow.Status) bool { return m.Job == s.Job && m.State == flow.Running })
	e.exit(0)
	w.result(s)
}

// localExecutor runs real jobs, with the test binary as their supervisor.
func localExecutor(t *testing.T) *local.Executor {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	e, err := local.New(local.Config{Dir: t.TempDir() + "/jobs", Command: []string{program, "supervise"}, Log: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestFollowsARealJob(t *testing.T) {
	e := localExecutor(t)
	w := setup(t, e)
	tests := map[string]struct {
		script     string
		conclusion flow.Conclusion
		log        string
	}{
		"green": {"echo one; echo two >&2", flow.Success, "one\ntwo\n"},
		"red":   {"echo '::add-mask::hunter22'; echo hunter22; exit 7", flow.Failure, "***\n"},
	}
	w.run()
	for name, test := range tests {
		id := flow.ExternalName(flow.JobID(flow.RunID(1, 7, name, "", "", ""), 0), 1)
		h, err := e.Start(t.Context(), executor.Spec{ID: id, Hash: "h", Script: []byte(test.script), Timeout: time.Minute, Grace: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		s := started(t, h)
		s.Run = flow.RunID(1, 7, name, "", "", "")
		s.Job, s.Index = flow.JobID(s.Run, 0), 0
		w.publish(s)
		r := w.result(s)
		if r.Conclusion != test.conclusion || w.archived(r.Log) != test.log {
			t.Errorf("%s: %+v with log %q", name, r, w.archived(r.Log))
		}
	}
}
