package launcher

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/flow"
)

// slow is a machine that tells what its starts are doing.
type slow struct {
	*machine
	says atomic.Value
}

func (s *slow) Starting(string) string { return s.says.Load().(string) }

func TestWhatAStartIsDoingIsTold(t *testing.T) {
	m := &slow{machine: newMachine()}
	m.says.Store("pulling image big:1: 45 %")
	release := make(chan struct{})
	m.before = func(ctx context.Context, _ executor.Spec, _ int) error {
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	w := setup(t, m)
	w.options.Tell = time.Millisecond
	w.run()
	j := w.job(7, 0)
	w.publish(j)
	tells := func(text string) {
		t.Helper()
		await(t, w.bus, flow.States, func(s flow.Status) bool {
			return s.Job == j.Job && s.State == flow.Starting && s.Message == text
		})
	}
	tells("pulling image big:1: 45 %")
	m.says.Store("pulling image big:1: 90 %")
	tells("pulling image big:1: 90 %")
	m.says.Store("")
	close(release)
	w.started(j)
}

func TestAFaultOfTheMachineIsTold(t *testing.T) {
	m := newMachine()
	told := make(chan struct{})
	m.before = func(ctx context.Context, _ executor.Spec, n int) error {
		if n > 1 {
			select {
			case <-told: // the second try lasts until the first one's fault is known
			case <-ctx.Done():
			}
		}
		return &executor.FaultError{Message: "no engine answers", Err: errors.New("dial tcp 10.0.0.1: refused")}
	}
	w := setup(t, m)
	w.options.Tell = time.Millisecond
	w.options.Patience = []time.Duration{time.Millisecond}
	w.run()
	j := w.job(7, 0)
	w.publish(j)
	await(t, w.bus, flow.States, func(s flow.Status) bool {
		return s.Job == j.Job && s.State == flow.Starting && s.Message == "no engine answers; it is tried again"
	})
	close(told)
	if r := w.result(j); r.Cause != flow.CauseInfrastructure || r.Message != "the job could not be started: no engine answers" {
		t.Errorf("result is %+v", r)
	}
}
