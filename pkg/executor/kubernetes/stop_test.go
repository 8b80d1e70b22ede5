package kubernetes

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/executortest"
	"github.com/litci/litci/pkg/executor/kubernetes/fakekubernetes"
)

// A job that has not begun is kept from it, whatever it waits for.
func TestStopBeforeTheScript(t *testing.T) {
	t.Parallel()
	for _, scenario := range []string{"unschedulable", "pull", "refused", "slow-pull"} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, fakekubernetes.Options{})
			e := w.executor(t, nil)
			job := spec(scenario, scenario, "echo never\n")
			h := executortest.Start(t, e, job)
			executortest.Follow(t, e, h, func(s executor.State) bool { return s.Message != "" && !strings.HasPrefix(s.Message, "preparing") })
			for range 2 {
				if err := e.Stop(t.Context(), h, time.Minute); err != nil {
					t.Fatal(err)
				}
			}
			state := executortest.Until(t, e, h, executor.Ended)
			if state.Reason != executor.ReasonStopped || state.ExitCode != nil || !state.StartedAt.IsZero() {
				t.Errorf("state is %+v", state)
			}
			w.Release(h.ID)
			if again := executortest.Start(t, e, job); again != h {
				t.Errorf("handle is %+v, want %+v", again, h)
			}
			if late := executortest.Until(t, w.executor(t, nil), h, executor.Ended); late != state {
				t.Errorf("state is %+v, want %+v", late, state)
			}
			if err := e.Remove(t.Context(), h); err != nil {
				t.Error(err)
			}
		})
	}
}

// A second request may shorten the grace of the first.
func TestStopMayHurry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakekubernetes.Options{})
	e := w.executor(t, nil)
	h := executortest.Start(t, e, spec("hurry", "none", "trap '' TERM\n"+linger))
	executortest.Follow(t, e, h, func(executor.State) bool { return executortest.Output(t, e, h) == "ready\n" })
	for _, grace := range []time.Duration{time.Hour, 2 * time.Hour, 0} {
		if err := e.Stop(t.Context(), h, grace); err != nil {
			t.Fatal(err)
		}
	}
	state := executortest.Until(t, e, h, executor.Ended)
	if state.Reason != executor.ReasonStopped || state.ExitCode == nil || *state.ExitCode != 137 {
		t.Errorf("state is %+v", state)
	}
}

// A request that the node does not pass on is enforced by deleting the pod.
func TestStopThatIsNotHeeded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakekubernetes.Options{})
	e := w.executor(t, func(c *Config) { c.Pace.Unheeded = time.Nanosecond })
	h := executortest.Start(t, e, spec("deaf", "none", linger))
	executortest.Follow(t, e, h, func(executor.State) bool { return executortest.Output(t, e, h) == "ready\n" })
	// The pod is not told, as the second request fails.
	w.Fail(fakekubernetes.Fault{Method: http.MethodPatch, Path: "/pods/", Status: 403})
	if err := e.Stop(t.Context(), h, 0); err == nil {
		t.Error("a stop that fails is not told")
	}
	state := executortest.Until(t, e, h, executor.Ended)
	if state.Reason != executor.ReasonStopped {
		t.Errorf("state is %+v", state)
	}
}
