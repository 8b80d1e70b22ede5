package verdict

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
)

// Raise makes the attempt behind gone.Attempt the job's newest and publishes it.
// Without gone.Rerun the attempt that gives way must have no verdict, with it, one.
// It returns false where that is not so or another attempt is the newest already:
// then there is nothing to raise. Doing it again, after a crash, publishes the same
// message again.
func Raise(ctx context.Context, b *bus.Bus, run string, index int, gone flow.Earlier) (bool, error) {
	// What cannot be published must not be raised.
	if _, err := (Record{}).JobOf(ctx, b, run, index); err != nil {
		return false, err
	}
	record, err := bus.Change(ctx, b.Runs(), Key(run, index), func(r *Record) bool {
		newest := max(r.Attempt, 1)
		if newest != gone.Attempt || (r.Result != nil) != gone.Rerun {
			return false
		}
		if r.Result != nil {
			gone.Conclusion, gone.Cause, gone.Message, gone.Log = r.Result.Conclusion, r.Result.Cause, r.Result.Message, r.Result.Log
		}
		*r = Record{Attempt: gone.Attempt + 1, Earlier: append(slices.Clone(r.Earlier), gone), RaisedAt: gone.At.UTC()}
		return true
	})
	if err != nil {
		return false, fmt.Errorf("attempt %d of %s: %w", gone.Attempt+1, flow.JobID(run, index), err)
	}
	if record.Attempt != gone.Attempt+1 || record.Result != nil {
		return false, nil
	}
	return true, record.publish(ctx, b, run, index)
}

// Resume publishes the job's newest attempt if it was raised from the given one and
// has no verdict: whoever raised it may have crashed before. Messages of an attempt
// that gave way end with it.
func Resume(ctx context.Context, b *bus.Bus, run string, index, from int) error {
	record, err := RecordOf(ctx, b, run, index)
	if err != nil || record.Attempt != from+1 || record.Result != nil {
		return err
	}
	return record.publish(ctx, b, run, index)
}

// publish sends the job of a raised attempt. It depends on the record and on the
// plan alone, so that whoever does it sends the same.
func (r Record) publish(ctx context.Context, b *bus.Bus, run string, index int) error {
	job, err := r.JobOf(ctx, b, run, index)
	if err != nil {
		return err
	}
	return bus.Publish(ctx, b, flow.Jobs.OfPool(job.Pool), job)
}

// ErrForgotten says that the stream no longer holds the job's message, which is a
// week old or more.
var ErrForgotten = errors.New("the job is too old: its message is not kept any more")

// JobOf returns the record's newest attempt as the launcher gets it.
func (r Record) JobOf(ctx context.Context, b *bus.Bus, run string, index int) (flow.Job, error) {
	job, err := bus.JobOf(ctx, b, run, index)
	if errors.Is(err, bus.ErrNotFound) {
		return job, fmt.Errorf("%s: %w", flow.JobID(run, index), ErrForgotten)
	}
	if err != nil || r.Attempt <= 1 {
		return job, err
	}
	job.Attempt, job.Earlier, job.QueuedAt = r.Attempt, r.Earlier, r.RaisedAt
	if lastTry(job) {
		job.Interruptible = false
	}
	return job, nil
}
