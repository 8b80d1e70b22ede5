package reporter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

// The launcher that holds a job ends it at its queue deadline. A job of a pool
// whose launchers are all gone has nobody to do so, and its check would stay
// queued until GitHub calls it stale after 14 days. So the reporter remembers
// each job until somebody speaks of it, and ends those that nobody took.

// unheard is how much longer than a launcher the reporter waits: a launcher's
// word comes first.
const unheard = 30 * time.Minute

// expected is a job that somebody should speak of.
type expected struct {
	Job flow.Job  `json:"job"`
	Due time.Time `json:"due"`
}

func waitKey(run string, index int) string { return fmt.Sprintf("wait.%s.%d", run, index) }

// expect remembers an attempt that nobody spoke of yet.
func (r *Reporter) expect(ctx context.Context, j flow.Job) error {
	state, err := load[jobState](ctx, r.bus.Runs(), jobKey(j.Run, j.Index))
	if err != nil || state.Attempt != j.Attempt || !state.silent() {
		return err
	}
	queue := max(time.Duration(j.QueueTimeoutMinutes)*time.Minute, r.QueueTimeout)
	j.Script, j.Env, j.Params = "", nil, nil // only who it is
	_, err = bus.Change(ctx, r.bus.Runs(), waitKey(j.Run, j.Index), func(e *expected) bool {
		if e.Job.Attempt >= j.Attempt {
			return false
		}
		*e = expected{Job: j, Due: r.turns.now().Add(queue + unheard)}
		return true
	})
	if err != nil {
		return fmt.Errorf("job %s: %w", j.Job, err)
	}
	return nil
}

// silent says that neither a launcher nor a watcher spoke of the attempt.
func (j jobState) silent() bool { return !j.Heard && !j.concluded() }

// sweep looks again and again for jobs that nobody took, until ctx ends.
func (r *Reporter) sweep(ctx context.Context) error {
	tick := time.NewTicker(r.sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := r.endOverdue(ctx); err != nil && ctx.Err() == nil {
			r.log.Warn("sweep", zap.Error(err))
		}
	}
}

// endOverdue forgets the jobs that somebody spoke of, and ends those that are
// due. What is wrong with one of them keeps none of the others waiting.
func (r *Reporter) endOverdue(ctx context.Context) error {
	waiting, err := r.bus.Runs().List(ctx, "wait.>")
	if err != nil {
		return err
	}
	for key, data := range waiting {
		if err := r.endIfDue(ctx, key, data); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			// The next sweep tries again.
			r.once.error(r.log, "overdue job", key, []zap.Field{zap.String("key", key), zap.Error(err)})
		}
	}
	return nil
}

func (r *Reporter) endIfDue(ctx context.Context, key string, data []byte) error {
	e, err := decode[expected](key, data)
	if err != nil {
		return err
	}
	state, err := load[jobState](ctx, r.bus.Runs(), jobKey(e.Job.Run, e.Job.Index))
	if err != nil {
		return err
	}
	if state.silent() && state.Attempt == e.Job.Attempt {
		if r.turns.now().Before(e.Due) {
			return nil
		}
		where := "the unnamed pool"
		if e.Job.Pool != "" {
			where = "pool " + e.Job.Pool
		}
		message := "No launcher of " + where + " took this job."
		// The verdict that stands counts, and a launcher that comes back finds it.
		stands, err := verdict.Settle(ctx, r.bus, flow.ResultOf(e.Job, flow.Failure, flow.CauseNoCapacity, message, r.turns.now().UTC()))
		if err == nil {
			err = r.ended(ctx, stands)
		}
		if err != nil && !errors.Is(err, verdict.ErrSuperseded) && !hopeless(err) {
			return err
		}
	}
	return r.bus.Runs().Delete(ctx, key)
}
