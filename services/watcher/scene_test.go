package watcher

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"

	"github.com/litci/litci/pkg/executor"
)

// scene is an executor with one job, whose state and log the test writes.
type scene struct {
	mu    sync.Mutex
	state executor.State
	log   []byte
	// gap drops the log before this offset for those who read from before it.
	gap int64
	// onObserve, onLogs and onStop come first in every call; an error is returned.
	onObserve, onLogs, onStop func() error
	observed                  chan struct{}
}

// newScene returns a scene whose job runs since a second.
func newScene() *scene {
	s := &scene{observed: make(chan struct{}, 1)}
	s.state = executor.State{Phase: executor.Running, StartedAt: time.Now().Add(-time.Second).UTC()}
	return s
}

func (s *scene) print(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, text...)
	s.state.LogSize = int64(len(s.log))
}

func (s *scene) exit(code int) {
	s.end(executor.State{Reason: executor.ReasonExit, ExitCode: &code})
}

func (s *scene) end(state executor.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	state.Phase, state.StartedAt, state.FinishedAt, state.LogSize = executor.Ended, s.state.StartedAt, time.Now().UTC(), int64(len(s.log))
	s.state = state
}

func (s *scene) set(change func(*executor.State)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.state)
}

func call(f func() error) error {
	if f == nil {
		return nil
	}
	return f()
}

func (s *scene) Name() string { return "scene" }

func (s *scene) Start(context.Context, executor.Spec) (executor.Handle, error) {
	return executor.Handle{}, &executor.StartError{Message: "a scene starts by itself"}
}

func (s *scene) Observe(ctx context.Context, _ executor.Handle) (executor.State, error) {
	if err := call(s.onObserve); err != nil {
		return executor.State{}, err
	}
	select {
	case s.observed <- struct{}{}:
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, ctx.Err()
}

func (s *scene) Logs(ctx context.Context, _ executor.Handle, from int64) (io.ReadCloser, error) {
	if err := call(s.onLogs); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if from < s.gap {
		return nil, &executor.GapError{Next: s.gap}
	}
	return io.NopCloser(bytes.NewReader(bytes.Clone(s.log[min(from, int64(len(s.log))):]))), ctx.Err()
}

func (s *scene) Stop(context.Context, executor.Handle, time.Duration) error {
	if s.onStop != nil {
		return s.onStop()
	}
	s.end(executor.State{Reason: executor.ReasonStopped})
	return nil
}

func (s *scene) Remove(context.Context, executor.Handle) error { return nil }
