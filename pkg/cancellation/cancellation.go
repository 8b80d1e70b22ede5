// Package cancellation keeps who asked for the end of which run or job.
//
// The bucket runs holds the requests, so that they outlive every service: whoever
// holds a job (the launcher while it waits, the watcher while it runs) reads them
// when it takes the job in hand and follows them from then on. Asking ends nothing
// by itself; the holder gives the job its verdict.
package cancellation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/litci/litci/pkg/bus"
)

// Request asks for the end of what does not have its verdict yet.
type Request struct {
	// ID tells requests apart: asking again with the same ID changes nothing.
	ID string `json:"id"`
	// Reason is one sentence for people: "Superseded by abc1234."
	Reason string `json:"reason"`
	// By is who asked, empty for litci itself.
	By string `json:"by,omitempty"`
	// At is when it was asked for: by the bus's clock where litci itself asks, by the
	// person's otherwise.
	At time.Time `json:"at"`
	// Spared are the attempts that came after the request, by the index of their job:
	// the first one that it does not concern.
	Spared map[int]int `json:"spared,omitempty"`
}

// concerns tells whether an attempt is meant.
func (r Request) concerns(index, attempt int) bool {
	first, spared := r.Spared[index]
	return !spared || attempt < first
}

// A request for a run is kept under cancel.<run>, one for an attempt of a job
// under cancel.<run>.<index>.<attempt>.
func runKey(run string) string { return "cancel." + run }

func jobKey(run string, index, attempt int) string {
	return fmt.Sprintf("cancel.%s.%d.%d", run, index, attempt)
}

const everyKey = "cancel.>"

// Run asks for the end of all that a run has not ended.
func Run(ctx context.Context, b *bus.Bus, run string, request Request) error {
	return ask(ctx, b, runKey(run), request)
}

// Job asks for the end of one attempt of a job.
func Job(ctx context.Context, b *bus.Bus, run string, index, attempt int, request Request) error {
	return ask(ctx, b, jobKey(run, index, attempt), request)
}

func ask(ctx context.Context, b *bus.Bus, key string, request Request) error {
	_, err := bus.Change(ctx, b.Runs(), key, func(r *Request) bool {
		if r.ID == request.ID {
			return false
		}
		*r = request
		return true
	})
	if err != nil {
		return fmt.Errorf("cancellation of %s: %w", strings.TrimPrefix(key, "cancel."), err)
	}
	return nil
}

// Spare keeps a new attempt, and those after it, out of what was asked for its run
// before somebody wished for it, by the bus's clock. What was asked for since then
// concerns it: a re-run is not the last word.
func Spare(ctx context.Context, b *bus.Bus, run string, index, attempt int, wished time.Time) error {
	for {
		done, err := spare(ctx, b, run, index, attempt, wished)
		if err != nil {
			return fmt.Errorf("cancellation of %s: %w", run, err)
		}
		if done {
			return nil
		}
	}
}

// spare is one try; done is false where somebody changed the request meanwhile.
func spare(ctx context.Context, b *bus.Bus, run string, index, attempt int, wished time.Time) (done bool, err error) {
	data, revision, stored, err := b.Runs().GetStored(ctx, runKey(run))
	if errors.Is(err, bus.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	var r Request
	if err := json.Unmarshal(data, &r); err != nil {
		return false, err
	}
	if r.By != "" && len(r.Spared) == 0 {
		r.At = stored // a person's clock is not the bus's; kept, since the write below is stored at another time
	}
	if !r.concerns(index, attempt) || !r.At.Before(wished) {
		return true, nil
	}
	if r.Spared == nil {
		r.Spared = map[int]int{}
	}
	r.Spared[index] = attempt
	if data, err = json.Marshal(r); err != nil {
		return false, err
	}
	_, err = b.Runs().Put(ctx, runKey(run), data, revision)
	if errors.Is(err, bus.ErrConflict) {
		return false, nil
	}
	return err == nil, err
}

// OfRun returns what was asked of a run, nil where nothing was.
func OfRun(ctx context.Context, b *bus.Bus, run string) (*Request, error) {
	return load(ctx, b, runKey(run))
}

// Of returns the request that concerns an attempt, nil where there is none.
func Of(ctx context.Context, b *bus.Bus, run string, index, attempt int) (*Request, error) {
	r, err := load(ctx, b, runKey(run))
	if err != nil || r != nil && r.concerns(index, attempt) {
		return r, err
	}
	return load(ctx, b, jobKey(run, index, attempt))
}

func load(ctx context.Context, b *bus.Bus, key string) (*Request, error) {
	data, _, err := b.Runs().Get(ctx, key)
	if errors.Is(err, bus.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cancellation of %s: %w", strings.TrimPrefix(key, "cancel."), err)
	}
	var r Request
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("cancellation of %s: %w", strings.TrimPrefix(key, "cancel."), err)
	}
	return &r, nil
}

// parse takes a key apart; index and attempt are -1 and 0 for a whole run.
func parse(key string) (run string, index, attempt int, ok bool) {
	parts := strings.Split(strings.TrimPrefix(key, "cancel."), ".")
	switch len(parts) {
	case 1:
		return parts[0], -1, 0, parts[0] != ""
	case 3:
		index, err := strconv.Atoi(parts[1])
		attempt, err2 := strconv.Atoi(parts[2])
		return parts[0], index, attempt, err == nil && err2 == nil
	}
	return "", 0, 0, false
}
