package chaos

import (
	"context"
	"fmt"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/fakegithub"
)

const (
	// look is how often the mesh is looked at, and looks how many times in a row it must
	// be quiet: a message that goes back is in nobody's hand for a moment.
	look  = 500 * time.Millisecond
	looks = 4
	// patience is how long what is left may stay as it is before it counts as stuck. It
	// is longer than all that litci does by the clock.
	patience = 90 * time.Second
	// reserve is kept of the time to stop and to report what is stuck.
	reserve = 30 * time.Second
)

// settle waits until nothing is left to do, or time is nearly over: then what is
// left is a finding.
func (p *play) settle(ctx context.Context) error {
	deadline, _ := ctx.Deadline()
	late := time.NewTimer(time.Until(deadline.Add(-reserve)))
	defer late.Stop()
	tick := time.NewTicker(look)
	defer tick.Stop()
	told, changed, before := time.Now(), time.Now(), ""
	for quiet := 0; quiet < looks; {
		left, err := p.left(ctx)
		switch {
		case err != nil && ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			left = err.Error()
		}
		quiet++
		if left != "" {
			quiet = 0
		}
		if left != before {
			before, changed = left, time.Now()
		}
		if left != "" && time.Since(changed) > patience {
			p.took = time.Since(p.began)
			p.show("nothing has changed for %s; left: %s", patience, left)
			return nil
		}
		if left != "" && time.Since(told) > tellEvery {
			told = time.Now()
			p.show("%s", left)
		}
		select {
		case <-tick.C:
		case <-late.C:
			p.took = time.Since(p.began)
			p.show("time is over; left: %s", left)
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p.took = time.Since(p.began)
	p.show("all is quiet")
	return nil
}

// left says what is still to be done, or nothing.
func (p *play) left(ctx context.Context) (string, error) {
	behind, err := lags(ctx, p.bus)
	if err != nil {
		return "", err
	}
	if len(busy(behind)) > 0 {
		var waiting, inHand uint64
		for _, l := range behind {
			waiting, inHand = waiting+l.Waiting, inHand+l.InHand
		}
		return fmt.Sprintf("%d messages wait, %d are in hand", waiting, inHand), nil
	}
	state, err := p.scene.hub.state(ctx)
	if err != nil {
		return "", err
	}
	open, done := 0, map[string]bool{}
	for _, c := range state.CheckRuns {
		if c.Status != "completed" {
			open++
		} else if c.Name == aggregateCheck {
			done[c.HeadSHA] = true
		}
	}
	unplanned := 0
	for i, e := range p.schedule.Events {
		if !superseded(p.schedule.Events, e) && !done[p.scene.repo.commits[i]] {
			unplanned++
		}
	}
	if open > 0 || unplanned > 0 {
		return fmt.Sprintf("%d checks are open, %d events have no verdict", open, unplanned), nil
	}
	return "", nil
}

// askWithin bounds one question to NATS: what was asked of a server that was killed is
// never answered.
const askWithin = 5 * time.Second

// lags tells how far behind every consumer is.
func lags(ctx context.Context, b *bus.Bus) ([]bus.Lag, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	return b.Lags(ctx)
}

// busy are the consumers that have something left.
func busy(lags []bus.Lag) []string {
	var list []string
	for _, l := range lags {
		if l.Waiting+l.InHand > 0 {
			list = append(list, fmt.Sprintf("consumer %s of %s: %d messages wait, %d are in hand", l.Durable, l.Stream, l.Waiting, l.InHand))
		}
	}
	return list
}

// missedOf counts the events whose webhook failed at first.
func missedOf(state fakegithub.State, commits []string) int {
	failed := map[string]bool{}
	for _, d := range state.Deliveries {
		commit := commitOf(d.Request.Payload)
		if commit != "" && !d.Redelivery && d.StatusCode/100 != 2 {
			failed[commit] = true
		}
	}
	missed := 0
	for _, c := range commits {
		if failed[c] {
			missed++
		}
	}
	return missed
}
