package launcher

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/executor"
)

// tombstoneAge is how long an executor remembers that a removed job was run:
// longer than the eight days for which the stream keeps the message that starts it.
const tombstoneAge = 9 * 24 * time.Hour

// keepSweeping removes ended jobs from the executor when their time is over.
func (l *Launcher) keepSweeping(ctx context.Context) {
	tick := time.NewTicker(min(l.options.Retention, time.Hour))
	defer tick.Stop()
	for {
		if err := l.sweep(ctx, time.Now()); err != nil && ctx.Err() == nil {
			l.log.Warn("ended jobs cannot be removed", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// sweep removes the jobs that ended longer ago than the retention, and what
// remains of those that ended longer ago than anybody can ask for them.
func (l *Launcher) sweep(ctx context.Context, now time.Time) error {
	var failed []error
	if lister, ok := l.executor.(executor.Lister); ok {
		handles, err := lister.List(ctx)
		if err != nil {
			return err
		}
		for _, h := range handles {
			// A large folder takes seconds to remove, and hundreds may wait.
			if err := ctx.Err(); err != nil {
				return errors.Join(append(failed, err)...)
			}
			state, err := l.executor.Observe(ctx, h)
			if err != nil {
				failed = append(failed, err)
				continue
			}
			if state.Phase != executor.Ended || state.FinishedAt.IsZero() || now.Sub(state.FinishedAt) < l.options.Retention {
				continue
			}
			if err := l.executor.Remove(ctx, h); err != nil {
				failed = append(failed, err)
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return errors.Join(append(failed, err)...)
	}
	if collector, ok := l.executor.(executor.Collector); ok {
		removed, err := collector.Collect(ctx, now.Add(-max(tombstoneAge, l.options.Retention)))
		if removed > 0 {
			l.log.Info("collected", zap.Int("jobs", removed))
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}
