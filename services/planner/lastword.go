package planner

import (
	"context"
	"fmt"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/ghapp"
)

// lastWord tells people that planning a commit was given up: otherwise its required
// checks would be waited for in vain. Of labels and the like nobody waits for a
// check, and what was to run again keeps the checks that it has; but what was raised
// and not published yet must not stand open for ever.
func (p *Planner) lastWord(ctx context.Context, e flow.Event, cause error) error {
	a, ignored, err := read(e, bus.Delivery(ctx).Stored)
	if err != nil || ignored != "" {
		return nil
	}
	if a.wish != nil {
		return p.lastWish(ctx, a)
	}
	if a.closes || !a.fresh() {
		return nil
	}
	if a.newCode {
		cancelled, err := p.cancelled(ctx, a.run(""))
		if err != nil {
			return err
		}
		if cancelled {
			a.Run = a.run(a.nonce)
		}
	}
	if planned, err := p.planned(ctx, a.Run); planned || err != nil {
		return err
	}
	if key := headKey(a.Identity); key != "" {
		h, _, err := p.record(ctx, key)
		if err != nil {
			return err
		}
		if h.Closed || h.SHA != a.SHA && h.At.After(a.stored) {
			return nil // nobody waits for this commit any more
		}
	}
	if err := bus.Publish(ctx, p.bus, flow.Results, result(a, flow.CauseGivenUp, givenUp(a, cause), flow.Outcome{})); err != nil {
		return err
	}
	return p.note(ctx, a, flow.CauseGivenUp)
}

// givenUp says why a commit was not planned, and what to do. The error itself is for
// the operator.
func givenUp(a ask, cause error) string {
	why := "it failed again and again"
	switch {
	case ghapp.IsNotFound(cause):
		why = "GitHub does not find the commit, or does not show it to litci"
	case ghapp.IsRefused(cause):
		why = "GitHub refuses litci what it must read"
	}
	return fmt.Sprintf("Planning was given up: %s. Nothing of commit %s was run. Re-running the check litci plans it again; the planner's log tells more under delivery %s.", why, a.SHA[:7], a.Delivery)
}
