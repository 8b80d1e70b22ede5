// Package verdict keeps the one verdict that each attempt of a job has.
//
// Launchers and watchers may both come to end an attempt, and any of them twice,
// because messages are delivered again. The first verdict that is recorded stands;
// everybody publishes that one, so what goes out for an attempt is always the same.
package verdict

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
)

// Record is the value of a job's key: its newest attempt, with the verdict once
// there is one.
type Record struct {
	Attempt int          `json:"attempt"`
	Result  *flow.Result `json:"result,omitempty"`
}

// ErrSuperseded says that a newer attempt of the job exists, so that nothing
// about the older one matters any more.
var ErrSuperseded = errors.New("a newer attempt of the job exists")

// Key is a job's key in the bucket runs: attempt.<run>.<index>.
func Key(run string, index int) string {
	return "attempt." + run + "." + strconv.Itoa(index)
}

// Of returns the verdict of an attempt, or nil while there is none.
func Of(ctx context.Context, b *bus.Bus, run string, index, attempt int) (*flow.Result, error) {
	data, _, err := b.Runs().Get(ctx, Key(run, index))
	if errors.Is(err, bus.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("verdict of %s: %w", flow.JobID(run, index), err)
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("verdict of %s: %w", flow.JobID(run, index), err)
	}
	switch {
	case r.Attempt > attempt:
		return nil, ErrSuperseded
	case r.Attempt < attempt:
		return nil, nil
	}
	return r.Result, nil
}

// Settle records a verdict unless the attempt has one, and returns the one that
// stands.
func Settle(ctx context.Context, b *bus.Bus, result flow.Result) (flow.Result, error) {
	stands, err := bus.Change(ctx, b.Runs(), Key(result.Run, result.Index), func(r *Record) bool {
		if r.Attempt > result.Attempt || r.Attempt == result.Attempt && r.Result != nil {
			return false
		}
		*r = Record{Attempt: result.Attempt, Result: &result}
		return true
	})
	if err != nil {
		return flow.Result{}, fmt.Errorf("verdict of %s: %w", result.Job, err)
	}
	if stands.Attempt != result.Attempt {
		return flow.Result{}, ErrSuperseded
	}
	return *stands.Result, nil
}

// Publish sends the verdict that stands to the reporter.
func Publish(ctx context.Context, b *bus.Bus, result flow.Result) error {
	stands, err := Settle(ctx, b, result)
	if errors.Is(err, ErrSuperseded) {
		return nil
	}
	if err != nil {
		return err
	}
	return bus.Publish(ctx, b, flow.Results, stands)
}
