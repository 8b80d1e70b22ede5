package lightning

import (
	"testing"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/wrapper"
)

func TestUnendedStates(t *testing.T) {
	t.Parallel()
	at := timestamp{time.Date(2026, 9, 25, 7, 0, 0, 0, time.UTC)}
	for name, test := range map[string]struct {
		job     job
		begun   bool
		phase   executor.Phase
		message string
	}{
		"queued":                           {job{State: "pending"}, false, executor.Pending, "waiting for a machine lit-t4-1"},
		"provisioning":                     {job{State: "creating"}, false, executor.Pending, "preparing a machine lit-t4-1"},
		"pulling the image":                {job{State: "creating", StartedAt: at}, false, executor.Pending, "pulling image python:3"},
		"pulling the image, still pending": {job{State: "pending", StartedAt: at}, false, executor.Pending, "pulling image python:3"},
		"running":                          {job{State: "running", StartedAt: at}, true, executor.Running, ""},
		"pending behind the run":           {job{State: "pending", StartedAt: at}, true, executor.Running, "finishing"},
		"creating behind the run":          {job{State: "creating", StartedAt: at}, true, executor.Running, "finishing"},
		"a new word behind the run":        {job{State: "hibernating", StartedAt: at}, true, executor.Running, "finishing"},
		"no word behind the run":           {job{State: "", StartedAt: at}, true, executor.Running, "finishing"},
		"a new word at first":              {job{State: "hibernating"}, false, executor.Pending, "waiting for a machine lit-t4-1"},
		"outputs are saved":                {job{State: "complete", StartedAt: at}, true, executor.Running, "finishing"},
		"outputs of a failure are saved":   {job{State: "fail", StartedAt: at}, true, executor.Running, "finishing"},
		"restarting":                       {job{State: "restarting"}, true, executor.Running, "the machine is being started again"},
		"preempted and restarting":         {job{State: "restarting", InterruptionNoticeReceived: true}, true, executor.Running, "the machine was taken back by its provider, and another one is being started"},
		"asked to stop while queued":       {job{State: "stop"}, false, executor.Pending, "stopping"},
		"asked to stop while running":      {job{State: "stop"}, true, executor.Running, "stopping"},
		"stopping":                         {job{State: "stopping"}, true, executor.Running, "stopping"},
		"asked to delete":                  {job{State: "delete"}, true, executor.Running, "stopping"},
	} {
		test.job.Spec = jobSpec{InstanceName: "lit-t4-1", Image: "python:3"}
		got := unended(&test.job, test.begun)
		if got.Phase != test.phase || got.Message != test.message || got.StartedAt.IsZero() != (!test.begun || test.job.StartedAt.IsZero()) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestOutcomes(t *testing.T) {
	t.Parallel()
	at := timestamp{time.Date(2026, 9, 25, 7, 0, 0, 0, time.UTC)}
	began := time.Date(2026, 9, 25, 6, 0, 0, 0, time.UTC)
	told := func(reason string, code int) *wrapper.Exit {
		return &wrapper.Exit{Reason: reason, Code: code, Size: 5, Began: began, Ended: began.Add(time.Minute)}
	}
	spot := jobSpec{Spot: true}
	for name, test := range map[string]struct {
		job    job
		found  evidence
		reason executor.Reason
		code   int // -1 is none
	}{
		"success":                              {job{State: "completed"}, evidence{exit: told("exit", 0)}, executor.ReasonExit, 0},
		"failure":                              {job{State: "failed", Message: "exit 3"}, evidence{exit: told("exit", 3)}, executor.ReasonExit, 3},
		"the log knows better":                 {job{State: "completed"}, evidence{exit: told("exit", 3)}, executor.ReasonExit, 3},
		"the script's own 137":                 {job{State: "failed"}, evidence{exit: told("exit", 137)}, executor.ReasonExit, 137},
		"success that was called failure":      {job{State: "failed"}, evidence{exit: told("exit", 0)}, executor.ReasonInfrastructure, -1},
		"deadline":                             {job{State: "failed"}, evidence{exit: told("timeout", 143)}, executor.ReasonTimeout, 143},
		"memory by the kernel's count":         {job{State: "failed"}, evidence{exit: told("memory", 137)}, executor.ReasonMemory, 137},
		"no source":                            {job{State: "failed"}, evidence{exit: &wrapper.Exit{Reason: "infra", Code: 96}}, executor.ReasonInfrastructure, -1},
		"stopped by us":                        {job{State: "stopped"}, evidence{exit: told("term", 3), asked: true}, executor.ReasonStopped, 3},
		"stopped by somebody":                  {job{State: "stopped"}, evidence{exit: told("term", 143)}, executor.ReasonStopped, 143},
		"stopped by us on spot":                {job{State: "stopped", Spec: spot}, evidence{exit: told("term", 143), asked: true}, executor.ReasonStopped, 143},
		"ended by the provider on spot":        {job{State: "stopped", Spec: spot}, evidence{exit: told("term", 143)}, executor.ReasonPreempted, 143},
		"ended with notice":                    {job{State: "stopped", InterruptionNoticeReceived: true}, evidence{exit: told("term", 143), asked: true}, executor.ReasonPreempted, 143},
		"ended by itself before it was asked":  {job{State: "completed"}, evidence{exit: told("exit", 0), asked: true}, executor.ReasonExit, 0},
		"ended by itself after it was asked":   {job{State: "stopped"}, evidence{exit: told("exit", 0), asked: true}, executor.ReasonStopped, 0},
		"finished in spite of a notice":        {job{State: "completed", InterruptionNoticeReceived: true}, evidence{exit: told("exit", 0)}, executor.ReasonExit, 0},
		"stopped by us before it began":        {job{State: "stopped"}, evidence{asked: true}, executor.ReasonStopped, -1},
		"stopped by somebody before it began":  {job{State: "stopped"}, evidence{}, executor.ReasonStopped, -1},
		"taken with notice":                    {job{State: "stopped", InterruptionNoticeReceived: true}, evidence{begun: true}, executor.ReasonPreempted, -1},
		"taken without notice on spot":         {job{State: "stopped", Spec: spot}, evidence{begun: true}, executor.ReasonPreempted, -1},
		"failed on spot":                       {job{State: "failed", Spec: spot}, evidence{begun: true}, executor.ReasonPreempted, -1},
		"image that cannot be pulled":          {job{State: "failed", ServerError: "image pull failed"}, evidence{}, executor.ReasonInfrastructure, -1},
		"image that cannot be pulled on spot":  {job{State: "failed", ServerError: "image pull failed", Spec: spot}, evidence{}, executor.ReasonInfrastructure, -1},
		"memory by the service's word":         {job{State: "failed", Message: "OOMKilled"}, evidence{begun: true}, executor.ReasonMemory, -1},
		"memory on spot":                       {job{State: "failed", Message: "container ran out of memory", Spec: spot}, evidence{begun: true}, executor.ReasonMemory, -1},
		"failure without a word":               {job{State: "failed"}, evidence{begun: true}, executor.ReasonInfrastructure, -1},
		"completed without a word in its log":  {job{State: "completed"}, evidence{begun: true}, executor.ReasonLost, -1},
		"completed without a word, and a spot": {job{State: "completed", Spec: spot}, evidence{begun: true}, executor.ReasonLost, -1},
	} {
		test.job.StoppedAt = at
		got := outcome(&test.job, test.found)
		code := -1
		if got.ExitCode != nil {
			code = *got.ExitCode
		}
		if got.Phase != executor.Ended || got.Reason != test.reason || code != test.code || got.FinishedAt.IsZero() {
			t.Errorf("%s: %+v, exit code %d", name, got, code)
		}
		if got.Reason == executor.ReasonInfrastructure && got.Message == "" && test.found.exit == nil {
			t.Errorf("%s: nothing says why", name)
		}
	}
}

func TestInstanceNames(t *testing.T) {
	t.Parallel()
	for machine, want := range map[string]string{
		"CPU": "cpu-4", "CPU_SMALL": "cpu-2", "CPU_X_2": "cpu-2", "CPU_X_4": "cpu-4", "CPU_X_8": "cpu-8", "CPU_X_16": "cpu-16",
		"DATA_PREP": "data-prep-mid", "DATA_PREP_MAX": "data-prep-max-large", "DATA_PREP_ULTRA": "data-prep-ultra-extra-large",
		"T4_SMALL": "lit-t4-1-small", "T4": "lit-t4-1", "T4_X_2": "lit-t4-2", "T4_X_4": "lit-t4-4", "T4_X_8": "lit-t4-8",
		"L4": "lit-l4-1", "L4_X_8": "lit-l4-8", "L40S": "lit-l40s-1", "L40S_X_4": "lit-l40s-4",
		"RTXP_6000": "lit-rtx-6000-pro-1", "RTXP_6000_X_2": "lit-rtx-6000-pro-2", "A10G": "lit-a10g-1",
		"A100": "lit-a100-1", "A100_X_8": "lit-a100-8", "A100_40GB": "lit-a100-40gb-1", "A100_40GB_X_4": "lit-a100-40gb-4",
		"A100_80GB": "lit-a100-80gb-1", "A100_80GB_X_8": "lit-a100-80gb-8",
		"H100": "lit-h100-1", "H100_X_8": "lit-h100-8", "H200": "lit-h200x-1", "H200_X_8": "lit-h200x-8", "B200_X_8": "lit-b200x-8",
		// Passed through.
		"g5.xlarge": "g5.xlarge", "lit-t4-1": "lit-t4-1", "T4_X_3": "T4_X_3", "t4": "t4", "TPU": "TPU",
	} {
		if got := instanceName(machine); got != want {
			t.Errorf("%s is %q, want %q", machine, got, want)
		}
	}
	for instance, want := range map[string]bool{"cpu-4": false, "data-prep-mid": false, "lit-t4-1": true, "g5.xlarge": false} {
		if hasGPU(instance) != want {
			t.Errorf("GPU of %s: %t", instance, !want)
		}
	}
}

func TestMachinesOfTheAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakeOptions())
	for _, cluster := range []string{"", "metal"} {
		e := w.executor(t, func(c *Config) {
			c.Machines = map[string]string{"BIG": "n2-highmem-8", "T4": "lit-t4-2"}
			c.Cluster = cluster
		})
		p, err := e.place(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for machine, want := range map[string]string{
			"": "cpu-4", "BIG": "n2-highmem-8", "T4": "lit-t4-2", "H200": "lit-h200-141gb-1", "H200_X_8": "lit-h200x-8", "H100": "lit-h100-1",
		} {
			if got := e.instance(t.Context(), p, machine); got != want {
				t.Errorf("%q of cluster %q is %q, want %q", machine, cluster, got, want)
			}
		}
	}
}
