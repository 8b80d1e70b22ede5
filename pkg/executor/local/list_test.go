package local

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/executortest"
)

func ids(t *testing.T, e *Executor) []string {
	t.Helper()
	list, err := e.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, h := range list {
		ids = append(ids, h.ID)
	}
	slices.Sort(ids)
	return ids
}

func TestListNamesWhatRunsAndWhatEnded(t *testing.T) {
	t.Parallel()
	e := newExecutor(t, nil)
	start := func(id, script string) executor.Handle {
		h, err := e.Start(t.Context(), executor.Spec{ID: id, Hash: "h", Script: []byte(script), Timeout: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	start("running", "sleep 1000")
	executortest.Until(t, e, start("ended", "true"), executor.Ended)
	removed := start("removed", "true")
	executortest.Until(t, e, removed, executor.Ended)
	wait(t, "job to be removed", func() bool { return e.Remove(t.Context(), removed) == nil })
	// What is no job's folder is not listed.
	for _, name := range []string{"empty", "Not An Id", trashPrefix + "x"} {
		if err := os.Mkdir(filepath.Join(e.dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := ids(t, e), []string{"ended", "running"}; !slices.Equal(got, want) {
		t.Errorf("listed %v, want %v", got, want)
	}
}
