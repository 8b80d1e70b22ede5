package kubernetes

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/executortest"
	"github.com/litci/litci/pkg/executor/kubernetes/fakekubernetes"
)

const linger = "echo ready\nwhile :; do sleep 0.05; done\n"

// What befalls a pod while its script runs, seen through Observe, also by a process
// that saw nothing of it.
func TestFates(t *testing.T) {
	t.Parallel()
	for scenario, test := range map[string]struct {
		script string
		reason executor.Reason
		code   string
		says   string
		log    bool // it is still there
	}{
		"none":        {script: "echo ready\nexit 3\n", reason: executor.ReasonExit, code: "3", log: true},
		"oom":         {reason: executor.ReasonMemory, code: "137", says: "memory", log: true},
		"evict":       {reason: executor.ReasonPreempted, code: "none", says: "low on resource", log: true},
		"disk":        {reason: executor.ReasonInfrastructure, code: "none", says: "more disk than its limit", log: true},
		"preempt":     {reason: executor.ReasonPreempted, code: "none", says: "DisruptionTarget"},
		"drain":       {reason: executor.ReasonPreempted, code: "none", says: "DisruptionTarget"},
		"shutdown":    {reason: executor.ReasonPreempted, code: "143", says: "node shutdown", log: true},
		"node-lost":   {reason: executor.ReasonPreempted, code: "none", says: "node no longer exists", log: true},
		"deleted":     {reason: executor.ReasonLost, code: "none", says: "deleted"},
		"killed":      {reason: executor.ReasonInfrastructure, code: "none", says: "killed (exit code 137)", log: true},
		"start-error": {reason: executor.ReasonInfrastructure, code: "none", says: "executable file not found"},
	} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, fakekubernetes.Options{})
			e := w.executor(t, nil)
			script := test.script
			if script == "" {
				script = linger
			}
			h := executortest.Start(t, e, spec(scenario, scenario, script))
			state := executortest.Until(t, e, h, executor.Ended)
			code := "none"
			if state.ExitCode != nil {
				code = strconv.Itoa(*state.ExitCode)
			}
			if state.Reason != test.reason || code != test.code || !strings.Contains(state.Message, test.says) {
				t.Errorf("state is %+v, exit code %s", state, code)
			}
			if test.log {
				if log := executortest.Output(t, e, h); !strings.HasPrefix(log, "ready\n") {
					t.Errorf("log is %q", log)
				}
			}
			late := executortest.Until(t, w.executor(t, nil), h, executor.Ended)
			if late.Reason != state.Reason || !late.FinishedAt.Equal(state.FinishedAt) {
				t.Errorf("another process sees %+v, the first one %+v", late, state)
			}
		})
	}
}

// What keeps a pod from starting is told while it lasts, and ended when it lasts too
// long.
func TestWaits(t *testing.T) {
	t.Parallel()
	for scenario, test := range map[string]struct {
		says     string
		deadline func(*Config)
	}{
		"unschedulable": {"waiting for a node: 0/3 nodes are available", nil},
		"gated":         {"waiting for a node: Scheduling is blocked", nil},
		"quota":         {"waiting for room in the namespace's quota", nil},
		"slow-pull":     {"pulling image fake:slow-pull", nil},
		"pull":          {"image fake:pull cannot be pulled: Back-off", trouble},
		"config-error":  {"cannot be started: container has runAsNonRoot", trouble},
		"refused":       {"the cluster refuses the pod: Error creating: admission webhook", trouble},
	} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, fakekubernetes.Options{})
			e := w.executor(t, nil)
			h := executortest.Start(t, e, spec(scenario, scenario, "echo ready\n"))
			said := func(s executor.State) bool {
				return s.Phase == executor.Pending && strings.Contains(s.Message, test.says)
			}
			executortest.Follow(t, e, h, said)
			if test.deadline == nil {
				// Trouble's own deadline is not meant; the general one is.
				executortest.Follow(t, w.executor(t, trouble), h, said)
				w.Age(h.ID, time.Hour)
				test.deadline = func(*Config) {}
			}
			state := executortest.Until(t, w.executor(t, test.deadline), h, executor.Ended)
			if state.Reason != executor.ReasonInfrastructure || !strings.Contains(state.Message, test.says) || state.FinishedAt.IsZero() {
				t.Errorf("state is %+v", state)
			}
			// It is over for good, whatever gets better.
			w.Release(h.ID)
			if again := executortest.Start(t, e, spec(scenario, scenario, "echo ready\n")); again != h {
				t.Errorf("handle is %+v, want %+v", again, h)
			}
			if late := executortest.Until(t, e, h, executor.Ended); late != state {
				t.Errorf("state is %+v, want %+v", late, state)
			}
		})
	}
}

