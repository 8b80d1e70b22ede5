package demo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/litci/litci/cmd/litci/internal/board"
	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
)

// poll is how often the demo looks at the emulator and at the streams.
const poll = 25 * time.Millisecond

// Play sends the webhook, shows what passes on the four subjects, and returns what
// GitHub has in the end. It has ended when nothing is left to do on any subject.
func (d *Demo) Play(ctx context.Context) (Report, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body, err := d.payload.fit(d.repo, appID)
	if err != nil {
		return Report{}, err
	}
	show := board.New(board.Options{Out: d.options.Progress, Live: d.options.Live, Color: d.options.Color})
	tails := d.follow(ctx, show)
	sent := time.Now()
	delivery, err := d.github.Deliver(ctx, "pull_request", body)
	if err != nil {
		return Report{}, fmt.Errorf("webhook: %w", err)
	}
	if delivery.StatusCode != 202 {
		return Report{}, fmt.Errorf("webhook was answered with %d %s", delivery.StatusCode, delivery.Status)
	}
	answered := time.Since(sent)
	show.Note(fmt.Sprintf("webhook pull_request.%s of %s/%s#%d answered 202", d.payload.action, d.payload.owner, d.payload.name, d.payload.number))
	seen, err := d.untilReported(ctx, show)
	if err != nil {
		return Report{}, err
	}
	cancel()
	tails()
	show.Close()
	return d.report(show, seen, sent, answered)
}

// follow shows plans, states and results on the board until ctx ends.
func (d *Demo) follow(ctx context.Context, show *board.Board) (wait func()) {
	var tails sync.WaitGroup
	b := d.mesh.Bus
	tails.Go(func() { tail(ctx, b, flow.Plans, show.Plan) })
	tails.Go(func() { tail(ctx, b, flow.States, show.Status) })
	tails.Go(func() { tail(ctx, b, flow.Results, show.Result) })
	tails.Go(func() { show.Redraw(ctx) })
	return tails.Wait
}

// tail lets see have all of a subject until ctx ends. It begins anew where the server did
// not answer in time, which the board does not mind.
func tail[T any](ctx context.Context, b *bus.Bus, subject flow.Subject[T], see func(T)) {
	for {
		err := bus.Tail(ctx, b, subject, func(msg T) bool {
			see(msg)
			return true
		})
		if err == nil || ctx.Err() != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(poll):
		}
	}
}

// silence is how long the server may give no answer before the demo is given up.
const silence = time.Minute

// untilReported waits until no message is waiting or in hand and every check is
// completed. It returns when each check was first seen completed.
func (d *Demo) untilReported(ctx context.Context, show *board.Board) (map[string]time.Time, error) {
	completed := map[string]time.Time{}
	tick := time.NewTicker(poll)
	defer tick.Stop()
	answered := time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("stopped before the run was reported: %w", context.Cause(ctx))
		case <-d.ended:
			return nil, errors.Join(errors.New("the services stopped"), d.failed)
		case <-tick.C:
		}
		open := false
		for _, run := range d.github.State().CheckRuns {
			if run.Status != "completed" {
				open = true
			} else if _, known := completed[run.Name]; !known {
				completed[run.Name] = time.Now()
			}
		}
		if open {
			answered = time.Now() // nothing is asked yet
			continue
		}
		lags, err := d.mesh.Bus.Lags(ctx)
		if err != nil && time.Since(answered) > silence {
			return nil, err
		}
		if err != nil {
			continue // a machine that stood still for a while is late with all answers
		}
		answered = time.Now()
		if idle(lags) && show.Finished() {
			return completed, nil
		}
		if idle(lags) && len(completed) == 0 {
			// The planner put the delivery down without a plan or a word.
			if quiet := d.quiet(ctx, show); quiet {
				return nil, fmt.Errorf("litci had nothing to do for pull_request.%s", d.payload.action)
			}
		}
	}
}

// patience is how far behind a viewer may be.
const patience = 10 * time.Second

// quiet tells that the board stays empty although all messages are settled: a
// viewer may be a moment behind.
func (d *Demo) quiet(ctx context.Context, show *board.Board) bool {
	select {
	case <-show.Changed():
		return false
	case <-ctx.Done():
		return false
	case <-time.After(patience):
		return true
	}
}

func idle(lags []bus.Lag) bool {
	for _, l := range lags {
		if l.Waiting+l.InHand > 0 {
			return false
		}
	}
	return true
}
