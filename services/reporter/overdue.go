package reporter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/cancellation"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

// The launcher that holds a job ends it at its queue deadline, and the watcher
// that follows it at its run deadline. A machine that dies for good takes both
// along, and a watcher's message may become a dead letter: the check would stay
// open until GitHub calls it stale after 14 days. So the reporter remembers each
// attempt until it has a verdict, and ends those of which nobody spoke in time.

const (
	// unheard is how much longer than a launcher or a watcher the reporter waits:
	// theirs is the first word.
	unheard = 30 * time.Minute
	// concluding is what a watcher takes at most, behind the timeout, to stop a job
	// and to store its log.
	concluding = 10 * time.Minute
	// defaultTimeout is the watchers', for jobs that do not say.
	defaultTimeout = time.Hour
	// abandoned is how long a launcher may take to end a queued job after somebody asked
	// for that, before it is taken for gone.
	abandoned = 2 * time.Minute
	// enders is how many overdue jobs are ended at once: a pool that dies leaves many.
	enders = 64
)

// expected is an attempt that somebody should speak of.
type expected struct {
	Job flow.Job  `json:"job"`
	Due time.Time `json:"due"`
	// Heard is when somebody spoke of it last; zero while nobody did.
	Heard time.Time `json:"heard,omitzero"`
	// Begun says that it is more than queued.
	Begun bool `json:"begun,omitempty"`
}

func waitKey(run string, index, attempt int) string {
	return fmt.Sprintf("wait.%s.%d.%d", run, index, attempt)
}

// expect remembers an attempt that waits to be started.
func (r *Reporter) expect(ctx context.Context, j flow.Job) error {
	return r.remember(ctx, j, func(e *expected) bool {
		if e.Job.Attempt != 0 {
			return false
		}
		*e = expected{Job: j, Due: r.turns.now().Add(r.queueTimeout(j) + unheard)}
		return true
	})
}

// hear gives an attempt of which somebody spoke all the time that it has from there on.
func (r *Reporter) hear(ctx context.Context, s flow.Status) error {
	if s.State.Rank() == 0 {
		return nil
	}
	j := flow.Job{
		Identity: s.Identity, Job: s.Job, Index: s.Index, Attempt: s.Attempt, Check: s.Check, Pool: s.Pool, Mode: s.Mode,
	}
	// The bus's clock is everybody's; a pool's may be wrong.
	at := bus.Delivery(ctx).Stored
	if at.IsZero() {
		at = s.At
	}
	return r.remember(ctx, j, func(e *expected) bool {
		if e.Job.Attempt == 0 {
			e.Job = j
		}
		due := at.Add(r.queueTimeout(e.Job) + unheard)
		if s.State.Rank() > flow.Queued.Rank() {
			timeout := time.Duration(s.TimeoutMinutes) * time.Minute
			if timeout <= 0 {
				timeout = defaultTimeout
			}
			due = at.Add(timeout + concluding + unheard)
		}
		before := *e
		e.Due, e.Heard = latest(e.Due, due), latest(e.Heard, at)
		e.Begun = e.Begun || s.State.Rank() > flow.Queued.Rank()
		return !e.Due.Equal(before.Due) || !e.Heard.Equal(before.Heard) || e.Begun != before.Begun
	})
}

// remember changes what is expected of an attempt that is not over.
func (r *Reporter) remember(ctx context.Context, j flow.Job, change func(*expected) bool) error {
	state, err := load[jobState](ctx, r.bus.Runs(), jobKey(j.Run, j.Index))
	if err == nil && !state.past(j.Attempt) {
		_, err = bus.Change(ctx, r.bus.Runs(), waitKey(j.Run, j.Index, j.Attempt), func(e *expected) bool {
			changed := change(e)
			e.Job.Script, e.Job.Env, e.Job.Params = "", nil, nil // only who it is
			return changed
		})
	}
	if err != nil {
		return fmt.Errorf("job %s: %w", j.Job, err)
	}
	return nil
}

// past says that the attempt has its verdict or gave way to a newer one.
func (j jobState) past(attempt int) bool {
	return j.Attempt > attempt || j.Attempt == attempt && j.concluded()
}

func (r *Reporter) queueTimeout(j flow.Job) time.Duration {
	return max(time.Duration(j.QueueTimeoutMinutes)*time.Minute, r.QueueTimeout)
}

// forget ends the wait for an attempt.
func (r *Reporter) forget(ctx context.Context, run string, index, attempt int) error {
	return r.bus.Runs().Delete(ctx, waitKey(run, index, attempt))
}

// vigil is for how long this process has looked at what the bus holds, without a
// break. While it was away (a restart, a bus that is down, a machine that sleeps)
// others may have been away too, or their words wait to be read.
type vigil struct{ since, last time.Time }

