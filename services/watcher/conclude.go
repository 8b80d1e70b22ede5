package watcher

import (
	"fmt"
	"time"

	"github.com/litci/litci/pkg/cancellation"
	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/flow"
)

// ending is the verdict on an ended job: GitHub's word, why, and one sentence.
type ending struct {
	conclusion flow.Conclusion
	cause      flow.Cause
	message    string
}

// circumstances are what the watcher knows of a job beside its state.
type circumstances struct {
	timeout time.Duration
	// request is the wish for the job's end, nil where nobody has it.
	request *cancellation.Request
	// late says that the watcher stops the job because it is over its time; patience is
	// how long it was let wait for its beginning, zero where that was never asked.
	late     bool
	patience time.Duration
	// waits is what it waited for at last, for people.
	waits string
}

// conclude turns the executor's last word into a verdict. What nobody knows is an
// infrastructure failure and never neutral, which a required check takes for
// passed. A job that ended by itself keeps its verdict, whoever asked for its end.
func conclude(state executor.State, c circumstances) ending {
	cancelled := ending{flow.Cancelled, flow.CauseStopped, "stopped on request"}
	if c.request != nil && c.request.Reason != "" {
		cancelled.message = c.request.Reason
	}
	failed := func(cause flow.Cause, what string) ending {
		if c.request != nil {
			return cancelled // nobody waits for the job any more
		}
		if state.Message != "" {
			what += ": " + state.Message
		}
		return ending{flow.Failure, cause, what}
	}
	lost := func(what string) ending { return failed(flow.CauseInfrastructure, what) }
	late := ending{flow.TimedOut, flow.CauseDeadline, fmt.Sprintf("timed out after %s", minutes(c.timeout))}
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
		switch {
		case c.late && state.StartedAt.IsZero():
			return neverBegan(c)
		// A watcher that crashed since may have stopped it behind its deadline.
		case c.late, c.request == nil && !state.StartedAt.IsZero() && state.FinishedAt.Sub(state.StartedAt) > c.timeout:
			return late
		}
		return cancelled
	case executor.ReasonMemory:
		message := "out of memory"
		if state.Message != "" {
			message += ": " + state.Message
		}
		return ending{flow.Failure, flow.CauseMemory, message}
	case executor.ReasonPreempted:
		return failed(flow.CausePreempted, "the machine was taken back by its provider")
	case executor.ReasonLost:
		return lost("the job was lost")
	}
	return lost("the machine could not run the job")
}

// neverBegan is the verdict on a job that waited too long at its executor.
func neverBegan(c circumstances) ending {
	message := "the job did not begin within " + minutes(c.patience)
	if c.waits != "" {
		message += ": " + c.waits
	}
	return ending{flow.Failure, flow.CauseNoCapacity, message}
}

// minutes is a duration as people say it: 60m, 90s.
func minutes(d time.Duration) string {
	if d%time.Minute == 0 {
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return d.Round(time.Second).String()
}
