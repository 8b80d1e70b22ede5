// Package verdict keeps the one verdict that each attempt of a job has, and which
// attempt is a job's newest.
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
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
)

// Record is the value of a job's key: its newest attempt, with the verdict once
// there is one.
type Record struct {
	Attempt int          `json:"attempt"`
	Result  *flow.Result `json:"result,omitempty"`
	// Earlier are the attempts that gave way, oldest first; RaisedAt is when the last
	// of them did.
	Earlier  []flow.Earlier `json:"earlier,omitempty"`
	RaisedAt time.Time      `json:"raised_at,omitzero"`
}

// ErrSuperseded says that a newer attempt of the job exists, so that nothing
// about the older one matters any more.
var ErrSuperseded = errors.New("a newer attempt of the job exists")

// Key is a job's key in the bucket runs: attempt.<run>.<index>.
func Key(run string, index int) string {
	return "attempt." + run + "." + strconv.Itoa(index)
}

// Keys is the pattern of the keys of all jobs of a run.
func Keys(run string) string { return "attempt." + run + ".*" }

// RecordOf returns what is recorded of a job; the zero Record stands for a first
// attempt without a verdict.
func RecordOf(ctx context.Context, b *bus.Bus, run string, index int) (Record, error) {
	var r Record
	data, _, err := b.Runs().Get(ctx, Key(run, index))
	if errors.Is(err, bus.ErrNotFound) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		return r, fmt.Errorf("verdict of %s: %w", flow.JobID(run, index), err)
	}
	return r, nil
}

// Of returns the verdict of an attempt, or nil while there is none.
func Of(ctx context.Context, b *bus.Bus, run string, index, attempt int) (*flow.Result, error) {
	r, err := RecordOf(ctx, b, run, index)
	if err != nil {
		return nil, err
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
		r.Attempt, r.Result = result.Attempt, &result
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
