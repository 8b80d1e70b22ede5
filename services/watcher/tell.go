package watcher

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/flow"
)

// telling is what was said of a job so far.
type telling struct {
	// running says that it runs.
	running bool
	// message is what it waits for, as it was told last, at.
	message string
	at      time.Time
}

// retell is how often the same message is told again: who hears nothing of a job
// takes its watcher for dead.
const retell = 20 * time.Minute

// tell publishes what is new about a job that has not ended: once that it runs, and
// before that what it waits for, when that changes, and not too often.
func (f *follower) tell(ctx context.Context, state *executor.State) {
	message := cutText(f.pipeline.masker.hide(clean([]byte(state.Message))), maxExcerpt)
	switch state.Phase {
	case executor.Running:
		if !f.told.running {
			f.told.running = f.say(ctx, flow.Running, message, state.StartedAt)
		}
	case executor.Pending:
		f.waits = message
		silent := time.Since(f.told.at)
		if silent < f.options.Tell || silent < retell && (message == "" || message == f.told.message) {
			return
		}
		if f.say(ctx, flow.Starting, message, time.Time{}) {
			f.told.message, f.told.at = message, time.Now()
		}
	}
}

// say publishes a status and tells whether that worked.
func (f *follower) say(ctx context.Context, state flow.State, message string, at time.Time) bool {
	status := f.status
	status.State, status.Message, status.At, status.Handle = state, message, at, nil
	status.Notes = slices.Concat(status.Notes, f.notes)
	if at.IsZero() {
		status.At = time.Now().UTC()
	}
	if err := bus.Publish(ctx, f.bus, flow.States.OfPool(f.options.Pool), status); err != nil {
		f.log.Warn("status will be sent later", zap.String("job", f.status.Job), zap.String("state", string(state)), zap.Error(err))
		return false
	}
	return true
}
