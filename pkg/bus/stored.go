package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/litci/litci/pkg/flow"
)

// PlanOf returns a run's plan, or ErrNotFound when the run was never planned or
// its plan is older than the stream keeps.
func PlanOf(ctx context.Context, b *Bus, run string) (flow.Plan, error) {
	plan, _, err := planOf(ctx, b, run)
	return plan, err
}

func planOf(ctx context.Context, b *Bus, run string) (plan flow.Plan, seq uint64, err error) {
	ctx, cancel := withTimeout(ctx, b.patience)
	defer cancel()
	subject := string(flow.PlanOf(run))
	s, err := b.js.Stream(ctx, streamOf(subject))
	if err != nil {
		return plan, 0, fmt.Errorf("stream of %s: %w", subject, err)
	}
	raw, err := s.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return plan, 0, ErrNotFound
	}
	if err != nil {
		return plan, 0, fmt.Errorf("plan of run %s: %w", run, err)
	}
	if err := json.Unmarshal(raw.Data, &plan); err != nil {
		return plan, 0, fmt.Errorf("plan of run %s: %w", run, err)
	}
	return plan, raw.Sequence, nil
}

// JobOf returns a job as it was planned, its first attempt. It is found behind the
// marker of its run: a batch lies in the stream without a gap (ADR-50). ErrNotFound
// says that the run was never planned or that the stream no longer holds it.
func JobOf(ctx context.Context, b *Bus, run string, index int) (flow.Job, error) {
	ctx, cancel := withTimeout(ctx, b.patience)
	defer cancel()
	var job flow.Job
	plan, marker, err := planOf(ctx, b, run)
	if err != nil {
		return job, err
	}
	if index < 0 || index >= len(plan.Jobs) {
		return job, ErrNotFound
	}
	subject := string(flow.Jobs)
	s, err := b.js.Stream(ctx, streamOf(subject))
	if err != nil {
		return job, fmt.Errorf("stream of %s: %w", subject, err)
	}
	raw, err := s.GetMsg(ctx, marker+1+uint64(index))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return job, ErrNotFound
	}
	if err != nil {
		return job, fmt.Errorf("job %s: %w", flow.JobID(run, index), err)
	}
	if err := json.Unmarshal(raw.Data, &job); err != nil {
		return job, fmt.Errorf("job %s: %w", flow.JobID(run, index), err)
	}
	if job.Job != flow.JobID(run, index) || job.Attempt != 1 {
		return flow.Job{}, fmt.Errorf("job %s: message %d of the stream is %s", flow.JobID(run, index), raw.Sequence, job.AttemptID())
	}
	return job, nil
}

// From is the place in a stream where a Scan begins: a time, or a sequence where
// it is set.
type From struct {
	Time     time.Time
	Sequence uint64
}

// End is the place behind the last message that a subject's stream holds now.
func (b *Bus) End(ctx context.Context, subject string) (From, error) {
	ctx, cancel := withTimeout(ctx, b.patience)
	defer cancel()
	s, err := b.js.Stream(ctx, streamOf(subject)) // asks the server, so its info is new
	if err != nil {
		return From{}, fmt.Errorf("stream of %s: %w", subject, err)
	}
	return From{Sequence: s.CachedInfo().State.LastSeq + 1}, nil
}

// Scan hands fn the messages of a subject that are stored now, oldest first, and
// returns when there are no more or fn returns false. It acks nothing. Messages
// that cannot be decoded are passed over.
func Scan[T any](ctx context.Context, b *Bus, subject flow.Subject[T], from From, fn func(Meta, T) bool) error {
	return b.scan(ctx, string(subject), from, func(m Stored) bool {
		var value T
		if json.Unmarshal(m.Body, &value) != nil {
			return true
		}
		return fn(Meta{Stream: m.Stream, Sequence: m.Sequence, Stored: m.At}, value)
	})
}

// scan is Scan for any message. It makes no consumer, so that whoever may read needs
// no right that could touch a service's.
func (b *Bus) scan(ctx context.Context, subject string, from From, fn func(Stored) bool) error {
	for more := true; more; {
		var found []Stored
		var err error
		if found, more, err = b.page(ctx, streamOf(subject), subject, from); err != nil {
			return err
		}
		for _, m := range found {
			if !fn(m) {
				return nil
			}
			from = From{Sequence: m.Sequence + 1}
		}
	}
	return nil
}
