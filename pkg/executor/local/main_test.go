package local

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/executortest"
	"github.com/litci/litci/pkg/leaktest"
)

// TestMain lets the test binary play the other processes: the supervisor, and a
// launcher that can be killed.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 {
		switch os.Args[1] {
		case "supervise":
			os.Exit(Supervise(os.Args[2]))
		case "launch":
			os.Exit(launchAndMaybeDie(os.Args[2]))
		}
	}
	leaktest.Main(m)
}

// launcher is what the launcher process of a test is told.
type launcher struct {
	Dir    string
	ID     string
	Script string
	User   string
	// Timeout and Grace are the job's.
	Timeout, Grace time.Duration
	// DieAt is the step of Start at which the process kills itself; empty means never.
	DieAt string
}

func launchAndMaybeDie(order string) int {
	var l launcher
	if err := json.Unmarshal([]byte(order), &l); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	e, err := New(Config{Dir: l.Dir, Command: selfCommand(), User: l.User})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	e.step = func(name string) {
		if name == l.DieAt {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	source, err := executortest.Archive(executortest.File("top/file", "content\n", 0o644))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if _, err := e.Start(context.Background(), executor.Spec{
		ID: l.ID, Hash: "h", Script: []byte(l.Script), Timeout: l.Timeout, Grace: l.Grace,
		Source: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(source)), nil },
	}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func selfCommand() []string {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return []string{self, "supervise"}
}

// stateDir is a fresh state directory that a job user can reach.
func stateDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, path := range []string{filepath.Dir(dir), dir} { // whatever the umask
		if err := os.Chmod(path, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "jobs")
}

func newExecutor(t *testing.T, change func(*Config)) *Executor {
	t.Helper()
	config := Config{Dir: stateDir(t), Command: selfCommand()}
	if change != nil {
		change(&config)
	}
	e, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { endAll(t, e) })
	return e
}

// endAll leaves no supervisor behind: it kills those that still run, and waits for
// all of them to let go of their folders.
func endAll(t *testing.T, e *Executor) {
	list, err := e.List(context.Background())
	if err != nil {
		t.Error(err)
	}
	for _, h := range list {
		if err := e.Stop(context.Background(), h, 0); err != nil {
			t.Error(err)
		}
		l, err := waitLock(context.Background(), filepath.Join(e.dir, h.ID, runLock), true)
		if err != nil {
			t.Error(err)
			continue
		}
		l.release()
	}
	e.reap()
}

// alive says whether the process of a number lives.
func alive(pid int) bool {
	p, err := inspect(pid)
	return err == nil && !p.dead()
}

func kill9(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// run plays the launcher in a process of its own and returns when that has ended.
func (l launcher) run(t *testing.T) error {
	t.Helper()
	order, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), selfCommand()[0], "launch", string(order))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("launcher: %w: %s", err, out)
	}
	return nil
}

// waitLimit bounds every wait; it is only reached by what is broken.
const waitLimit = 2 * time.Minute

// wait polls until something has happened.
func wait(t *testing.T, what string, happened func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !happened() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited for %s: %v", what, ctx.Err())
		case <-tick.C:
		}
	}
}

// start begins a job of a script.
func start(t *testing.T, e *Executor, id, script string) executor.Handle {
	t.Helper()
	h, err := e.Start(t.Context(), executor.Spec{ID: id, Hash: "h", Script: []byte(script), Grace: waitLimit})
	if err != nil {
		t.Fatal(err)
	}
	return h
}
