package mesh

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/local"
)

// StopJobs ends the jobs that still run below the data directory, process trees and
// all, and returns the ones it ended. Services leave jobs running when they stop,
// because others take them up; a mesh that nobody starts again must not.
func StopJobs(ctx context.Context, cfg *config.Config, grace time.Duration, log *zap.Logger) ([]executor.Handle, error) {
	e, err := local.Open(cfg, log)
	if err != nil {
		return nil, err
	}
	jobs, err := e.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("jobs: %w", err)
	}
	var stopped []executor.Handle
	var failed error
	for _, h := range jobs {
		if state, err := e.Observe(ctx, h); err != nil || state.Phase == executor.Ended || state.Phase == executor.Absent {
			failed = errors.Join(failed, err)
			continue
		}
		if err := e.Stop(ctx, h, grace); err != nil {
			failed = errors.Join(failed, fmt.Errorf("job %s: %w", h.ID, err))
			continue
		}
		stopped = append(stopped, h)
	}
	for _, h := range stopped {
		if err := untilEnded(ctx, e, h); err != nil {
			failed = errors.Join(failed, fmt.Errorf("job %s: %w", h.ID, err))
		}
	}
	return stopped, failed
}

func untilEnded(ctx context.Context, e *local.Executor, h executor.Handle) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		state, err := e.Observe(ctx, h)
		if err != nil || state.Phase == executor.Ended || state.Phase == executor.Absent {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
