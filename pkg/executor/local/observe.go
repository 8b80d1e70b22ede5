package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/litci/litci/pkg/executor"
)

// Observe reads what the supervisor recorded. A job whose supervisor is gone
// without an end is settled as lost, once: the state that is returned is then on
// disk, and what the job left running is ended. A removed job keeps its state.
func (e *Executor) Observe(ctx context.Context, h executor.Handle) (executor.State, error) {
	if err := ctx.Err(); err != nil {
		return executor.State{}, fmt.Errorf("job %s: %w", h.ID, err)
	}
	e.reap()
	f, err := e.find(h)
	if err != nil {
		return executor.State{}, err
	}
	return e.observe(f)
}

func (e *Executor) observe(f folder) (executor.State, error) {
	s, err := f.status()
	if err != nil {
		return executor.State{}, err
	}
	if s == nil {
		if s, err = e.waiting(f); err != nil {
			return executor.State{}, err
		}
	}
	if s.State.Phase != executor.Running {
		return s.State, nil
	}
	held, err := lockHeld(f.at(runLock))
	if err != nil {
		return executor.State{}, err
	}
	if !held {
		// It may have ended between the two looks; only one that still claims to run
		// is lost.
		return e.settle(f)
	}
	s.State.LogSize = logSize(f.at(logDir))
	return s.State, nil
}

// waiting tells a job that is about to begin from one that is not there. It looks
// for a record last, since the job may begin, and even end, while it looks.
func (e *Executor) waiting(f folder) (*status, error) {
	phase := executor.Absent
	prepared, err := f.record()
	if err != nil {
		return nil, err
	}
	// What an earlier boot prepared is prepared again, so it counts for nothing.
	if prepared != nil && prepared.Boot == e.boot {
		phase = executor.Pending
	}
	for _, name := range []string{launchLock, runLock} {
		held, err := lockHeld(f.at(name))
		if err != nil {
			return nil, err
		}
		if held {
			phase = executor.Pending
		}
	}
	s, err := f.status()
	if err != nil {
		return nil, err
	}
	if s == nil {
		s = &status{State: executor.State{Phase: phase}}
	}
	return s, nil
}

// settle records that a job is lost. Its supervisor is gone and no other can
// begin, so taking the lock disturbs nobody; it orders those who find the loss at
// the same time.
func (e *Executor) settle(f folder) (executor.State, error) {
	l, err := tryLock(f.at(runLock), true)
	held := errors.Is(err, errHeld)
	if err != nil && !held {
		return executor.State{}, fmt.Errorf("job %s: %w", f.id(), err)
	}
	s, err := f.status()
	if err != nil || s == nil {
		if l != nil {
			l.release()
		}
		return executor.State{Phase: executor.Absent}, err
	}
	if s.State.Phase == executor.Ended {
		if l != nil {
			l.release()
		}
		return s.State, nil
	}
	s.State.Phase = executor.Ended
	s.State.Reason = executor.ReasonLost
	s.State.FinishedAt = time.Now().UTC()
	s.State.LogSize = logSize(f.at(logDir))
	s.State.Message = "the job's supervisor was killed"
	if s.Boot != e.boot {
		s.State.Message = "the machine was restarted while the job ran"
	}
	if held {
		// Another observer is writing the very same.
		return s.State, nil
	}
	defer l.release()
	if s.Boot == e.boot {
		for _, p := range marked(f.marker()) {
			// One that ends by itself meanwhile is as good.
			_ = p.signal(unix.SIGKILL)
		}
	}
	if err := f.write(stateFile, s); err != nil {
		return executor.State{}, err
	}
	e.log.Warn("job lost", zap.String("job", f.id()), zap.String("why", s.State.Message))
	return s.State, nil
}

// Logs reads the job's output. A log that is larger than 64 MiB has a gap in the
// middle. The log of a job that is not there, or was removed, is fs.ErrNotExist.
func (e *Executor) Logs(_ context.Context, h executor.Handle, from int64) (io.ReadCloser, error) {
	e.reap()
	f, err := e.find(h)
	if err != nil {
		return nil, err
	}
	if from < 0 {
		return nil, fmt.Errorf("log of job %s: negative offset %d", h.ID, from)
	}
	log, err := openLog(f.at(logDir), from)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("log of job %s: %w", h.ID, fs.ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("log of job %s: %w", h.ID, err)
	}
	return log, nil
}