func trouble(c *Config) { c.TroubleDeadline = time.Nanosecond }

// A wait that ends well is forgotten.
func TestWaitThatEnds(t *testing.T) {
	t.Parallel()
	for _, scenario := range []string{"unschedulable", "pull", "refused", "quota", "slow-pull"} {
		t.Run(scenario, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, fakekubernetes.Options{})
			e := w.executor(t, nil)
			h := executortest.Start(t, e, spec(scenario, scenario, "echo ready\n"))
			executortest.Follow(t, e, h, func(s executor.State) bool { return s.Message != "" && !strings.HasPrefix(s.Message, "preparing") })
			w.Release(h.ID)
			if state := executortest.Until(t, e, h, executor.Ended); state.Reason != executor.ReasonExit || executortest.Output(t, e, h) != "ready\n" {
				t.Errorf("state is %+v", state)
			}
		})
	}
}

func TestMalformedImageEndsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakekubernetes.Options{})
	e := w.executor(t, nil)
	h := executortest.Start(t, e, spec("malformed", "invalid-image", "true\n"))
	state := executortest.Until(t, e, h, executor.Ended)
	if state.Reason != executor.ReasonInfrastructure || !strings.Contains(state.Message, "malformed name") {
		t.Errorf("state is %+v", state)
	}
}

// The cluster's own deadline, where the wrapper's did not come to pass.
func TestDeadlineOfTheCluster(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakekubernetes.Options{})
	e := w.executor(t, nil)
	h := executortest.Start(t, e, spec("overdue", "none", linger))
	executortest.Until(t, e, h, executor.Running)
	w.Overdue(h.ID)
	state := executortest.Until(t, e, h, executor.Ended)
	if state.Reason != executor.ReasonTimeout || state.ExitCode != nil {
		t.Errorf("state is %+v", state)
	}
}

func TestDeletedJobIsAbsent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakekubernetes.Options{})
	e := w.executor(t, nil)
	h := executortest.Start(t, e, spec("absent", "none", linger))
	executortest.Until(t, e, h, executor.Running)
	w.DeleteJob(h.ID)
	executortest.Until(t, e, h, executor.Absent)
	// A new Job of the name is another one.
	job := spec("absent", "none", "echo other\n")
	job.Hash = "other"
	w2 := follow2(t, e, job)
	executortest.Until(t, e, w2, executor.Ended)
	executortest.Until(t, e, h, executor.Absent)
}

// follow2 starts a job again and again until what is being deleted has gone.
func follow2(t *testing.T, e *Executor, job executor.Spec) executor.Handle {
	t.Helper()
	end := time.Now().Add(2 * time.Minute)
	for {
		h, err := e.Start(t.Context(), job)
		if err == nil {
			return h
		}
		if !strings.Contains(err.Error(), "still runs") || time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// Pods that are not of the restricted profile are refused where that is enforced.
func TestProfiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakekubernetes.Options{Restricted: true})
	restricted, baseline := w.executor(t, nil), w.executor(t, func(c *Config) { c.Profile = Baseline })
	executortest.Until(t, restricted, executortest.Start(t, restricted, spec("restricted", "none", "true\n")), executor.Ended)
	h := executortest.Start(t, baseline, spec("baseline", "none", "true\n"))
	state := executortest.Follow(t, baseline, h, func(s executor.State) bool { return strings.Contains(s.Message, "refuses") })
	if !strings.Contains(state.Message, "runAsNonRoot") {
		t.Errorf("state is %+v", state)
	}
	free := newWorld(t, fakekubernetes.Options{}).executor(t, func(c *Config) { c.Profile = Baseline })
	executortest.Until(t, free, executortest.Start(t, free, spec("baseline", "none", "true\n")), executor.Ended)
}
