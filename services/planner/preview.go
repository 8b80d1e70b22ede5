package planner

import (
	"context"

	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/workflow"
)

// Preview is what planning an event now would come to.
type Preview struct {
	// Ignored says why nothing would be published.
	Ignored string
	// Plan and Jobs would be published together; or Result, where nothing can start.
	Plan   *flow.Plan
	Jobs   []flow.Job
	Result *flow.Result
	// Ends are the runs whose end would be asked for.
	Ends []string
	// Again are the new attempts of jobs, by id, and Replanned the runs that would be
	// planned once more, for events that want something to run again.
	Again     []string
	Replanned []string
}

// Preview says what planning an event now would come to. It publishes nothing and
// stores nothing.
func (p *Planner) Preview(ctx context.Context, e flow.Event) (Preview, error) {
	var v Preview
	a, ignored, err := read(e, e.ReceivedAt)
	if err != nil || ignored != "" {
		v.Ignored = ignored
		return v, err
	}
	if a.wish != nil {
		return p.previewWish(ctx, a)
	}
	if err := p.renew(ctx, &a); err != nil {
		return v, err
	}
	if known, err := p.known(ctx, a); err != nil || known {
		v.Ignored = reasonPlanned
		return v, err
	}
	repo, err := p.repository(a)
	if err != nil {
		return v, err
	}
	if v.Ignored, v.Ends, err = p.foresee(ctx, repo, &a); err != nil || v.Ignored != "" || a.closes {
		return v, err
	}
	if planned, err := p.planned(ctx, a.Run); err != nil || planned {
		v.Ignored = reasonPlanned
		return v, err
	}
	found, err := p.decide(ctx, repo, &a)
	switch {
	case err != nil:
		return v, err
	case found.ignored != "":
		v.Ignored = found.ignored
	case found.cause != "":
		r := result(a, found.cause, found.message, found.Outcome)
		v.Result = &r
	default:
		plan := found.plan(a)
		v.Plan, v.Jobs = &plan, found.jobs
	}
	return v, nil
}

// foresee says what an event would do to the record of its head, and chooses its run.
func (p *Planner) foresee(ctx context.Context, repo repository, a *ask) (ignored string, ends []string, err error) {
	if a.Event == workflow.EventPush {
		return "", nil, p.choose(ctx, a)
	}
	have, _, err := p.record(ctx, headKey(a.Identity))
	if err != nil {
		return "", nil, err
	}
	var next head
	if a.closes {
		next, ignored, err = p.ending(ctx, repo, *a, have)
	} else {
		next, ignored, err = p.look(ctx, repo, a, have)
	}
	for _, g := range next.Gone {
		ends = append(ends, g.Run)
	}
	if ignored != "" {
		ends = nil
	}
	return ignored, ends, err
}

func (p *Planner) previewWish(ctx context.Context, a ask) (v Preview, err error) {
	found, ignored, err := p.wanted(ctx, a)
	v.Ignored = ignored
	for _, k := range found.jobs {
		v.Again = append(v.Again, flow.AttemptID(k.Job, k.attempt()+1))
	}
	for _, run := range found.plans {
		v.Replanned = append(v.Replanned, run.Run)
	}
	return v, err
}
