package local

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/executortest"
)

// untilTerm runs until it is told to end, and says when it is ready for that.
const untilTerm = "trap 'exit 5' TERM\necho ready\nwhile :; do sleep 0.02 || :; done\n"

func TestLauncherKilledBetweenSteps(t *testing.T) {
	for _, step := range []string{"claimed", "cleared", "made folders", "unpacked", "wrote files", "prepared", "spawned", "recorded"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			e := newExecutor(t, nil)
			runs := filepath.Join(t.TempDir(), "runs")
			l := launcher{Dir: e.dir, ID: "litci-job", Script: "echo run >>" + runs + "\ncat file\n", DieAt: step}
			if err := l.run(t); err == nil || !strings.Contains(err.Error(), "killed") {
				t.Fatalf("the launcher was to die: %v", err)
			}
			h := e.handle(l.ID)
			if state, err := e.Observe(t.Context(), h); err != nil || state.Reason == executor.ReasonLost {
				t.Errorf("state after the launcher's death is %+v, %v", state, err)
			}
			l.DieAt = ""
			var wg sync.WaitGroup
			errs := make([]error, 3)
			for i := range errs {
				wg.Go(func() { errs[i] = l.run(t) })
			}
			wg.Wait()
			for _, err := range errs {
				if err != nil {
					t.Error(err)
				}
			}
			state := executortest.Until(t, e, h, executor.Ended)
			if state.Reason != executor.ReasonExit || *state.ExitCode != 0 {
				t.Errorf("state is %+v", state)
			}
			if log := executortest.Output(t, e, h); log != "content\n" {
				t.Errorf("log is %q", log)
			}
			if data, err := os.ReadFile(runs); err != nil || string(data) != "run\n" {
				t.Errorf("runs are %q, %v", data, err)
			}
		})
	}
}

// A supervisor that dies before it has recorded anything is begun again.
func TestSupervisorKilledBeforeItsRecord(t *testing.T) {
	t.Parallel()
	e := newExecutor(t, nil)
	e.command = []string{"/bin/sh", "-c", "echo broken >&3; kill -9 $$"}
	spec := executor.Spec{ID: "litci-job", Hash: "h", Script: []byte("echo run\n")}
	_, err := e.Start(t.Context(), spec)
	if err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("start with a broken supervisor: %v", err)
	}
	h := e.handle(spec.ID)
	if state, err := e.Observe(t.Context(), h); err != nil || state.Phase != executor.Pending {
		t.Errorf("state is %+v, %v", state, err)
	}
	e.command = selfCommand()
	if _, err := e.Start(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	executortest.Until(t, e, h, executor.Ended)
	if log := executortest.Output(t, e, h); log != "run\n" {
		t.Errorf("log is %q", log)
	}
}

func TestJobOutlivesItsLauncher(t *testing.T) {
	t.Parallel()
	e := newExecutor(t, nil)
	l := launcher{Dir: e.dir, ID: "litci-job", Script: untilTerm, DieAt: "recorded"}
	if err := l.run(t); err == nil {
		t.Fatal("the launcher was to die")
	}
	h := e.handle(l.ID)
	executortest.Until(t, e, h, executor.Running)
	wait(t, "the script to be ready", func() bool { return executortest.Output(t, e, h) == "ready\n" })
	if err := e.Stop(t.Context(), h, waitLimit); err != nil {
		t.Fatal(err)
	}
	state := executortest.Until(t, e, h, executor.Ended)
	if state.Reason != executor.ReasonStopped || *state.ExitCode != 5 {
		t.Errorf("state is %+v", state)
	}
}

// Nobody of litci lives, and nobody looks, while the deadline passes.
func TestDeadlineWithoutAnybody(t *testing.T) {
	t.Parallel()
	e := newExecutor(t, nil)
	for timeout := 300 * time.Millisecond; ; timeout *= 4 {
		l := launcher{
			Dir: e.dir, ID: "litci-job-" + fmt.Sprint(timeout.Milliseconds()), DieAt: "recorded", Timeout: timeout, Grace: 100 * time.Millisecond,
			Script: "trap '' TERM\necho $$\nwhile :; do sleep 0.02 || :; done\n",
		}
		if err := l.run(t); err == nil {
			t.Fatal("the launcher was to die")
		}
		// The supervisor holds this lock to its end.
		lock, err := waitLock(t.Context(), filepath.Join(e.dir, l.ID, runLock), false)
		if err != nil {
			t.Fatal(err)
		}
		lock.release()
		h := e.handle(l.ID)
		log := executortest.Output(t, e, h)
		if log == "" && timeout < waitLimit/4 {
			continue // a slow machine had not begun the script
		}
		state, err := e.Observe(t.Context(), h)
		if err != nil || state.Reason != executor.ReasonTimeout || *state.ExitCode != 137 {
			t.Errorf("state is %+v, %v", state, err)
		}
		if pid := firstPID(t, log); alive(pid) {
			t.Errorf("script %d lives", pid)
		}
		return
	}
}

