package launcher

import (
	"runtime"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

func TestDoesNotStartWhatHasAVerdict(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	j := w.job(7, 0)
	if _, err := verdict.Settle(t.Context(), w.bus, flow.ResultOf(j, flow.Cancelled, flow.CauseStopped, "superseded", time.Now())); err != nil {
		t.Fatal(err)
	}
	w.run()
	w.publish(j)
	if r := w.result(j); r.Conclusion != flow.Cancelled {
		t.Errorf("result %+v", r)
	}
	if ids, _ := m.begunJobs(); len(ids) != 0 {
		t.Errorf("ran %v", ids)
	}
}

// What waits may be ended meanwhile: the reporter gives up jobs that are overdue.
func TestDoesNotStartWhatWasEndedWhileItWaited(t *testing.T) {
	for name, attempt := range map[string]int{"itself": 1, "by a newer attempt": 2} {
		t.Run(name, func(t *testing.T) {
			m := newMachine()
			w := setup(t, m)
			l := New(w.bus, m, w.options, zaptest.NewLogger(t))
			l.slots.queue.take("holder")
			j := w.job(7, 0)
			launched := make(chan error, 1)
			go func() { launched <- l.launch(t.Context(), j, func(executor.Handle) {}) }()
			for l.slots.queue.inLine() == 0 {
				runtime.Gosched()
			}
			ended := j
			ended.Attempt = attempt
			if _, err := verdict.Settle(t.Context(), w.bus, flow.ResultOf(ended, flow.Failure, flow.CauseNoCapacity, "overdue", time.Now())); err != nil {
				t.Fatal(err)
			}
			l.slots.queue.release("holder")
			if err := <-launched; err != nil {
				t.Fatal(err)
			}
			if ids, _ := m.begunJobs(); len(ids) != 0 {
				t.Fatalf("ran %v", ids)
			}
			if used, _ := l.slots.queue.load(); used != 0 {
				t.Errorf("%d slots are kept", used)
			}
			if attempt == j.Attempt {
				if r := w.result(j); r.Message != "overdue" {
					t.Errorf("result %+v", r)
				}
			}
		})
	}
}

func TestDoesNotStartAnAttemptBehindANewerOne(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	j := w.job(7, 0)
	newer := j
	newer.Attempt = 2
	if _, err := verdict.Settle(t.Context(), w.bus, flow.ResultOf(newer, flow.Success, flow.CauseExit, "", time.Now())); err != nil {
		t.Fatal(err)
	}
	l := New(w.bus, m, w.options, zaptest.NewLogger(t))
	if err := l.launch(t.Context(), j, nil); err != nil {
		t.Fatal(err)
	}
	if ids, _ := m.begunJobs(); len(ids) != 0 {
		t.Errorf("ran %v", ids)
	}
}
