package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/executortest"
)

// launcher is what the launcher process of a test is told.
type launcher struct {
	Instance, Shim, ID string
	// DieAt is the step of Start at which the process kills itself; empty means never.
	DieAt string
}

// countedScript says in the log how often it ran, as long as its container lives.
const countedScript = "cat file\necho run >>../home/runs\nwc -l <../home/runs\n"

func (l launcher) spec(source func(context.Context) (io.ReadCloser, error)) executor.Spec {
	return executor.Spec{ID: l.ID, Hash: "h", Script: []byte(countedScript), Image: standIn, Source: source, Timeout: waitLimit}
}

func sourceOfTest(context.Context) (io.ReadCloser, error) {
	data, err := executortest.Archive(executortest.File("top/file", "content\n", 0o644))
	return io.NopCloser(bytes.NewReader(data)), err
}

// launchAndMaybeDie is the launcher's process.
func launchAndMaybeDie(order string) error {
	var l launcher
	if err := json.Unmarshal([]byte(order), &l); err != nil {
		return err
	}
	e, err := New(Options{Instance: l.Instance, Shim: l.Shim, ShimArgs: []string{}, Pull: PullNever, Call: waitLimit})
	if err != nil {
		return err
	}
	e.step = func(name string) {
		if name == l.DieAt {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	_, err = e.Start(context.Background(), l.spec(sourceOfTest))
	return err
}

// run plays the launcher in a process of its own and returns when that has ended.
func (l launcher) run(t *testing.T) error {
	t.Helper()
	order, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), self, "launch", string(order)).CombinedOutput()
	if err != nil {
		return fmt.Errorf("launcher: %w: %s", err, out)
	}
	return nil
}

// A launcher that is killed between any two steps leaves a job that the next one
// brings to its one run.
func TestEngineLauncherIsKilled(t *testing.T) {
	t.Parallel()
	e := newEngine(t, nil)
	for _, step := range []string{"fetched", "created", "filled", "started"} {
		l := launcher{Instance: e.options.Instance, Shim: e.options.Shim, ID: "litci-killed-" + step + "-" + e.options.Instance, DieAt: step}
		err := l.run(t)
		if err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("launcher that dies at %s: %v", step, err)
		}
		l.DieAt = ""
		if err := l.run(t); err != nil {
			t.Fatalf("launcher after one that died at %s: %v", step, err)
		}
		h, err := e.Start(t.Context(), l.spec(sourceOfTest))
		if err != nil {
			t.Fatalf("start after one that died at %s: %v", step, err)
		}
		state := until(t, e, h, executor.Ended)
		if log := output(t, e, h); log != "content\n1\n" || state.Reason != executor.ReasonExit {
			t.Errorf("died at %s: state is %+v, log is %q", step, state, log)
		}
	}
}

// A request to stop that comes before the start holds.
func TestEngineStopBeforeTheStart(t *testing.T) {
	t.Parallel()
	e := newEngine(t, nil)
	for _, step := range []string{"created", "filled"} {
		l := launcher{Instance: e.options.Instance, Shim: e.options.Shim, ID: "litci-stopped-" + step + "-" + e.options.Instance, DieAt: step}
		if err := l.run(t); err == nil {
			t.Fatal("the launcher lives")
		}
		h := executor.Handle{Executor: Kind, ID: l.ID}
		if state, err := e.Observe(t.Context(), h); err != nil || state.Phase != executor.Pending {
			t.Errorf("state is %+v, %v", state, err)
		}
		if err := e.Stop(t.Context(), h, time.Minute); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Start(t.Context(), l.spec(sourceOfTest)); err != nil {
			t.Fatal(err)
		}
		state := until(t, e, h, executor.Ended)
		if state.Reason != executor.ReasonStopped || !state.StartedAt.IsZero() {
			t.Errorf("state is %+v", state)
		}
		if log := output(t, e, h); log != "" {
			t.Errorf("log is %q", log)
		}
	}
}

// What was created and never started is removed as over, and not begun later.
func TestEngineRemoveBeforeTheStart(t *testing.T) {
	t.Parallel()
	e := newEngine(t, nil)
	l := launcher{Instance: e.options.Instance, Shim: e.options.Shim, ID: "litci-unstarted-" + e.options.Instance, DieAt: "filled"}
	if err := l.run(t); err == nil {
		t.Fatal("the launcher lives")
	}
	h := executor.Handle{Executor: Kind, ID: l.ID}
	if err := e.Remove(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	again, err := e.Start(t.Context(), l.spec(func(context.Context) (io.ReadCloser, error) { return nil, errors.New("not to be opened") }))
	if err != nil {
		t.Fatal(err)
	}
	if state := until(t, e, again, executor.Ended); state.Reason != executor.ReasonLost || state.Message == "" {
		t.Errorf("state is %+v", state)
	}
}