func firstPID(t *testing.T, log string) int {
	t.Helper()
	first, _, _ := strings.Cut(log, "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatalf("process id in %q: %v", log, err)
	}
	return pid
}

func TestSupervisorKilledIsLost(t *testing.T) {
	t.Parallel()
	e := newExecutor(t, nil)
	h := start(t, e, "litci-job", "setsid sleep 1000 &\necho $$ $!\nwait\n")
	var script, escaped int
	wait(t, "process ids", func() bool {
		n, _ := fmt.Sscanf(executortest.Output(t, e, h), "%d %d\n", &script, &escaped)
		return n == 2
	})
	s, err := folder{filepath.Join(e.dir, h.ID)}.status()
	if err != nil {
		t.Fatal(err)
	}
	if !alive(s.PID) || !alive(script) || !alive(escaped) {
		t.Fatal("the job does not run")
	}
	kill9(t, s.PID)
	state := executortest.Until(t, e, h, executor.Ended)
	if state.Reason != executor.ReasonLost || state.ExitCode != nil {
		t.Errorf("state is %+v", state)
	}
	wait(t, "script and escaped child to die", func() bool { return !alive(script) && !alive(escaped) })
	if again := start(t, e, h.ID, "setsid sleep 1000 &\necho $$ $!\nwait\n"); again != h {
		t.Errorf("handle is %+v, want %+v", again, h)
	}
	if later := executortest.Until(t, e, h, executor.Ended); !later.FinishedAt.Equal(state.FinishedAt) {
		t.Errorf("state changed from %+v to %+v", state, later)
	}
	if err := e.Remove(t.Context(), h); err != nil {
		t.Error(err)
	}
}

func TestSupervisorEndedFromOutside(t *testing.T) {
	t.Parallel()
	e := newExecutor(t, nil)
	h := start(t, e, "litci-job", untilTerm)
	wait(t, "the script to be ready", func() bool { return executortest.Output(t, e, h) == "ready\n" })
	s, err := folder{filepath.Join(e.dir, h.ID)}.status()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(s.PID, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	state := executortest.Until(t, e, h, executor.Ended)
	if state.Reason != executor.ReasonInfrastructure || *state.ExitCode != 5 {
		t.Errorf("state is %+v", state)
	}
}

func TestNoProcessIsLeft(t *testing.T) {
	const tree = `trap '' TERM
setsid bash -c 'trap "" TERM; echo $$; while :; do sleep 1 || :; done' &
( ( trap '' TERM; echo $BASHPID; while :; do sleep 1 || :; done ) & )
( ( setsid env -i bash -c 'trap "" TERM; echo $$; while :; do /bin/sleep 1 || :; done' ) & )
`
	for name, test := range map[string]struct {
		end     string
		timeout time.Duration
		reason  executor.Reason
	}{
		"normal end": {"while test $(cat ../log/0* 2>/dev/null | wc -l) -lt 3; do sleep 0.01; done\nexit 0\n", waitLimit, executor.ReasonExit},
		"deadline":   {"while :; do sleep 1 || :; done\n", time.Second, executor.ReasonTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newExecutor(t, nil)
			for timeout := test.timeout; ; timeout *= 4 {
				h, err := e.Start(t.Context(), executor.Spec{
					ID: "litci-job-" + fmt.Sprint(timeout.Milliseconds()), Hash: "h", Script: []byte(tree + test.end),
					Timeout: timeout, Grace: 100 * time.Millisecond,
				})
				if err != nil {
					t.Fatal(err)
				}
				state := executortest.Until(t, e, h, executor.Ended)
				pids := strings.Fields(executortest.Output(t, e, h))
				if len(pids) < 3 && timeout < waitLimit/4 {
					continue // a slow machine had not begun them all
				}
				if state.Reason != test.reason {
					t.Errorf("state is %+v", state)
				}
				if len(pids) != 3 {
					t.Fatalf("processes are %q", pids)
				}
				for _, text := range pids {
					if pid := firstPID(t, text); alive(pid) {
						t.Errorf("process %d lives", pid)
					}
				}
				return
			}
		})
	}
}

func TestSupervisorsAreReaped(t *testing.T) {
	t.Parallel()
	e := newExecutor(t, nil)
	h := start(t, e, "litci-job", "true\n")
	executortest.Until(t, e, h, executor.Ended)
	wait(t, "the supervisor to be reaped", func() bool {
		e.reap()
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.children) == 0
	})
	s, err := folder{filepath.Join(e.dir, h.ID)}.status()
	if err != nil {
		t.Fatal(err)
	}
	if p, err := inspect(s.PID); err == nil && p.born == s.Born {
		t.Errorf("supervisor is in state %c", p.state)
	}
}
