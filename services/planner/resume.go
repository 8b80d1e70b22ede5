package planner

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

// resumeMargin is how far the clocks of two streams of the bus may be apart.
const resumeMargin = time.Minute

// wished tells whether somebody wanted the newest attempt, which has no verdict.
func (k ran) wished() bool {
	last := len(k.record.Earlier) - 1
	return last >= 0 && k.record.Result == nil && k.record.Earlier[last].Rerun
}

// unended are the jobs whose newest attempt is wished for and open.
func unended(jobs []ran) []ran {
	return slices.DeleteFunc(slices.Clone(jobs), func(k ran) bool { return !k.wished() })
}

// resume publishes those attempts that were raised and never published, since whoever
// wanted them came to nothing in between: nobody holds such an attempt, and no wish
// would raise another. The stream says which they are: it forgets message ids sooner
// than jobs end, and a second message could start a job twice.
func (p *Planner) resume(ctx context.Context, log *zap.Logger, jobs []ran) error {
	missing := map[flow.Subject[flow.Job]]map[string]ran{}
	since := time.Now()
	for _, k := range jobs {
		job, err := bus.JobOf(ctx, p.bus, k.plan.Run, k.index)
		if errors.Is(err, bus.ErrNotFound) {
			continue // too old to run
		}
		if err != nil {
			return err
		}
		subject := flow.Jobs.OfPool(job.Pool)
		if missing[subject] == nil {
			missing[subject] = map[string]ran{}
		}
		missing[subject][flow.AttemptID(k.Job, k.attempt())] = k
		if k.record.RaisedAt.Before(since) {
			since = k.record.RaisedAt
		}
	}
	for subject, attempts := range missing {
		err := bus.Scan(ctx, p.bus, subject, bus.From{Time: since.Add(-resumeMargin)}, func(_ bus.Meta, job flow.Job) bool {
			delete(attempts, job.AttemptID())
			return len(attempts) > 0
		})
		if err != nil {
			return err
		}
		for id, k := range attempts {
			if err := verdict.Resume(ctx, p.bus, k.plan.Run, k.index, k.attempt()-1); err != nil {
				return fmt.Errorf("attempt %s: %w", id, err)
			}
			log.Info("published after all", zap.String("run", k.plan.Run), zap.String("job", k.Job), zap.Int("attempt", k.attempt()))
		}
	}
	return nil
}

// lastWish publishes what a wish raised before it was given up.
func (p *Planner) lastWish(ctx context.Context, a ask) error {
	found, _, err := p.wanted(ctx, a)
	if err != nil {
		return err
	}
	return p.resume(ctx, p.log.With(zap.String("delivery", a.Delivery)), append(found.open, unended(found.jobs)...))
}
