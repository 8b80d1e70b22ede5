package kubernetes

import (
	"errors"
	"io/fs"
	"net/http"
	"testing"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/executortest"
	"github.com/litci/litci/pkg/executor/kubernetes/fakekubernetes"
)

// What was removed keeps its name until it is collected; what is not ours, not over or
// not old enough stays.
func TestCollect(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakekubernetes.Options{})
	e := w.executor(t, nil)
	stranger := w.executor(t, func(c *Config) { c.Instance = "another" })
	removed := executortest.Start(t, e, spec("removed", "none", "echo ready\nexit 3\n"))
	kept := executortest.Start(t, e, spec("kept", "none", "true\n"))
	running := executortest.Start(t, e, spec("running", "none", linger))
	waiting := executortest.Start(t, e, spec("waiting", "unschedulable", "true\n"))
	foreign := executortest.Start(t, stranger, spec("foreign", "none", "true\n"))
	end := executortest.Until(t, e, removed, executor.Ended)
	executortest.Until(t, e, kept, executor.Ended)
	executortest.Until(t, stranger, foreign, executor.Ended)
	if err := e.Stop(t.Context(), waiting, 0); err != nil {
		t.Fatal(err)
	}
	executortest.Until(t, e, waiting, executor.Ended)
	for h, by := range map[executor.Handle]*Executor{removed: e, foreign: stranger} {
		if err := by.Remove(t.Context(), h); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Remove(t.Context(), running); !errors.Is(err, executor.ErrRunning) {
		t.Errorf("remove: %v", err)
	}
	if state := executortest.Until(t, w.executor(t, nil), removed, executor.Ended); state.Reason != end.Reason || *state.ExitCode != 3 || state.LogSize != end.LogSize || !state.FinishedAt.Equal(end.FinishedAt) {
		t.Errorf("state is %+v, want %+v", state, end)
	}
	if _, err := e.Logs(t.Context(), removed, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("log: %v", err)
	}
	if n, err := e.Collect(t.Context(), time.Now().Add(-time.Hour)); n != 0 || err != nil {
		t.Errorf("%d were collected too early, %v", n, err)
	}
	w.Fail(fakekubernetes.Fault{Method: http.MethodDelete, Lost: true})
	n, err := e.Collect(t.Context(), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	// The answer to one deletion was lost: that job was gone when it was asked again.
	if n != 1 {
		t.Errorf("%d were collected, not counting the lost one", n)
	}
	for h, there := range map[executor.Handle]bool{removed: false, waiting: false, kept: true, running: true} {
		if state, err := e.Observe(t.Context(), h); err != nil || (state.Phase != executor.Absent) != there {
			t.Errorf("%s is %+v, %v", h.ID, state, err)
		}
	}
	if state, err := stranger.Observe(t.Context(), foreign); err != nil || state.Phase != executor.Ended {
		t.Errorf("the stranger's job is %+v, %v", state, err)
	}
	handles, err := e.List(t.Context())
	if err != nil || len(handles) != 2 {
		t.Errorf("listed are %+v, %v", handles, err)
	}
	// The same id of another installation in the namespace is a conflict.
	if _, err := e.Start(t.Context(), spec("foreign", "none", "true\n")); !errors.Is(err, executor.ErrConflict) {
		t.Errorf("start: %v", err)
	}
}

// Lists are read page by page, and anew when a page is too old.
func TestPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakekubernetes.Options{Page: 2})
	e := w.executor(t, nil)
	want := map[executor.Handle]bool{}
	for _, id := range []string{"a", "b", "c", "d", "e"} {
		want[executortest.Start(t, e, spec("page-"+id, "none", "true\n"))] = true
	}
	for _, expire := range []bool{false, true} {
		if expire {
			w.Fail(fakekubernetes.Fault{Method: http.MethodGet, Path: "/jobs", Expire: true})
		}
		handles, err := e.List(t.Context())
		if err != nil || len(handles) != len(want) {
			t.Errorf("listed are %+v, %v", handles, err)
		}
		for _, h := range handles {
			if !want[h] {
				t.Errorf("%+v is not known", h)
			}
		}
	}
	for h := range want {
		executortest.Until(t, e, h, executor.Ended)
	}
}
