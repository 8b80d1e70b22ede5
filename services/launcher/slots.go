package launcher

import (
	"context"
	"fmt"
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
	// ended is told of each job that holds its slot no more, before the slot is free.
	ended   func(ctx context.Context, id string)
	log     *zap.Logger
	poll    time.Duration
	maxPoll time.Duration
	every   time.Duration

	// listing has room for one: lists may take seconds, and are asked for one at a time.
	// Who has it may use asked, when the last one was, and answer, its error.
	listing chan struct{}
	asked   time.Time
	answer  error

	mu sync.Mutex
	// known are the jobs that were started, by id; true while somebody follows one.
	known map[string]bool
}

func newSlots(e executor.Executor, q *queue, ended func(context.Context, string), options Options, log *zap.Logger) *slots {
	return &slots{
		executor: e, queue: q, ended: ended, log: log,
		poll: options.Poll, maxPoll: options.MaxPoll, every: options.Count,
		listing: make(chan struct{}, 1), known: map[string]bool{},
	}
}

// knows tells whether the executor has the job already.
func (s *slots) knows(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.known[id]
	return known
}

// fresh is how long before a message came the list of the executor's jobs may have
// been asked for: whoever had the message before let go of it longer ago. One that
// stops hands a message over half a second later, and a dead one an ack wait later.
const fresh = 250 * time.Millisecond

// find asks the executor for a job that another launcher may have started before it
// died. After a restart thousands ask at once: they share a list, or its failure.
func (s *slots) find(ctx context.Context, id string) (bool, error) {
	lister, ok := s.executor.(executor.Lister)
	if !ok {
		return false, nil
	}
	oldest := time.Now().Add(-fresh)
	if err := s.refresh(ctx, lister, oldest); err != nil {
		return false, fmt.Errorf("jobs of the executor: %w", err)
	}
	return s.knows(id), nil
}

// refresh sees to it that the jobs are known that the executor had at a time.
func (s *slots) refresh(ctx context.Context, lister executor.Lister, oldest time.Time) error {
	select {
	case s.listing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.listing }()
	if s.asked.Before(oldest) {
		_, err := s.list(ctx, lister)
		return err
	}
	return s.answer
}

// listAnew asks which jobs the executor has now.
func (s *slots) listAnew(ctx context.Context, lister executor.Lister) ([]executor.Handle, error) {
	select {
	case s.listing <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-s.listing }()
	return s.list(ctx, lister)
}

// list asks which jobs the executor has, and remembers them. The caller has listing.
func (s *slots) list(ctx context.Context, lister executor.Lister) ([]executor.Handle, error) {
	began := time.Now()
	handles, err := lister.List(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err() // that says nothing to others
	}
	s.asked, s.answer = began, err
	for _, h := range handles {
		s.remember(h)
	}
	return handles, err
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
func (s *slots) release(ctx context.Context, id string) {
	s.mu.Lock()
	followed := s.known[id]
	s.mu.Unlock()
	if !followed {
		s.ended(ctx, id)
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
			s.ended(ctx, h.ID)
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
	handles, err := s.listAnew(ctx, lister)
	if err != nil {
		return err
	}
	listed := make(map[string]bool, len(handles))
	for _, h := range handles {
		listed[h.ID] = true
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
