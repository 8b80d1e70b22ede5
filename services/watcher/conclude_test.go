package watcher

import (
	"testing"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/flow"
)

func TestConclude(t *testing.T) {
	code := func(n int) *int { return &n }
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	tests := map[string]struct {
		state executor.State
		want  ending
	}{
		"exit 0":                  {executor.State{Reason: executor.ReasonExit, ExitCode: code(0)}, ending{flow.Success, flow.CauseExit, "exit 0"}},
		"exit 3":                  {executor.State{Reason: executor.ReasonExit, ExitCode: code(3)}, ending{flow.Failure, flow.CauseExit, "exit 3"}},
		"no exit code":            {executor.State{Reason: executor.ReasonExit}, ending{flow.Failure, flow.CauseInfrastructure, "the job ended without an exit code"}},
		"over its time":           {executor.State{Reason: executor.ReasonTimeout, ExitCode: code(143)}, ending{flow.TimedOut, flow.CauseDeadline, "timed out after 5m"}},
		"stopped":                 {executor.State{Reason: executor.ReasonStopped, StartedAt: began, FinishedAt: began.Add(time.Minute)}, ending{flow.Cancelled, flow.CauseStopped, "stopped on request"}},
		"stopped before it began": {executor.State{Reason: executor.ReasonStopped, FinishedAt: began}, ending{flow.Cancelled, flow.CauseStopped, "stopped on request"}},
		"stopped by the watcher":  {executor.State{Reason: executor.ReasonStopped, StartedAt: began, FinishedAt: began.Add(6 * time.Minute)}, ending{flow.TimedOut, flow.CauseDeadline, "timed out after 5m"}},
		"out of memory":           {executor.State{Reason: executor.ReasonMemory, Message: "2 GiB"}, ending{flow.Failure, flow.CauseMemory, "out of memory: 2 GiB"}},
		"preempted":               {executor.State{Reason: executor.ReasonPreempted}, ending{flow.Failure, flow.CauseInfrastructure, "the machine was taken back by its provider"}},
		"lost":                    {executor.State{Reason: executor.ReasonLost, Message: "reboot"}, ending{flow.Failure, flow.CauseInfrastructure, "the job was lost: reboot"}},
		"infrastructure":          {executor.State{Reason: executor.ReasonInfrastructure, Message: "no disk"}, ending{flow.Failure, flow.CauseInfrastructure, "the machine could not run the job: no disk"}},
		"a reason of later":       {executor.State{Reason: "new"}, ending{flow.Failure, flow.CauseInfrastructure, "the machine could not run the job"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := conclude(test.state, 5*time.Minute); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
