package local

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/executortest"
)

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, entry := range entries {
		list = append(list, entry.Name())
	}
	return list
}

// Go's module cache takes the write permission away from its directories.
func TestRemoveLeavesATombstone(t *testing.T) {
	t.Parallel()
	e := newExecutor(t, nil)
	script := "mkdir -p a/b/c; touch a/b/c/file; ln -s /etc a/b/link; chmod 555 a/b/c a/b; chmod 0 a\n"
	h := start(t, e, "litci-job", script)
	end := executortest.Until(t, e, h, executor.Ended)
	if err := e.Remove(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(e.dir, h.ID)
	if got := names(t, path); !slices.Equal(got, []string{launchLock, runLock, stateFile}) {
		t.Errorf("left are %q", got)
	}
	if again := start(t, e, h.ID, script); again != h {
		t.Errorf("late start gave %+v, want %+v", again, h)
	}
	state, err := e.Observe(t.Context(), h)
	if err != nil || state.Reason != executor.ReasonExit || !state.FinishedAt.Equal(end.FinishedAt) {
		t.Errorf("state is %+v, %v, want %+v", state, err, end)
	}
	if got := names(t, path); !slices.Equal(got, []string{launchLock, runLock, stateFile}) {
		t.Errorf("left after a late start are %q", got)
	}
}

func TestRemoveOfAPreparedJobPreventsIt(t *testing.T) {
	t.Parallel()
	e := newExecutor(t, nil)
	l := launcher{Dir: e.dir, ID: "litci-job", Script: "echo run\n", DieAt: "prepared"}
	if err := l.run(t); err == nil {
		t.Fatal("the launcher was to die")
	}
	h := e.handle(l.ID)
	if err := e.Remove(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	l.DieAt = ""
	if err := l.run(t); err != nil {
		t.Fatal(err)
	}
	state, err := e.Observe(t.Context(), h)
	if err != nil || state.Reason != executor.ReasonLost || !state.StartedAt.IsZero() {
		t.Errorf("state is %+v, %v", state, err)
	}
}

// A launcher that stops must not wait for hundreds of folders.
func TestNothingIsBegunWhenCtxHasEnded(t *testing.T) {
	t.Parallel()
	e := newExecutor(t, nil)
	h := start(t, e, "litci-job", "true\n")
	executortest.Until(t, e, h, executor.Ended)
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := e.Observe(ended, h); !errors.Is(err, context.Canceled) {
		t.Errorf("Observe: %v", err)
	}
	if err := e.Remove(ended, h); !errors.Is(err, context.Canceled) {
		t.Errorf("Remove: %v", err)
	}
	if n, err := e.Collect(ended, time.Now().Add(time.Hour)); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("Collect: %d, %v", n, err)
	}
	if got := names(t, filepath.Join(e.dir, h.ID)); !slices.Contains(got, logDir) {
		t.Errorf("left are %q", got)
	}
}

func TestCollect(t *testing.T) {
	t.Parallel()
	e := newExecutor(t, nil)
	old := start(t, e, "litci-old", "true\n")
	buried := start(t, e, "litci-buried", "true\n")
	executortest.Until(t, e, old, executor.Ended)
	executortest.Until(t, e, buried, executor.Ended)
	if err := e.Remove(t.Context(), buried); err != nil {
		t.Fatal(err)
	}
	l := launcher{Dir: e.dir, ID: "litci-unfinished", Script: "true\n", DieAt: "unpacked"}
	if err := l.run(t); err == nil {
		t.Fatal("the launcher was to die")
	}
	running := start(t, e, "litci-running", untilTerm)
	// Not ours, or rests of an interrupted collection.
	for _, dir := range []string{"foreign", "Foreign.d", trashPrefix + "litci-rest"} {
		if err := os.MkdirAll(filepath.Join(e.dir, dir, "deep"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := e.Collect(t.Context(), time.Now().Add(-time.Hour)); err != nil || n != 0 {
		t.Errorf("collected %d young jobs, %v", n, err)
	}
	// A supervisor that has recorded its end may hold its folder a moment longer.
	collected := 0
	wait(t, "the old jobs to be collected", func() bool {
		n, err := e.Collect(t.Context(), time.Now().Add(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		collected += n
		return collected >= 3
	})
	if got, want := names(t, e.dir), []string{"Foreign.d", "foreign", running.ID}; !slices.Equal(got, want) || collected != 3 {
		t.Errorf("collected %d, left are %q, want %q", collected, got, want)
	}
	if state, err := e.Observe(t.Context(), running); err != nil || state.Phase != executor.Running {
		t.Errorf("state of the running job is %+v, %v", state, err)
	}
	if state, err := e.Observe(t.Context(), old); err != nil || state.Phase != executor.Absent {
		t.Errorf("state of the collected job is %+v, %v", state, err)
	}
}

// Collect, Remove and Start of one job at the same time never break each other.
func TestStartWhileCollecting(t *testing.T) {
	t.Parallel()
	e := newExecutor(t, nil)
	for range 10 {
		done := make(chan error)
		go func() {
			_, err := e.Collect(t.Context(), time.Now().Add(time.Hour))
			done <- err
		}()
		h := start(t, e, "litci-job", "true\n")
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		wait(t, "the job to be over", func() bool {
			state, err := e.Observe(t.Context(), h)
			if err != nil {
				t.Fatal(err)
			}
			if state.Reason == executor.ReasonLost {
				t.Fatalf("state is %+v", state)
			}
			return state.Phase == executor.Ended || state.Phase == executor.Absent
		})
	}
}
