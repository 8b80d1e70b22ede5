package localrun

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/litci/litci/cmd/litci/internal/board"
	"github.com/litci/litci/cmd/litci/internal/mesh"
	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
)

const (
	// grace is the time between TERM and KILL when a run is stopped.
	grace = 10 * time.Second
	// slack is how long behind its grace a job is waited for, and how long verdicts are
	// waited for when all jobs have ended.
	slack = 30 * time.Second
)

// interrupt stops what runs and lets nothing more begin. hard ends the grace.
func (s *scene) interrupt(hard context.Context, show *board.Board, follow *followed) error {
	failed := s.learn(context.WithoutCancel(hard), show)
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
	// A job that the launcher had in hand may have begun after all.
	failed = errors.Join(failed, s.launcher.stop(), s.learn(context.WithoutCancel(hard), show))
	ctx, cancel := context.WithTimeout(context.WithoutCancel(hard), grace+slack)
	defer cancel()
	if err := mesh.EndJobs(ctx, s.executor, grace, hard.Done()); err != nil {
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

// learn shows on the board which states the stream has: what follows it may be behind.
func (s *scene) learn(ctx context.Context, show *board.Board) error {
	return bus.Scan(ctx, s.mesh.Bus, flow.States, bus.From{}, func(_ bus.Meta, state flow.Status) bool {
		show.Status(state)
		return true
	})
}

// started tells whether a job was started and has no result. One that was only about to
// start never gets one: the launcher has stopped.
func started(jobs []board.Job) bool {
	for _, job := range jobs {
		if job.Result == nil && job.State.Rank() >= flow.Started.Rank() {
			return true
		}
	}
	return false
}
