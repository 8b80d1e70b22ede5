package mesh

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/litci/litci/pkg/executor"
)

// EndJobs stops every job of an executor, process trees and all, and returns when
// none is left that runs or could begin. Services leave jobs running when they stop,
// because others take them up; a mesh that nobody starts again must not. When hard
// is closed the grace is over; nil keeps it.
func EndJobs(ctx context.Context, e executor.Executor, grace time.Duration, hard <-chan struct{}) error {
	if err := stopAll(ctx, e, grace); err != nil {
		return err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		left, err := jobsLeft(ctx, e)
		if err != nil || left == 0 {
			return err
		}
		select {
		case <-hard:
			hard = nil
			if err := stopAll(ctx, e, 0); err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("jobs that did not end when stopped: %d", left)
		case <-tick.C:
		}
	}
}

// RemoveJobs removes the ended jobs of an executor, which may have made folders that
// only the executor knows how to delete. Where others have jobs at the same service,
// nothing of this mesh's installation is left.
func RemoveJobs(ctx context.Context, e executor.Executor) error {
	if own, ok := e.(interface{ Clear(context.Context) error }); ok {
		return own.Clear(ctx)
	}
	handles, err := handles(ctx, e)
	for _, h := range handles {
		err = errors.Join(err, e.Remove(ctx, h))
	}
	return err
}

func stopAll(ctx context.Context, e executor.Executor, grace time.Duration) error {
	handles, err := handles(ctx, e)
	for _, h := range handles {
		err = errors.Join(err, e.Stop(ctx, h, grace))
	}
	return err
}

// jobsLeft counts the jobs that run, or may begin. One that was prepared when the
// launcher ended, and never began, is removed.
func jobsLeft(ctx context.Context, e executor.Executor) (int, error) {
	handles, err := handles(ctx, e)
	if err != nil {
		return 0, err
	}
	left := 0
	for _, h := range handles {
		state, err := e.Observe(ctx, h)
		if err != nil {
			return 0, err
		}
		if state.Phase == executor.Pending {
			err = e.Remove(ctx, h)
		}
		if errors.Is(err, executor.ErrRunning) || state.Phase == executor.Running {
			left++
		} else if err != nil {
			return 0, err
		}
	}
	return left, nil
}

// handles are those of all jobs that an executor has.
func handles(ctx context.Context, e executor.Executor) ([]executor.Handle, error) {
	lister, ok := e.(executor.Lister)
	if !ok {
		return nil, fmt.Errorf("executor %s cannot list its jobs", e.Name())
	}
	return lister.List(ctx)
}
