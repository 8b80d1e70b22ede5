package localrun

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/litci/litci/cmd/litci/internal/board"
	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/flow"
)

const (
	// grace is the time between TERM and KILL when a run is stopped.
	grace = 10 * time.Second
	// slack is how long behind its grace a job is waited for, and how long verdicts are
	// waited for when all jobs have ended.
	slack = 10 * time.Second
)

// interrupt stops what runs and lets nothing more begin. hard ends the grace.
func (s *scene) interrupt(hard context.Context, show *board.Board, follow *followed) error {
	var running []string
	for _, job := range show.Jobs() {
		if job.Result == nil && job.State != flow.Queued {
			running = append(running, job.Check)
		}
	}
	text := "interrupted: nothing runs"
	if len(running) > 0 {
		text = fmt.Sprintf("interrupted: stopping %s (%s); again ends them at once", strings.Join(running, ", "), grace)
	}
	show.Note(text)
	failed := s.launcher.stop()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(hard), grace+slack)
	defer cancel()
	if err := s.end(ctx, hard); err != nil {
		return errors.Join(failed, err)
	}
	// The watcher reads the rest of the logs and says how the jobs ended.
	ctx, cancel = context.WithTimeout(ctx, slack)
	defer cancel()
	for {
		changed := show.Changed()
		if !started(show.Jobs()) {
			return failed
		}
		select {
		case <-ctx.Done():
			return failed
		case <-s.watcher.ended:
			return failed
		case err := <-follow.failed:
			return errors.Join(failed, err)
		case <-changed:
		}
	}
}

// started tells whether a job was started and has no result.
func started(jobs []board.Job) bool {
	for _, job := range jobs {
		if job.Result == nil && job.State != flow.Queued {
			return true
		}
	}
	return false
}

// end stops every job and returns when none is left that runs or could begin.
func (s *scene) end(ctx, hard context.Context) error {
	if err := s.stopAll(ctx, grace); err != nil {
		return err
	}
	over := hard.Done()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		left, err := s.left(ctx)
		if err != nil || left == 0 {
			return err
		}
		select {
		case <-over:
			over = nil
			if err := s.stopAll(ctx, 0); err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("%s did not end when stopped", count(left, "job"))
		case <-tick.C:
		}
	}
}

func (s *scene) stopAll(ctx context.Context, grace time.Duration) error {
	handles, err := s.handles(ctx)
	for _, h := range handles {
		err = errors.Join(err, s.executor.Stop(ctx, h, grace))
	}
	return err
}

// left counts the jobs that run, or may begin. One that was prepared when the
// launcher ended, and never began, is removed.
func (s *scene) left(ctx context.Context) (int, error) {
	handles, err := s.handles(ctx)
	if err != nil {
		return 0, err
	}
	left := 0
	for _, h := range handles {
		state, err := s.executor.Observe(ctx, h)
		if err != nil {
			return 0, err
		}
		if state.Phase == executor.Pending {
			err = s.executor.Remove(ctx, h)
		}
		if errors.Is(err, executor.ErrRunning) || state.Phase == executor.Running {
			left++
		} else if err != nil {
			return 0, err
		}
	}
	return left, nil
}
