package local

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/litci/litci/pkg/executor"
)

// TestObserveReadsTheFolder has folders as crashes leave them.
func TestObserveReadsTheFolder(t *testing.T) {
	t.Parallel()
	e := newExecutor(t, nil)
	begun := executor.State{Phase: executor.Running, StartedAt: time.Now().UTC()}
	for name, test := range map[string]struct {
		record *record
		status *status
		lock   string
		want   executor.State
	}{
		"empty":                     {want: executor.State{Phase: executor.Absent}},
		"being-prepared":            {lock: launchLock, want: executor.State{Phase: executor.Pending}},
		"prepared":                  {record: &record{Boot: e.boot}, want: executor.State{Phase: executor.Pending}},
		"prepared-before-a-restart": {record: &record{Boot: "other"}, want: executor.State{Phase: executor.Absent}},
		"supervisor-starting":       {record: &record{Boot: "other"}, lock: runLock, want: executor.State{Phase: executor.Pending}},
		"running":                   {status: &status{Boot: e.boot, State: begun}, lock: runLock, want: executor.State{Phase: executor.Running}},
		"supervisor-gone": {status: &status{Boot: e.boot, State: begun}, want: executor.State{
			Phase: executor.Ended, Reason: executor.ReasonLost, Message: "the job's supervisor was killed",
		}},
		"machine-restarted": {status: &status{Boot: "other", State: begun}, want: executor.State{
			Phase: executor.Ended, Reason: executor.ReasonLost, Message: "the machine was restarted while the job ran",
		}},
	} {
		f := folder{filepath.Join(e.dir, name)}
		if err := os.Mkdir(f.path, 0o700); err != nil {
			t.Fatal(err)
		}
		for file, lock := range map[string]bool{launchLock: test.lock == launchLock, runLock: true} {
			l, err := tryLock(f.at(file), true)
			if err != nil {
				t.Fatal(err)
			}
			if lock && test.lock == file {
				defer l.release()
			} else {
				l.release()
			}
		}
		if test.record != nil {
			if err := f.write(jobFile, test.record); err != nil {
				t.Fatal(err)
			}
		}
		if test.status != nil {
			if err := f.write(stateFile, test.status); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			got, err := e.Observe(t.Context(), e.handle(name))
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if got.Phase != test.want.Phase || got.Reason != test.want.Reason || got.Message != test.want.Message {
				t.Errorf("%s: state is %+v, want %+v", name, got, test.want)
			}
		}
	}
	// What only looks like running must not be waited for at the end.
	if err := os.RemoveAll(filepath.Join(e.dir, "running")); err != nil {
		t.Fatal(err)
	}
}

func TestHandlesOfOthersAreErrors(t *testing.T) {
	t.Parallel()
	e := newExecutor(t, nil)
	for _, h := range []executor.Handle{
		{Executor: "docker", ID: "litci-job"},
		{Executor: Kind, ID: "litci-job", Host: "elsewhere." + e.host},
		{Executor: Kind, ID: "../litci-job"},
		{Executor: Kind},
	} {
		if state, err := e.Observe(t.Context(), h); err == nil {
			t.Errorf("state of %+v is %+v", h, state)
		}
		if err := e.Stop(t.Context(), h, 0); err == nil {
			t.Errorf("%+v was stopped", h)
		}
		if err := e.Remove(t.Context(), h); err == nil {
			t.Errorf("%+v was removed", h)
		}
		if _, err := e.Logs(t.Context(), h, 0); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("log of %+v: %v", h, err)
		}
	}
}
