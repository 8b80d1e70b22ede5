package lightning

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/executortest"
	"github.com/litci/litci/pkg/executor/lightning/fakelightning"
)

// Each way that the service goes about a job, seen through Observe.
func TestScripts(t *testing.T) {
	t.Parallel()
	const linger = "echo ready\nwhile :; do sleep 0.05; done\n"
	// The first machine is taken while the script runs, however long that takes.
	twice := "if mkdir " + t.TempDir() + "/begun 2>/dev/null; then\n" + linger + "fi\necho ready\n"
	for image, test := range map[string]struct {
		script string
		change func(*executor.Spec)
		reason executor.Reason
		code   string
		log    string
		says   string
	}{
		"ok":              {script: "echo ready\nexit 0\n", reason: executor.ReasonExit, code: "0", log: "ready\n"},
		"ok-late-pending": {script: "echo ready\nexit 3\n", reason: executor.ReasonExit, code: "3", log: "ready\n"},
		"unknown-state":   {script: "echo ready\n", reason: executor.ReasonExit, code: "0", log: "ready\n"},
		"false-failure":   {script: "echo ready\n", reason: executor.ReasonInfrastructure, code: "none", log: "ready\n", says: "artifacts"},
		"preempt-restart": {
			script: twice, reason: executor.ReasonExit, code: "0", log: "ready\nready\n",
			change: func(s *executor.Spec) { s.Interruptible = true },
		},
		"preempt-dead": {script: linger, reason: executor.ReasonPreempted, code: "none", log: "ready\n"},
		"preempt-silent": {
			script: linger, reason: executor.ReasonPreempted, code: "none", log: "ready\n",
			change: func(s *executor.Spec) { s.Interruptible = true },
		},
		"memory":    {script: linger, reason: executor.ReasonMemory, code: "none", log: "ready\n", says: "exceeded its memory"},
		"failed":    {script: linger, reason: executor.ReasonInfrastructure, code: "none", log: "ready\n", says: "does not tell"},
		"no-marker": {script: "echo ready\n", reason: executor.ReasonLost, code: "none", log: "ready\n", says: "does not tell"},
		"infra":     {script: "echo never\n", reason: executor.ReasonInfrastructure, code: "none", says: "image pull failed"},
		"no-gpu": {
			script: "echo never\n", reason: executor.ReasonInfrastructure, code: "none", says: "no GPU",
			change: func(s *executor.Spec) { s.Machine = "T4" },
		},
	} {
		t.Run(image, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, fakelightning.Options{})
			e := w.executor(t, nil)
			job := spec(image, image, test.script)
			if test.change != nil {
				test.change(&job)
			}
			h := executortest.Start(t, e, job)
			state, before := follow(t, e, h, executor.Ended)
			code := "none"
			if state.ExitCode != nil {
				code = strconv.Itoa(*state.ExitCode)
			}
			if state.Reason != test.reason || code != test.code || !strings.Contains(state.Message, test.says) {
				t.Errorf("state is %+v, exit code %s", state, code)
			}
			if log := executortest.Output(t, e, h); log != test.log {
				t.Errorf("log is %q, want %q", log, test.log)
			}
			// What has run never waits for a machine again.
			running := false
			for _, s := range before {
				running = running || s.Phase == executor.Running
				if running && s.Phase == executor.Pending {
					t.Errorf("pending behind the run: %+v", before)
					break
				}
			}
			// Another process, which has seen nothing, comes to the same.
			late := executortest.Until(t, w.executor(t, nil), h, executor.Ended)
			if late.Reason != state.Reason || !late.FinishedAt.Equal(state.FinishedAt) {
				t.Errorf("another process sees %+v, the first one %+v", late, state)
			}
		})
	}
}

// A process that looks at the end of a run for the first time, and is told "pending",
// does not think that the job waits for a machine.
func TestLatePendingForAnotherProcess(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakelightning.Options{})
	h := executortest.Start(t, w.executor(t, nil), spec("late", "ok-late-pending", "echo ready\n"))
	for {
		e := w.executor(t, nil) // remembers nothing
		begun := strings.Contains(executortest.Output(t, e, h), "ready")
		state, err := e.Observe(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		// The word is of this very look, since nobody else looks.
		if raw := w.Jobs()[0].State; begun && raw == "pending" && state.Phase != executor.Running {
			t.Errorf("state is %+v", state)
		}
		if state.Phase == executor.Ended {
			break
		}
	}
}

func TestVanishedJobIsAbsent(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{false, true} {
		w := newWorld(t, fakelightning.Options{KeepDeleted: keep})
		e := w.executor(t, nil)
		h := executortest.Start(t, e, spec("vanished", "vanished", "echo ready\nsleep 1000\n"))
		executortest.Until(t, e, h, executor.Absent)
		if _, err := w.executor(t, nil).Logs(t.Context(), h, 0); !keep && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("log: %v", err)
		}
	}
}

