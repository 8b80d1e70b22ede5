package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"github.com/litci/litci/pkg/executor"
)

// Stop leaves a request in the job's folder and wakes its supervisor. The request
// holds even when nobody is there to be woken: a supervisor looks for it before it
// begins the script. A second request can only shorten the grace of the first.
func (e *Executor) Stop(_ context.Context, h executor.Handle, grace time.Duration) error {
	e.reap()
	f, err := e.find(h)
	if err != nil {
		return err
	}
	state, err := e.observe(f)
	if err != nil {
		return err
	}
	if state.Phase == executor.Absent || state.Phase == executor.Ended {
		return nil
	}
	err = f.write(stopFile, request{Grace: max(grace, 0), At: time.Now().UTC()})
	if errors.Is(err, fs.ErrNotExist) {
		return nil // collected meanwhile
	}
	if err != nil {
		return fmt.Errorf("request to stop: %w", err)
	}
	if s, err := f.status(); err == nil && s != nil {
		s.wake(e.boot)
	}
	return nil
}

// wake makes the supervisor look for a request now; it would by itself a little
// later.
func (s *status) wake(boot string) {
	if s.Boot != boot || s.State.Phase != executor.Running {
		return
	}
	p := process{pid: s.PID, born: s.Born}
	_ = p.signal(unix.SIGUSR1)
}
