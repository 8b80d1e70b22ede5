package local

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/litci/litci/pkg/executor"
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
	goleak.VerifyTestMain(m)
}

// launcher is what the launcher process of a test is told.
type launcher struct {
	Dir    string
	ID     string
	Script string
	User   string
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
	if _, err := e.Start(context.Background(), executor.Spec{ID: l.ID, Hash: "h", Script: []byte(l.Script)}); err != nil {
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
	if err := os.Chmod(filepath.Dir(dir), 0o711); err != nil {
		t.Fatal(err)
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

// command reads what a process was begun with.
func command(pid int) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return ""
	}
	return strings.ReplaceAll(string(data), "\x00", " ")
}

func kill9(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
}
