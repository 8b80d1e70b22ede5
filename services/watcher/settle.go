package watcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/cancellation"
	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/failpoint"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

// conclude stores the log, then records the verdict and publishes it, or raises the
// next attempt. Each step may be done again by a watcher that finds it half done.
func (f *follower) conclude(ctx context.Context, state *executor.State) error {
	failpoint.Hit("watcher.ended")
	f.pipeline.flush()
	f.live.end(ctx)
	if err := f.lookForRequest(ctx); err != nil {
		return err
	}
	result := f.result(state)
	// Whoever recorded a verdict stored the log; ours may be shorter by now.
	if settled, err := f.settled(ctx, &f.status); settled || err != nil {
		return err
	}
	if err := f.store(ctx, &result); err != nil {
		return err
	}
	failpoint.Hit("watcher.log-stored")
	result.Notes = append(append(result.Notes, f.status.Notes...), f.notes...)
	f.trace(ctx, result)
	if raised, err := f.again(ctx, result); raised || err != nil {
		return err
	}
	if err := f.settle(ctx, result); err != nil {
		return err
	}
	failpoint.Hit("watcher.published")
	f.log.Info("ended", f.fields(zap.String("conclusion", string(result.Conclusion)), zap.String("cause", string(result.Cause)))...)
	return nil
}

// lookForRequest finds what was asked for while nobody listened: a cancelled job is
// never tried again.
func (f *follower) lookForRequest(ctx context.Context) error {
	if f.request != nil {
		return nil
	}
	request, err := cancellation.Of(ctx, f.bus, f.status.Run, f.status.Index, f.status.Attempt)
	if err != nil {
		return err
	}
	f.request = request
	return nil
}

// result is the verdict on the state in which a job ended.
func (f *follower) result(state *executor.State) flow.Result {
	finished := state.FinishedAt
	if finished.IsZero() {
		finished = time.Now().UTC()
	}
	end := conclude(*state, f.circumstances)
	end.message = cutText(f.pipeline.masker.hide(clean([]byte(end.message))), maxExcerpt)
	result := resultOf(&f.status, end, finished)
	result.StartedAt, result.ExitCode = state.StartedAt, state.ExitCode
	if end.conclusion != flow.Success || f.status.Mode == "debug" {
		e := f.window.excerpt()
		result.Tail = e.tail
		if end.conclusion != flow.Success {
			result.FirstError, result.Window, result.WindowLine = e.firstError, e.lines, e.line
		}
	}
	return result
}

// again raises the job's next attempt where its failure is one that litci tries
// again. What may still run is not started a second time.
func (f *follower) again(ctx context.Context, result flow.Result) (raised bool, err error) {
	if f.request != nil || f.unsure || result.Conclusion != flow.Failure {
		return false, nil
	}
	job, err := f.planned(ctx, result.Run, result.Index)
	if job == nil || err != nil || !verdict.Again(*job, result, f.options.InfraRetries) {
		return false, err
	}
	raised, err = verdict.Raise(ctx, f.bus, result.Run, result.Index, flow.Earlier{
		Attempt: result.Attempt, Conclusion: result.Conclusion, Cause: result.Cause,
		Message: result.Message, Log: result.Log, At: time.Now().UTC(),
	})
	if err != nil {
		return false, err
	}
	if !raised {
		return f.settled(ctx, &f.status) // somebody was faster
	}
	f.retries.WithLabelValues(string(result.Cause)).Inc()
	f.log.Info("tried again", f.fields(zap.String("cause", string(result.Cause)), zap.String("why", result.Message))...)
	return true, verdict.Carry(ctx, f.bus, result.Run, result.Index, result.Attempt)
}

// planned is a job as its newest attempt has it; nil when the stream forgot it.
func (w *Watcher) planned(ctx context.Context, run string, index int) (*flow.Job, error) {
	record, err := verdict.RecordOf(ctx, w.bus, run, index)
	if err != nil {
		return nil, err
	}
	job, err := record.JobOf(ctx, w.bus, run, index)
	if errors.Is(err, verdict.ErrForgotten) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &job, nil
}

// settle records a verdict and publishes the one that stands.
func (w *Watcher) settle(ctx context.Context, result flow.Result) error {
	stands, err := verdict.Settle(ctx, w.bus, result)
	if errors.Is(err, verdict.ErrSuperseded) {
		return w.resume(ctx, result.Run, result.Index, result.Attempt)
	}
	if err != nil {
		return err
	}
	failpoint.Hit("watcher.settled")
	return w.publish(ctx, stands)
}

// publish sends the verdict that stands, after it has done what follows from it.
func (w *Watcher) publish(ctx context.Context, stands flow.Result) error {
	if stands.Conclusion != flow.Success {
		job, err := w.planned(ctx, stands.Run, stands.Index)
		if err != nil {
			return err
		}
		if job != nil {
			if err := verdict.FailFast(ctx, w.bus, *job, stands); err != nil {
				return err
			}
		}
	}
	return bus.Publish(ctx, w.bus, flow.Results, stands)
}

// resume makes sure that the attempt behind a superseded one is published.
func (w *Watcher) resume(ctx context.Context, run string, index, attempt int) error {
	err := verdict.Resume(ctx, w.bus, run, index, attempt)
	if err != nil && !errors.Is(err, verdict.ErrForgotten) {
		return fmt.Errorf("attempt behind %s: %w", flow.AttemptID(flow.JobID(run, index), attempt), err)
	}
	return verdict.Carry(ctx, w.bus, run, index, attempt)
}

// fields are the identity of the job for a line of litci's log.
func (f *follower) fields(more ...zap.Field) []zap.Field {
	return append([]zap.Field{
		zap.String("job", f.status.Job), zap.Int("attempt", f.status.Attempt), zap.String("run", f.status.Run),
		zap.String("delivery", f.status.Delivery), zap.String("repo", f.status.Repo.FullName()), zap.String("sha", f.status.SHA),
	}, more...)
}

// store puts the log into the object store. A verdict is worth more than its log:
// one that cannot be stored is left out, and the check says so.
func (f *follower) store(ctx context.Context, result *flow.Result) error {
	name := flow.LogName(f.status.Job, f.status.Attempt)
	wait := time.Second
	for try := 1; f.broken == nil; try++ {
		dropped, err := f.put(ctx, name)
		if err == nil {
			result.Log, result.LogBytes, result.LogDropped = name, f.size, dropped+f.dropped
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if f.log.Warn("log cannot be stored", zap.String("job", f.status.Job), zap.Error(err)); try == storeTries {
			f.broken = err
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait *= 4
	}
	f.notes = append(f.notes, "the log could not be stored")
	return nil
}

func (f *follower) put(ctx context.Context, name string) (dropped int64, err error) {
	log, dropped, err := f.archive.open()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return dropped, f.bus.Logs().Put(ctx, name, log)
}

// resultOf begins the result of a status.
func resultOf(s *flow.Status, end ending, finished time.Time) flow.Result {
	return flow.Result{
		Identity: s.Identity, Job: s.Job, Index: s.Index, Attempt: s.Attempt, Check: s.Check,
		Conclusion: end.conclusion, Cause: end.cause, Message: end.message, FinishedAt: finished, Mode: s.Mode,
	}
}
