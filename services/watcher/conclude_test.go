package watcher

import (
	"testing"
	"time"

	"github.com/litci/litci/pkg/cancellation"
	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/flow"
)

func TestConclude(t *testing.T) {
	code := func(n int) *int { return &n }
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	asked := func(c *circumstances) { c.request = &cancellation.Request{ID: "x", Reason: "Closed."} }
	tests := map[string]struct {
		state executor.State
		// change adds to circumstances of 5 minutes' time that are none.
		change func(*circumstances)
		want   ending
	}{
		"exit 0":                             {executor.State{Reason: executor.ReasonExit, ExitCode: code(0)}, nil, ending{flow.Success, flow.CauseExit, "exit 0"}},
		"exit 3":                             {executor.State{Reason: executor.ReasonExit, ExitCode: code(3)}, nil, ending{flow.Failure, flow.CauseExit, "exit 3"}},
		"no exit code":                       {executor.State{Reason: executor.ReasonExit}, nil, ending{flow.Failure, flow.CauseInfrastructure, "the job ended without an exit code"}},
		"over its time":                      {executor.State{Reason: executor.ReasonTimeout, ExitCode: code(143)}, nil, ending{flow.TimedOut, flow.CauseDeadline, "timed out after 5m"}},
		"stopped":                            {executor.State{Reason: executor.ReasonStopped, StartedAt: began, FinishedAt: began.Add(time.Minute)}, nil, ending{flow.Cancelled, flow.CauseStopped, "stopped on request"}},
		"stopped before it began":            {executor.State{Reason: executor.ReasonStopped, FinishedAt: began}, nil, ending{flow.Cancelled, flow.CauseStopped, "stopped on request"}},
		"stopped by the watcher":             {executor.State{Reason: executor.ReasonStopped, StartedAt: began, FinishedAt: began.Add(6 * time.Minute)}, nil, ending{flow.TimedOut, flow.CauseDeadline, "timed out after 5m"}},
		"out of memory":                      {executor.State{Reason: executor.ReasonMemory, Message: "2 GiB"}, nil, ending{flow.Failure, flow.CauseMemory, "out of memory: 2 GiB"}},
		"preempted":                          {executor.State{Reason: executor.ReasonPreempted}, nil, ending{flow.Failure, flow.CausePreempted, "the machine was taken back by its provider"}},
		"lost":                               {executor.State{Reason: executor.ReasonLost, Message: "reboot"}, nil, ending{flow.Failure, flow.CauseInfrastructure, "the job was lost: reboot"}},
		"infrastructure":                     {executor.State{Reason: executor.ReasonInfrastructure, Message: "no disk"}, nil, ending{flow.Failure, flow.CauseInfrastructure, "the machine could not run the job: no disk"}},
		"a reason of later":                  {executor.State{Reason: "new"}, nil, ending{flow.Failure, flow.CauseInfrastructure, "the machine could not run the job"}},
		"cancelled":                          {executor.State{Reason: executor.ReasonStopped, StartedAt: began, FinishedAt: began.Add(time.Hour)}, asked, ending{flow.Cancelled, flow.CauseStopped, "Closed."}},
		"cancelled when it had succeeded":    {executor.State{Reason: executor.ReasonExit, ExitCode: code(0)}, asked, ending{flow.Success, flow.CauseExit, "exit 0"}},
		"cancelled when it had failed":       {executor.State{Reason: executor.ReasonExit, ExitCode: code(1)}, asked, ending{flow.Failure, flow.CauseExit, "exit 1"}},
		"cancelled when its time was over":   {executor.State{Reason: executor.ReasonTimeout}, asked, ending{flow.TimedOut, flow.CauseDeadline, "timed out after 5m"}},
		"cancelled when its machine is gone": {executor.State{Reason: executor.ReasonPreempted}, asked, ending{flow.Cancelled, flow.CauseStopped, "Closed."}},
		"cancelled without a reason":         {executor.State{Reason: executor.ReasonStopped}, func(c *circumstances) { c.request = &cancellation.Request{ID: "x"} }, ending{flow.Cancelled, flow.CauseStopped, "stopped on request"}},
		"cancelled when it was late":         {executor.State{Reason: executor.ReasonStopped, StartedAt: began}, func(c *circumstances) { asked(c); c.late = true }, ending{flow.TimedOut, flow.CauseDeadline, "timed out after 5m"}},
		"never began": {
			executor.State{Reason: executor.ReasonStopped},
			func(c *circumstances) { c.late, c.patience, c.waits = true, time.Hour, "0/3 nodes are available" },
			ending{flow.Failure, flow.CauseNoCapacity, "the job did not begin within 60m: 0/3 nodes are available"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := circumstances{timeout: 5 * time.Minute}
			if test.change != nil {
				test.change(&c)
			}
			if got := conclude(test.state, c); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
