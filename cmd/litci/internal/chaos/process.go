package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// process is one program of the mesh, which may be ended and started again.
type process struct {
	name, kind string
	program    string
	args, env  []string
	dir        string // it runs there
	log        string // file that its output is added to
	admin      string // where it tells whether it is ready; empty for NATS
	// ended hears of an end that nobody asked for.
	ended func(p *process, state string)

	// turn is held by whoever kills or starts the process.
	turn sync.Mutex

	mu    sync.Mutex
	cmd   *exec.Cmd
	asked bool // its end was asked for
	done  chan struct{}
}

// start runs the program. turn is held.
func (p *process) start() error {
	out, err := os.OpenFile(p.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("log of %s: %w", p.name, err)
	}
	defer out.Close() // the process has its own
	cmd := exec.Command(p.program, p.args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = p.env, p.dir, out, out
	// A group of its own: Ctrl-C is for the harness, which ends the others in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	done := make(chan struct{})
	p.mu.Lock()
	p.cmd, p.done, p.asked = cmd, done, false
	p.mu.Unlock()
	go func() {
		_ = cmd.Wait() // how it ended is in its state
		p.mu.Lock()
		asked := p.asked
		p.mu.Unlock()
		if !asked {
			p.ended(p, cmd.ProcessState.String())
		}
		close(done)
	}()
	return nil
}

// kill ends the process with SIGKILL and returns when it is gone. turn is held.
func (p *process) kill() error {
	_, err := p.end(os.Kill, nil)
	return err
}

// stop asks the process to end, and kills it when it takes longer than ctx: then it
// did not obey. turn is held.
func (p *process) stop(ctx context.Context) (obeyed bool, err error) {
	return p.end(syscall.SIGTERM, ctx.Done())
}

func (p *process) end(first os.Signal, late <-chan struct{}) (obeyed bool, err error) {
	p.mu.Lock()
	p.asked = true
	cmd, done := p.cmd, p.done
	p.mu.Unlock()
	if cmd == nil {
		return true, nil
	}
	if err := cmd.Process.Signal(first); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return true, fmt.Errorf("end of %s: %w", p.name, err)
	}
	select {
	case <-done:
		return true, nil
	case <-late:
	}
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return false, fmt.Errorf("end of %s: %w", p.name, err)
	}
	<-done
	return false, nil
}

// gone is closed when the process that runs now has ended.
func (p *process) gone() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done
}

// readyTimeout bounds one question after readiness.
const readyTimeout = 2 * time.Second

// ready tells whether the process says that it is.
func (p *process) ready(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+"/readyz", nil)
	if err != nil {
		return false
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close() // only the status matters
	return res.StatusCode == http.StatusOK
}
