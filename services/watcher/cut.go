package watcher

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/executor"
)

// cut is an end that the watcher itself brings about.
type cut struct {
	// since is when the executor was asked first, sent that it took the request.
	since time.Time
	sent  bool
}

// overdue tells whether a job is behind the end of its time: the run's, which the
// executor enforces first, or the wait for its beginning, which nobody else bounds.
func (f *follower) overdue(ctx context.Context, phase executor.Phase) bool {
	if phase != executor.Pending {
		return time.Since(f.began) > f.timeout+f.options.Grace+f.options.Slack
	}
	waited := time.Since(f.status.At)
	if f.patience == 0 && waited > min(time.Minute, f.options.Patience) {
		f.patience = f.askPatience(ctx)
	}
	return f.patience > 0 && waited > f.patience
}

// askPatience is how long the job may be pending, zero while nobody can say.
func (f *follower) askPatience(ctx context.Context) time.Duration {
	job, err := f.planned(ctx, f.status.Run, f.status.Index)
	switch {
	case err != nil:
		f.log.Warn("queue timeout is asked for later", zap.String("job", f.status.Job), zap.Error(err))
		return 0
	case job != nil && job.QueueTimeoutMinutes > 0:
		return time.Duration(job.QueueTimeoutMinutes) * time.Minute
	}
	return f.options.Patience
}

// press makes the executor end the job: it is asked until it has taken the request.
// When that does not help in time, it returns the state that has to be believed.
// observed is why the executor does not say how the job is.
func (f *follower) press(ctx context.Context, observed error) (given *executor.State) {
	now := time.Now().UTC()
	if f.cut.since.IsZero() {
		f.cut.since = now
		f.log.Info("job is stopped", f.fields(zap.Bool("cancelled", f.request != nil), zap.Bool("late", f.late))...)
	}
	if !f.cut.sent {
		asking, cancel := context.WithTimeout(ctx, callTimeout)
		err := f.executor.Stop(asking, f.handle, f.options.Grace)
		cancel()
		if f.cut.sent = err == nil; !f.cut.sent {
			f.log.Warn("job cannot be stopped", zap.String("job", f.status.Job), zap.Error(err))
		}
	}
	slack := f.options.Force
	if f.late {
		slack = f.options.Slack
	}
	if now.Sub(f.cut.since) <= f.options.Grace+slack {
		return nil
	}
	f.unsure = true
	f.notes = append(f.notes, "the job did not end when it was stopped, and may still run")
	if observed != nil && f.late {
		return lostState("the executor cannot be reached")
	}
	return &executor.State{Phase: executor.Ended, Reason: executor.ReasonStopped, StartedAt: f.startedAt, FinishedAt: now}
}

// hopeless tells whether an executor that has not answered this watcher yet may be
// left alone: somebody asked for the job's end long ago, and its check must not
// hang on a machine that is gone.
func (f *follower) hopeless() bool {
	return f.request != nil && time.Since(f.request.At) > f.options.Grace+f.options.Force
}
