package local

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/executortest"
)

// A request that is on disk holds, even when the process that wrote it died before
// it could wake the supervisor.
func TestStopWithoutSignal(t *testing.T) {
	t.Parallel()
	e := newExecutor(t, nil)
	h := start(t, e, "litci-job", untilTerm)
	wait(t, "the script to be ready", func() bool { return executortest.Output(t, e, h) == "ready\n" })
	f := folder{filepath.Join(e.dir, h.ID)}
	if err := f.write(stopFile, request{Grace: waitLimit, At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	state := executortest.Until(t, e, h, executor.Ended)
	if state.Reason != executor.ReasonStopped || *state.ExitCode != 5 {
		t.Errorf("state is %+v", state)
	}
}

func TestStopBeforeTheScript(t *testing.T) {
	t.Parallel()
	e := newExecutor(t, nil)
	l := launcher{Dir: e.dir, ID: "litci-job", Script: "echo run\n", DieAt: "prepared"}
	if err := l.run(t); err == nil {
		t.Fatal("the launcher was to die")
	}
	h := e.handle(l.ID)
	if err := e.Stop(t.Context(), h, time.Second); err != nil {
		t.Fatal(err)
	}
	l.DieAt = ""
	if err := l.run(t); err != nil {
		t.Fatal(err)
	}
	state := executortest.Until(t, e, h, executor.Ended)
	if state.Reason != executor.ReasonStopped || state.ExitCode != nil || state.LogSize != 0 {
		t.Errorf("state is %+v", state)
	}
}

// A second request shortens the grace of the first.
func TestStopTwice(t *testing.T) {
	t.Parallel()
	e := newExecutor(t, nil)
	h := start(t, e, "litci-job", "trap 'echo asked' TERM\necho ready\nexec 2>/dev/null\nwhile :; do sleep 0.02 || :; done\n")
	wait(t, "the script to be ready", func() bool { return executortest.Output(t, e, h) == "ready\n" })
	if err := e.Stop(t.Context(), h, time.Hour); err != nil {
		t.Fatal(err)
	}
	wait(t, "the script to be asked", func() bool { return executortest.Output(t, e, h) == "ready\nasked\n" })
	if err := e.Stop(t.Context(), h, 0); err != nil {
		t.Fatal(err)
	}
	state := executortest.Until(t, e, h, executor.Ended)
	if state.Reason != executor.ReasonStopped || *state.ExitCode != 137 {
		t.Errorf("state is %+v", state)
	}
	if log := executortest.Output(t, e, h); log != "ready\nasked\n" {
		t.Errorf("log is %q", log)
	}
}

// What the script started gets its grace, even when the script obeys at once.
func TestGraceIsForTheWholeTree(t *testing.T) {
	t.Parallel()
	e := newExecutor(t, nil)
	h := start(t, e, "litci-job", "bash -c 'trap \"sleep 0.3; echo saved; exit\" TERM; echo ready; while :; do sleep 0.02 || :; done' 2>/dev/null\n")
	wait(t, "the script to be ready", func() bool { return executortest.Output(t, e, h) == "ready\n" })
	if err := e.Stop(t.Context(), h, waitLimit); err != nil {
		t.Fatal(err)
	}
	if state := executortest.Until(t, e, h, executor.Ended); state.Reason != executor.ReasonStopped {
		t.Errorf("state is %+v", state)
	}
	if log := executortest.Output(t, e, h); log != "ready\nsaved\n" {
		t.Errorf("log is %q", log)
	}
}
