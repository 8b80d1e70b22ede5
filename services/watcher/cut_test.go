package watcher

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/litci/litci/pkg/cancellation"
	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/executortest"
	"github.com/litci/litci/pkg/flow"
)

func (w *world) cancel(s flow.Status, at time.Time) {
	w.t.Helper()
	request := cancellation.Request{ID: "x", Reason: "Superseded by abc1234.", At: at}
	if err := cancellation.Run(w.t.Context(), w.bus, s.Run, request); err != nil {
		w.t.Fatal(err)
	}
}

// A request ends a job at once, not when the job would be looked at next, and the
// log has what the job says while it ends.
func TestEndsACancelledJobAtOnce(t *testing.T) {
	e := newScene()
	w := setup(t, e)
	w.options.Poll, w.options.MaxPoll = time.Hour, time.Hour
	s := w.planned(flow.Options{})
	e.print("one\n")
	var stops atomic.Int32
	e.onStop = func() error {
		stops.Add(1)
		e.print("bye\n")
		e.end(executor.State{Reason: executor.ReasonStopped})
		return nil
	}
	w.run()
	w.publish(s)
	await(t, w.bus, flow.States, func(m flow.Status) bool { return m.Job == s.Job && m.State == flow.Running })
	w.cancel(s, time.Now())
	r := w.result(s)
	if r.Conclusion != flow.Cancelled || r.Cause != flow.CauseStopped || r.Message != "Superseded by abc1234." || len(r.Notes) != 1 {
		t.Errorf("result %+v", r)
	}
	if w.archived(r.Log) != "one\nbye\n" || stops.Load() != 1 {
		t.Errorf("log %q, stopped %d times", w.archived(r.Log), stops.Load())
	}
}

// A log that comes faster than it is read does not keep a job from being stopped.
func TestEndsAJobThatNeverStopsTalking(t *testing.T) {
	e := newScene()
	flood := &flood{scene: e, size: 1 << 50}
	w := setup(t, flood)
	w.options.HeadBytes, w.options.TailBytes = 1<<20, 1<<20
	s := w.planned(flow.Options{})
	reading := make(chan struct{}, 1)
	flood.onRead = func(int64) {
		select {
		case reading <- struct{}{}:
		default:
		}
	}
	e.onStop = func() error {
		flood.end(executor.State{Reason: executor.ReasonStopped})
		flood.stop()
		return nil
	}
	w.run()
	w.publish(s)
	<-reading
	w.cancel(s, time.Now())
	if r := w.result(s); r.Conclusion != flow.Cancelled {
		t.Errorf("result %+v", r)
	}
}

func TestForcesTheVerdictOfACancelledJob(t *testing.T) {
	e := newScene()
	w := setup(t, e)
	e.onStop = func() error { return nil }
	s := w.planned(flow.Options{})
	w.run()
	w.publish(s)
	w.cancel(s, time.Now())
	r := w.result(s)
	if r.Conclusion != flow.Cancelled || r.Message != "Superseded by abc1234." || len(r.Notes) != 2 || !strings.Contains(r.Notes[1], "may still run") {
		t.Errorf("result %+v", r)
	}
	if !r.StartedAt.Equal(e.state.StartedAt) {
		t.Errorf("started at %s", r.StartedAt)
	}
}

func TestKeepsTheVerdictOfAJobThatEndedByItself(t *testing.T) {
	e := newScene()
	w := setup(t, e)
	e.onStop = func() error { e.exit(0); return nil }
	s := w.planned(flow.Options{})
	w.run()
	w.publish(s)
	w.cancel(s, time.Now())
	if r := w.result(s); r.Conclusion != flow.Success || r.Cause != flow.CauseExit {
		t.Errorf("result %+v", r)
	}
}

func TestFindsWhatWasAskedBeforeItTookTheJob(t *testing.T) {
	e := newScene()
	w := setup(t, e)
	s := w.planned(flow.Options{})
	w.publish(s)
	w.cancel(s, time.Now().Add(-time.Hour))
	w.run()
	if r := w.result(s); r.Conclusion != flow.Cancelled || len(r.Notes) != 1 {
		t.Errorf("result %+v", r)
	}
}

func TestAsksAgainUntilTheExecutorStopsTheJob(t *testing.T) {
	e := newScene()
	w := setup(t, e)
	w.options.Force = time.Hour
	stops := 0
	e.onStop = func() error {
		if stops++; stops < 3 {
			return errors.New("busy")
		}
		e.end(executor.State{Reason: executor.ReasonStopped})
		return nil
	}
	s := w.planned(flow.Options{})
	w.publish(s)
	w.cancel(s, time.Now())
	w.run()
	if r := w.result(s); r.Conclusion != flow.Cancelled || len(r.Notes) != 1 {
		t.Errorf("result %+v", r)
	}
}