// A teamspace that cannot be reached does not make its jobs lost.
func TestLostPermissionIsNoLostJob(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakelightning.Options{})
	e := w.executor(t, nil)
	if _, err := e.place(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.Fault(fakelightning.Fault{Kind: fakelightning.Refused, Method: "GET", Path: "/v1/projects/01kfakeproject"})
	if state, err := e.Observe(t.Context(), executor.Handle{ID: "litci-a", Ref: "job_unknown"}); err == nil {
		t.Errorf("state is %+v", state)
	}
}

func TestStopOfAJobThatWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakelightning.Options{})
	e := w.executor(t, nil)
	h := executortest.Start(t, e, spec("stuck", "stuck", "echo never\n"))
	if err := e.Stop(t.Context(), h, time.Minute); err != nil {
		t.Fatal(err)
	}
	state := executortest.Until(t, e, h, executor.Ended)
	if state.Reason != executor.ReasonStopped || state.ExitCode != nil || !state.StartedAt.IsZero() {
		t.Errorf("state is %+v", state)
	}
	var asked []string
	for _, r := range w.Requests() {
		if r.Method == "PUT" {
			asked = append(asked, r.Body)
		}
	}
	if !slices.Equal(asked, []string{`{"state":"stop"}`}) {
		t.Errorf("asked for %q", asked)
	}
}

// Logs that are only in the saved file, which comes late.
func TestSavedLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakelightning.Options{NoLines: true, SavedAfter: 3})
	e := w.executor(t, nil)
	h := executortest.Start(t, e, spec("saved", "ok", "echo '[INFO] first'\nprintf 'a\\rb\\377'\nexit 7\n"))
	state := executortest.Until(t, e, h, executor.Ended)
	if state.ExitCode == nil || *state.ExitCode != 7 || state.Reason != executor.ReasonExit {
		t.Errorf("state is %+v", state)
	}
	const want = "[INFO] first\na\rb\xff"
	for range 2 {
		if log := executortest.Output(t, e, h); log != want {
			t.Errorf("log is %q, want %q", log, want)
		}
	}
}

// The service's clock is not ours.
func TestSkewedClock(t *testing.T) {
	t.Parallel()
	for _, skew := range []time.Duration{-3 * time.Hour, 3 * time.Hour} {
		w := newWorld(t, fakelightning.Options{Skew: skew})
		e := w.executor(t, nil)
		h := executortest.Start(t, e, spec("skew", "ok", "echo ready\nexit 5\n"))
		state := executortest.Until(t, e, h, executor.Ended)
		if state.ExitCode == nil || *state.ExitCode != 5 {
			t.Errorf("state is %+v", state)
		}
		if log := executortest.Output(t, e, h); log != "ready\n" {
			t.Errorf("log is %q", log)
		}
	}
}

// A log that is too large keeps its beginning and its end, and says what is missing.
func TestLargeLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakelightning.Options{})
	e := w.executor(t, func(c *Config) { c.LogHead, c.LogTail = 1000, 500 })
	h := executortest.Start(t, e, spec("large", "ok", "printf '%05d\\n' $(seq 0 1999)\n")) // 12,000 bytes
	state := executortest.Until(t, e, h, executor.Ended)
	if state.LogSize != 12_000 {
		t.Errorf("log size is %d", state.LogSize)
	}
	read := func(e *Executor, from int64) (string, *executor.GapError) {
		r, err := e.Logs(t.Context(), h, from)
		if gap, ok := errors.AsType[*executor.GapError](err); ok {
			return "", gap
		}
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var b strings.Builder
		if _, err := io.Copy(&b, r); err != nil {
			t.Fatal(err)
		}
		return b.String(), nil
	}
	for _, e := range []*Executor{e, w.executor(t, nil)} {
		head, gap := read(e, 0)
		if gap != nil || len(head) != 1000 || !strings.HasPrefix(head, "00000\n00001\n") {
			t.Errorf("head is %q, %v", head, gap)
		}
		for _, from := range []int64{1000, 5000} {
			if text, gap := read(e, from); gap == nil || gap.Next != 11_500 {
				t.Errorf("from %d there is %q, %v", from, text, gap)
			}
		}
		tail, gap := read(e, 11_500)
		if gap != nil || len(tail) != 500 || !strings.HasSuffix(tail, "01999\n") {
			t.Errorf("tail is %q, %v", tail, gap)
		}
		if rest, gap := read(e, 12_000); gap != nil || rest != "" {
			t.Errorf("rest is %q, %v", rest, gap)
		}
	}
}
