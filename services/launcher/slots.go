package launcher

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/executor"
)

// slots knows which jobs the executor has and lets each of them that has not
// ended hold a slot of the queue.
type slots struct {
	executor executor.Executor
	queue    *queue
	log      *zap.Logger
	poll     time.Duration
	maxPoll  time.Duration
	every    time.Duration

	mu sync.Mutex
	// known are the jobs that were started, by id; true while somebody follows one.
	known map[string]bool
}

func newSlots(e executor.Executor, options Options, log *zap.Logger) *slots {
	return &slots{
		executor: e, queue: newQueue(options.Slots), log: log,
		poll: options.Poll, maxPoll: options.MaxPoll, every: options.Count,
		known: map[string]bool{},
	}
}

// knows tells whether the executor has the job already.
func (s *slots) knows(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.known[id]
	return known
}

// remember takes note of a job that was started.
func (s *slots) remember(h executor.Handle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.known[h.ID]; !known {
		s.known[h.ID] = false
	}
}

// release gives back the slot of a job that was not started.
func (s *slots) release(id string) {
	s.mu.Lock()
	followed := s.known[id]
	s.mu.Unlock()
	if !followed {
		s.queue.release(id)
	}
}

// begin makes the caller the only one that follows a job.
func (s *slots) begin(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known[id] {
		return false
	}
	s.known[id] = true
	return true
}

func (s *slots) end(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[id] = false
}

// follow lets a job hold its slot until it has ended.
func (s *slots) follow(ctx context.Context, h executor.Handle) {
	if !s.begin(h.ID) {
		return
	}
	s.queue.take(h.ID)
	wait := s.poll
	for {
		state, err := s.executor.Observe(ctx, h)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			// Not knowing is no reason to start more.
			s.log.Warn("job cannot be observed", zap.String("job", h.ID), zap.Error(err))
			wait = s.maxPoll
		} else if state.Phase == executor.Ended || state.Phase == executor.Absent {
			s.end(h.ID)
			s.queue.release(h.ID)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(wait+wait/4, s.maxPoll)
	}
}

// count finds the jobs that run and have nobody who follows them: those of an
// earlier launcher, or of another one beside this.
func (s *slots) count(ctx context.Context, follow func(executor.Handle)) error {
	lister, ok := s.executor.(executor.Lister)
	if !ok {
		return nil
	}
	handles, err := lister.List(ctx)
	if err != nil {
		return err
	}
	listed := make(map[string]bool, len(handles))
	for _, h := range handles {
		listed[h.ID] = true
		s.remember(h)
		state, err := s.executor.Observe(ctx, h)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			// One damaged job must not keep the others from running.
			s.log.Warn("job is not counted", zap.String("job", h.ID), zap.Error(err))
			continue
		}
		if state.Phase == executor.Ended || state.Phase == executor.Absent {
			continue
		}
		s.queue.take(h.ID)
		follow(h)
	}
	s.forget(listed)
	return nil
}

// forget drops ended jobs that the executor has no more.
func (s *slots) forget(listed map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, followed := range s.known {
		if !followed && !listed[id] {
			delete(s.known, id)
		}
	}
}

// firstCount counts until it works: not knowing what runs is no reason to start
// more.
func (s *slots) firstCount(ctx context.Context, follow func(executor.Handle)) error {
	for wait := s.maxPoll; ; wait = min(2*wait, s.every) {
		err := s.count(ctx, follow)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		s.log.Warn("jobs that run cannot be counted", zap.Error(err))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// keepCounting counts again and again until ctx ends.
func (s *slots) keepCounting(ctx context.Context, follow func(executor.Handle)) {
	tick := time.NewTicker(s.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := s.count(ctx, follow); err != nil && ctx.Err() == nil {
			s.log.Warn("jobs that run cannot be counted", zap.Error(err))
		}
	}
}