// The check of a cancelled job does not hang on a machine that is gone.
func TestGivesUpACancelledJobOfAnExecutorThatIsAway(t *testing.T) {
	e := newScene()
	w := setup(t, e)
	away := func() error { return errors.New("away") }
	e.onObserve, e.onLogs, e.onStop = away, away, away
	s := w.planned(flow.Options{})
	w.cancel(s, time.Now().Add(-time.Minute))
	w.run()
	w.publish(s)
	if r := w.result(s); r.Conclusion != flow.Cancelled || len(r.Notes) != 2 || !strings.Contains(r.Notes[1], "may still run") {
		t.Errorf("result %+v", r)
	}
}

func TestTellsWhatAJobWaitsFor(t *testing.T) {
	e := newScene()
	w := setup(t, e)
	e.set(func(s *executor.State) { *s = executor.State{Phase: executor.Pending, Message: "pulling image"} })
	s := w.planned(flow.Options{})
	w.run()
	w.publish(s)
	told := func(message string) {
		t.Helper()
		m := await(t, w.bus, flow.States, func(m flow.Status) bool { return m.Job == s.Job && m.State == flow.Starting && m.Message == message })
		if m.Handle != nil || m.Attempt != 1 || m.Run != s.Run {
			t.Errorf("told %+v", m)
		}
	}
	told("pulling image")
	e.set(func(s *executor.State) { s.Message = "0/3 nodes are available: given-secret" })
	told("0/3 nodes are available: ***")
	e.set(func(s *executor.State) { *s = executor.State{Phase: executor.Running, StartedAt: time.Now().UTC()} })
	e.exit(0)
	w.result(s)
	n := 0
	if err := scan(t, w, func(m flow.Status) {
		if m.State == flow.Starting {
			n++
		}
	}); err != nil || n != 2 {
		t.Errorf("told %d times, %v", n, err)
	}
}

func TestTellsWhatAJobWaitsForNowAndThen(t *testing.T) {
	e := newScene()
	w := setup(t, e)
	w.options.Tell = time.Hour
	looks := 0
	e.onObserve = func() error {
		if looks++; looks < 20 {
			e.set(func(s *executor.State) {
				*s = executor.State{Phase: executor.Pending, Message: "layer " + strconv.Itoa(looks)}
			})
			return nil
		}
		e.exit(0)
		return nil
	}
	s := w.planned(flow.Options{})
	w.run()
	w.publish(s)
	w.result(s)
	var told []string
	if err := scan(t, w, func(m flow.Status) {
		if m.State == flow.Starting {
			told = append(told, m.Message)
		}
	}); err != nil || len(told) != 1 || told[0] != "layer 1" {
		t.Errorf("told %q, %v", told, err)
	}
}

func TestEndsAJobThatNeverBegins(t *testing.T) {
	for name, test := range map[string]struct {
		patience time.Duration
		minutes  int
		want     string
	}{
		"by the operator's limit": {time.Second, 0, "the job did not begin within 1s: no node"},
		"by the workflow's limit": {time.Hour, 2, "the job did not begin within 2m: no node"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newScene()
			w := setup(t, e)
			w.options.Patience = test.patience
			e.set(func(s *executor.State) { *s = executor.State{Phase: executor.Pending, Message: "no node"} })
			s := w.plannedWith(func(j *flow.Job) { j.QueueTimeoutMinutes = test.minutes })
			s.At = time.Now().Add(-3 * time.Minute)
			w.run()
			w.publish(s)
			if r := w.result(s); r.Conclusion != flow.Failure || r.Cause != flow.CauseNoCapacity || r.Message != test.want {
				t.Errorf("result %+v", r)
			}
		})
	}
}

// Of a cancelled job that ignores TERM nothing is left, neither its children nor
// what it put into another session.
func TestKillsTheWholeTreeOfACancelledJob(t *testing.T) {
	e := localExecutor(t)
	w := setup(t, e)
	w.options.Grace, w.options.Force = 300*time.Millisecond, time.Hour
	const script = `trap '' TERM
bash -c 'trap "" TERM; sleep 1000 & echo "pid $!"; echo "pid $$"; wait' &
setsid bash -c 'trap "" TERM; echo "pid $$"; while :; do sleep 1000; done' &
echo "pid $!"
echo "pid $$"
wait
`
	s := w.planned(flow.Options{})
	h, err := e.Start(t.Context(), executor.Spec{
		ID: flow.ExternalName(s.Job, 1), Hash: "h", Script: []byte(script), Timeout: time.Hour, Grace: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	s = w.withHandle(s, h)
	w.run()
	w.publish(s)
	executortest.Follow(t, e, h, func(executor.State) bool { return strings.Count(executortest.Output(t, e, h), "pid ") == 5 })
	w.cancel(s, time.Now())
	r := w.result(s)
	if r.Conclusion != flow.Cancelled || r.Message != "Superseded by abc1234." {
		t.Errorf("result %+v", r)
	}
	for line := range strings.Lines(w.archived(r.Log)) {
		pid := strings.TrimSpace(strings.TrimPrefix(line, "pid "))
		if stat, err := os.ReadFile("/proc/" + pid + "/stat"); err == nil && !strings.Contains(string(stat), ") Z ") {
			t.Errorf("process %s lives: %s", pid, stat)
		}
	}
}