// look goes on with the vigil, or begins another when the last look is too long ago.
func (v *vigil) look(now time.Time, gap time.Duration) {
	now = now.Round(0) // the monotonic clock stops while a machine sleeps
	if v.last.IsZero() || now.Sub(v.last) > gap {
		v.since = now
	}
	v.last = now
}

func (v *vigil) broken() { v.last = time.Time{} }

// sweep looks again and again for attempts of which nobody speaks, until ctx ends.
func (r *Reporter) sweep(ctx context.Context) error {
	tick := time.NewTicker(r.sweepEvery)
	defer tick.Stop()
	var v vigil
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		v.look(r.turns.now(), 5*r.sweepEvery)
		err := r.endOverdue(ctx, v.since)
		switch {
		case err == nil:
			v.last = r.turns.now().Round(0) // it may have taken long
		case ctx.Err() == nil:
			v.broken()
			r.log.Warn("sweep", zap.Error(err))
		}
	}
}

// endOverdue ends the attempts that are due. What is wrong with one of them
// keeps none of the others waiting. since is the begin of the vigil.
func (r *Reporter) endOverdue(ctx context.Context, since time.Time) error {
	waiting, err := r.bus.Runs().List(ctx, "wait.>")
	if err != nil {
		return err
	}
	var wait sync.WaitGroup
	defer wait.Wait()
	places := make(chan struct{}, enders)
	now := r.turns.now()
	for key, data := range waiting {
		e, err := decode[expected](key, data)
		due := !now.Before(latest(e.Due, since.Add(unheard)))
		if err == nil && !due && (e.Begun || now.Sub(latest(e.Heard, since)) < abandoned) {
			continue
		}
		places <- struct{}{}
		wait.Go(func() {
			defer func() { <-places }()
			switch {
			case err != nil:
			case due:
				err = r.end(ctx, key, e, e.verdict(r.turns.now().UTC()))
			default:
				err = r.endCancelled(ctx, key, e, latest(e.Heard, since))
			}
			if err != nil && ctx.Err() == nil {
				// The next sweep tries again.
				r.once.error(r.log, "overdue job", key, []zap.Field{zap.String("key", key), zap.Error(err)})
			}
		})
	}
	return nil
}

// endCancelled ends a queued attempt whose end was asked for, where no launcher did:
// its pool has none any more. heard is when anybody spoke last.
func (r *Reporter) endCancelled(ctx context.Context, key string, e expected, heard time.Time) error {
	asked, err := cancellation.Of(ctx, r.bus, e.Job.Run, e.Job.Index, e.Job.Attempt)
	now := r.turns.now()
	if err != nil || asked == nil || now.Sub(latest(heard, asked.At)) < abandoned {
		return err
	}
	return r.end(ctx, key, e, flow.ResultOf(e.Job, flow.Cancelled, flow.CauseStopped, asked.Reason, now.UTC()))
}

// end gives an attempt of which nobody spoke in time its verdict and shows it.
func (r *Reporter) end(ctx context.Context, key string, e expected, result flow.Result) error {
	state, err := load[jobState](ctx, r.bus.Runs(), jobKey(e.Job.Run, e.Job.Index))
	if err != nil {
		return err
	}
	switch {
	case state.Attempt > e.Job.Attempt:
		return r.bus.Runs().Delete(ctx, key)
	case state.past(e.Job.Attempt): // ended, but perhaps not shown
		err = r.showEnd(ctx, e.Job.Identity, e.Job.Attempt, state)
	default:
		// The verdict that stands counts, and whoever comes back finds it.
		var stands flow.Result
		stands, err = verdict.Settle(ctx, r.bus, result)
		if errors.Is(err, verdict.ErrSuperseded) {
			return r.expectNewest(ctx, key, e.Job)
		}
		if err == nil {
			err = r.ended(ctx, stands)
		}
	}
	if hopeless(err) { // and told so
		return nil
	}
	return err
}

// expectNewest waits for a job's newest attempt in the place of one that gave way.
// Who raised it may have died before anything was published, and for good.
func (r *Reporter) expectNewest(ctx context.Context, key string, j flow.Job) error {
	record, err := verdict.RecordOf(ctx, r.bus, j.Run, j.Index)
	if err != nil {
		return err
	}
	j.Attempt = record.Attempt
	if err := r.expect(ctx, j); err != nil {
		return err
	}
	return r.bus.Runs().Delete(ctx, key)
}

// verdict is the end of an attempt of which nobody spoke in time.
func (e expected) verdict(now time.Time) flow.Result {
	if e.Heard.IsZero() {
		where := "the unnamed pool"
		if e.Job.Pool != "" {
			where = "pool " + e.Job.Pool
		}
		return flow.ResultOf(e.Job, flow.Failure, flow.CauseNoCapacity, "No launcher of "+where+" took this job.", now)
	}
	message := "Nobody has reported on this job since " + e.Heard.UTC().Format("2006-01-02 15:04 UTC") + "."
	return flow.ResultOf(e.Job, flow.Failure, flow.CauseInfrastructure, message, now)
}
