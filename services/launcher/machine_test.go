package launcher

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/litci/litci/pkg/executor"
)

// machine is an executor without processes: its jobs run until end is called.
type machine struct {
	// before is asked at each Start of a job that is not there; n counts its calls for
	// this id from 1. Nil lets every job start.
	before func(ctx context.Context, spec executor.Spec, n int) error
	// after is called when a job was started, before Start returns; its error is lost
	// knowledge of a job that runs.
	after func(ctx context.Context, spec executor.Spec) error

	// damaged is a job that cannot be observed; away is how often List fails.
	damaged string
	away    int
	// removed is called when a job was removed; collections counts the calls of Collect.
	removed     func()
	collections int
	// counted has an element once List has worked.
	counted chan struct{}

	mu    sync.Mutex
	jobs  map[string]*machineJob
	calls map[string]int
	runs  []string
	most  int
	// begun gets the id of each job that begins.
	begun chan string
}

type machineJob struct {
	hash  string
	state executor.State
}

func newMachine() *machine {
	return &machine{jobs: map[string]*machineJob{}, calls: map[string]int{}, begun: make(chan string, 10_000), counted: make(chan struct{}, 1)}
}

func (m *machine) Name() string { return "machine" }

func (m *machine) Start(ctx context.Context, spec executor.Spec) (executor.Handle, error) {
	h := executor.Handle{Executor: "machine", ID: spec.ID}
	m.mu.Lock()
	job := m.jobs[spec.ID]
	m.calls[spec.ID]++
	n := m.calls[spec.ID]
	m.mu.Unlock()
	if job != nil {
		if job.hash != spec.Hash {
			return executor.Handle{}, executor.ErrConflict
		}
		return h, nil
	}
	if m.before != nil {
		if err := m.before(ctx, spec, n); err != nil {
			return executor.Handle{}, err
		}
	}
	if spec.Source != nil {
		source, err := spec.Source(ctx)
		if err != nil {
			return executor.Handle{}, err
		}
		if _, err := io.Copy(io.Discard, source); err != nil {
			return executor.Handle{}, errors.Join(err, source.Close())
		}
		if err := source.Close(); err != nil {
			return executor.Handle{}, err
		}
	}
	m.mu.Lock()
	if m.jobs[spec.ID] != nil { // a second Start was faster
		m.mu.Unlock()
		return h, nil
	}
	m.jobs[spec.ID] = &machineJob{spec.Hash, executor.State{Phase: executor.Running, StartedAt: time.Now()}}
	m.runs = append(m.runs, spec.ID)
	m.most = max(m.most, m.running())
	m.mu.Unlock()
	m.begun <- spec.ID
	if m.after != nil {
		if err := m.after(ctx, spec); err != nil {
			return executor.Handle{}, err
		}
	}
	return h, nil
}

func (m *machine) running() (n int) {
	for _, job := range m.jobs {
		if job.state.Phase == executor.Running {
			n++
		}
	}
	return n
}

func (m *machine) end(id string) { m.endAt(id, time.Now()) }

func (m *machine) endAt(id string, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	code := 0
	m.jobs[id].state = executor.State{Phase: executor.Ended, Reason: executor.ReasonExit, ExitCode: &code, FinishedAt: at}
}

// begunJobs are the ids of all jobs that ever ran, in order, and the largest number
// that ran at a time.
func (m *machine) begunJobs() (ids []string, most int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.runs...), m.most
}

func (m *machine) Observe(_ context.Context, h executor.Handle) (executor.State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h.ID == m.damaged {
		return executor.State{}, errors.New("its state cannot be read")
	}
	if job := m.jobs[h.ID]; job != nil {
		return job.state, nil
	}
	return executor.State{Phase: executor.Absent}, nil
}

func (m *machine) List(context.Context) ([]executor.Handle, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away > 0 {
		m.away--
		return nil, errors.New("away")
	}
	select {
	case m.counted <- struct{}{}:
	default:
	}
	var list []executor.Handle
	for id := range m.jobs {
		list = append(list, executor.Handle{Executor: "machine", ID: id})
	}
	return list, nil
}

func (m *machine) Remove(_ context.Context, h executor.Handle) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if job := m.jobs[h.ID]; job != nil && job.state.Phase != executor.Ended {
		return executor.ErrRunning
	}
	delete(m.jobs, h.ID)
	if m.removed != nil {
		m.removed()
	}
	return nil
}

func (m *machine) Collect(context.Context, time.Time) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.collections++
	return 0, nil
}

func (m *machine) Logs(context.Context, executor.Handle, int64) (io.ReadCloser, error) {
	return nil, errors.New("a machine has no logs")
}

func (m *machine) Stop(_ context.Context, h executor.Handle, _ time.Duration) error {
	m.end(h.ID)
	return nil
}
