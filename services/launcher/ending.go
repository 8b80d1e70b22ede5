package launcher

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/cancellation"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

func resultOf(job flow.Job, conclusion flow.Conclusion, cause flow.Cause, message string) *flow.Result {
	r := flow.ResultOf(job, conclusion, cause, message, time.Now().UTC())
	return &r
}

// cancelled is the verdict of a job whose end was asked for before it started.
func cancelled(job flow.Job, r cancellation.Request) *flow.Result {
	return resultOf(job, flow.Cancelled, flow.CauseStopped, r.Reason)
}

// noCapacity is the verdict of a job whose time in the queue is over.
func noCapacity(job flow.Job, waited time.Duration, why reason) *flow.Result {
	because := "all slots were taken"
	switch {
	case why.kind != waitsSlot:
		because = why.text
	case strings.HasSuffix(why.text, poolClosed):
		because = poolClosed
	}
	return resultOf(job, flow.Failure, flow.CauseNoCapacity, fmt.Sprintf("waited %s for a free slot: %s", minutes(waited), because))
}

// over tells whether a job must not be started any more, and sends the verdict
// that it has, or the attempt that it gave way to.
func (l *Launcher) over(ctx context.Context, job flow.Job) (bool, error) {
	ended, err := verdict.Of(ctx, l.bus, job.Run, job.Index, job.Attempt)
	switch {
	case errors.Is(err, verdict.ErrSuperseded):
		return true, l.resume(ctx, job)
	case err != nil || ended == nil:
		return false, err
	}
	// It may have been recorded and not sent.
	return true, l.send(ctx, job, *ended)
}

// mayNotStart is the verdict of a job whose end was asked for, nil for others.
func (l *Launcher) mayNotStart(ctx context.Context, job flow.Job) (*flow.Result, error) {
	r, err := cancellation.Of(ctx, l.bus, job.Run, job.Index, job.Attempt)
	if err != nil || r == nil {
		return nil, err
	}
	return cancelled(job, *r), nil
}

// conclude gives a job its verdict, unless it has one, and sends the one that
// stands.
func (l *Launcher) conclude(ctx context.Context, job flow.Job, result flow.Result) error {
	stands, err := verdict.Settle(ctx, l.bus, result)
	if errors.Is(err, verdict.ErrSuperseded) {
		return l.resume(ctx, job)
	}
	if err != nil {
		return err
	}
	l.log.Info("ended before it started", zap.String("job", job.Job), zap.Int("attempt", job.Attempt), zap.String("run", job.Run),
		zap.String("conclusion", string(stands.Conclusion)), zap.String("cause", string(stands.Cause)))
	return l.send(ctx, job, stands)
}

// send publishes the verdict that stands, and first stops the jobs beside the one
// that failed.
func (l *Launcher) send(ctx context.Context, job flow.Job, stands flow.Result) error {
	if err := verdict.FailFast(ctx, l.bus, job, stands); err != nil {
		return err
	}
	return bus.Publish(ctx, l.bus, flow.Results, stands)
}

// again has a job tried again whose machine failed, as often as may be, and then
// concludes it. A job whose end was asked for is not tried again.
func (l *Launcher) again(ctx context.Context, job flow.Job, result flow.Result) error {
	end, err := l.mayNotStart(ctx, job)
	if err != nil {
		return err
	}
	if end != nil {
		return l.conclude(ctx, job, *end)
	}
	if !verdict.Again(job, result, l.options.InfraRetries) {
		return l.conclude(ctx, job, result)
	}
	gone := flow.Earlier{
		Attempt: job.Attempt, Conclusion: result.Conclusion, Cause: result.Cause, Message: result.Message, At: result.FinishedAt,
	}
	raised, err := verdict.Raise(ctx, l.bus, job.Run, job.Index, gone)
	switch {
	case errors.Is(err, verdict.ErrForgotten) && l.young(ctx):
		return l.later(err)
	case errors.Is(err, verdict.ErrForgotten):
		return l.conclude(ctx, job, result)
	case err != nil:
		return err
	case !raised:
		_, err := l.over(ctx, job) // somebody ended it meanwhile
		return err
	}
	l.log.Info("tried again", zap.String("job", job.Job), zap.Int("attempt", job.Attempt+1), zap.String("run", job.Run))
	return verdict.Carry(ctx, l.bus, job.Run, job.Index, job.Attempt)
}

// young tells whether the message in hand is so new that what goes with it may not be
// seen yet: what is read may be behind what was written.
func (l *Launcher) young(ctx context.Context) bool {
	return time.Since(bus.Delivery(ctx).Stored) < l.options.Lag
}

// later brings the message again a few times before it is young no more.
func (l *Launcher) later(err error) error { return bus.Later(err, l.options.Lag/30) }

// resume makes sure that the attempt that a job gave way to is on its way: whoever
// raised it may have crashed before.
func (l *Launcher) resume(ctx context.Context, job flow.Job) error {
	err := verdict.Resume(ctx, l.bus, job.Run, job.Index, job.Attempt)
	switch {
	case errors.Is(err, verdict.ErrForgotten) && l.young(ctx):
		return l.later(err)
	case err != nil && !errors.Is(err, verdict.ErrForgotten):
		return err
	}
	return verdict.Carry(ctx, l.bus, job.Run, job.Index, job.Attempt)
}

// giveUp ends a job whose message becomes a dead letter.
func (l *Launcher) giveUp(ctx context.Context, job flow.Job, cause error) error {
	message := fmt.Sprintf("The job was given up before it started (launcher): %v.", cause)
	return l.conclude(ctx, job, *resultOf(job, flow.Failure, flow.CauseGivenUp, message))
}
