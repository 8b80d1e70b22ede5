package watcher

import (
	"fmt"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/flow"
)

// ending is the verdict on an ended job: GitHub's word, why, and one sentence.
type ending struct {
	conclusion flow.Conclusion
	cause      flow.Cause
	message    string
}

// conclude turns the executor's last word into a verdict. What nobody knows is an
// infrastructure failure and never neutral, which a required check takes for
// passed.
func conclude(state executor.State, timeout time.Duration) ending {
	lost := func(what string) ending {
		if state.Message != "" {
			what += ": " + state.Message
		}
		return ending{flow.Failure, flow.CauseInfrastructure, what}
	}
	late := ending{flow.TimedOut, flow.CauseDeadline, fmt.Sprintf("timed out after %s", minutes(timeout))}
	switch state.Reason {
	case executor.ReasonExit:
		switch {
		case state.ExitCode == nil:
			return lost("the job ended without an exit code")
		case *state.ExitCode == 0:
			return ending{flow.Success, flow.CauseExit, "exit 0"}
		}
		return ending{flow.Failure, flow.CauseExit, fmt.Sprintf("exit %d", *state.ExitCode)}
	case executor.ReasonTimeout:
		return late
	case executor.ReasonStopped:
		// The watcher itself stops what runs on behind its deadline.
		if !state.StartedAt.IsZero() && state.FinishedAt.Sub(state.StartedAt) > timeout {
			return late
		}
		return ending{flow.Cancelled, flow.CauseStopped, "stopped on request"}
	case executor.ReasonMemory:
		message := "out of memory"
		if state.Message != "" {
			message += ": " + state.Message
		}
		return ending{flow.Failure, flow.CauseMemory, message}
	case executor.ReasonPreempted:
		return lost("the machine was taken back by its provider")
	case executor.ReasonLost:
		return lost("the job was lost")
	}
	return lost("the machine could not run the job")
}

// minutes is a duration as people say it: 60m, 90s.
func minutes(d time.Duration) string {
	if d%time.Minute == 0 {
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return d.Round(time.Second).String()
}
