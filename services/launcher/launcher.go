// Package launcher starts jobs on an executor.
//
//	in   flow.Jobs     one matrix combination of one workflow
//	out  flow.States   started, with the handle by which any watcher finds the job
//	     flow.Results  why a job cannot be started
//
// A job that waits for a slot is held: its message stays in hand, in a line per
// repository. A job keeps its slot until it has ended. Which slots are in use is
// read from the executor, at the start and every minute, so nothing is forgotten
// by a restart and nothing drifts.
//
// Several launchers on one executor share its work, each with slots of its own;
// what another one started takes slots here too, from the next count on. Between
// two counts they may together run more jobs than one of them would.
//
// An executor that belongs to a host has its pool to itself: the launcher claims
// the pool at its start and refuses to serve one that another host, or another
// folder, has claimed.
package launcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

// Options are what an operator sets. Zero values take the defaults.
type Options struct {
	// Pool is the named pool that is served; empty is the unnamed one.
	Pool string
	// Slots is how many jobs run at once; at least one.
	Slots int
	// QueueTimeout ends the wait for a slot of jobs that do not say; default 60 min.
	QueueTimeout time.Duration
	// GitHubURL is the address of a GitHub Enterprise server; empty is github.com.
	GitHubURL string
	// Retention is how long the executor keeps ended jobs; default 24 h.
	Retention time.Duration
	// Patience are the waits between tries of a start that fails; its length is the
	// number of retries. Default 1, 2, 4, 8, 15 and 30 s.
	Patience []time.Duration
	// Poll is how often the executor is asked whether a job still runs: at first
	// every Poll, later ever more rarely up to MaxPoll; default 50 ms to 1 s.
	Poll, MaxPoll time.Duration
	// Count is the time between two counts of the slots in use; default 1 min.
	Count time.Duration
	// Renew is the time between two renewals of the claim on the pool, which lives five
	// times as long; default 1 min.
	Renew time.Duration
}

func (o Options) withDefaults() Options {
	set := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	set(&o.QueueTimeout, 60*time.Minute)
	set(&o.Retention, 24*time.Hour)
	set(&o.Poll, 50*time.Millisecond)
	set(&o.MaxPoll, time.Second)
	set(&o.Count, time.Minute)
	set(&o.Renew, time.Minute)
	if o.Patience == nil {
		o.Patience = []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second, 30 * time.Second}
	}
	return o
}

const (
	// maxWaiting is how many jobs one launcher holds; more wait in the stream.
	maxWaiting = 50_000
	// giveUp is as long as the stream keeps a job: its age says nothing, since it may
	// have waited for days.
	giveUp = 7 * 24 * time.Hour
)

// Launcher is the service.
type Launcher struct {
	bus      *bus.Bus
	executor executor.Executor
	options  Options
	server   server
	slots    *slots
	// claimant is nil for an executor that all hosts reach.
	claimant *claimant
	log      *zap.Logger
}

// New returns a Launcher that starts jobs on an executor.
func New(b *bus.Bus, e executor.Executor, options Options, log *zap.Logger) *Launcher {
	options = options.withDefaults()
	return &Launcher{
		bus: b, executor: e, options: options, server: serverOf(options.GitHubURL),
		slots: newSlots(e, options, log), claimant: newClaimant(b, e, options, log), log: log,
	}
}

// Run starts jobs until ctx ends, then gives back what waits and returns nil.
// Jobs that run go on. It fails when the pool belongs to another host.
func (l *Launcher) Run(ctx context.Context) error {
	if l.claimant == nil {
		return l.serve(ctx)
	}
	if err := l.claimant.begin(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer l.claimant.release(ctx)
	return l.serve(ctx)
}

// serve starts jobs until ctx ends or the pool is lost.
func (l *Launcher) serve(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	if l.claimant != nil {
		group.Go(func() error { return l.claimant.keep(ctx) })
	}
	follow := func(h executor.Handle) {
		group.Go(func() error { l.slots.follow(ctx, h); return nil })
	}
	if l.slots.firstCount(ctx, follow) != nil {
		return group.Wait() // ctx ended
	}
	group.Go(func() error { l.slots.keepCounting(ctx, follow); return nil })
	group.Go(func() error { l.keepSweeping(ctx); return nil })
	group.Go(func() error {
		consumer := bus.Consumer{Service: "launcher", Pool: l.options.Pool, Hold: true, Places: maxWaiting, GiveUp: giveUp}
		return bus.Consume(ctx, l.bus, flow.Jobs, consumer, func(ctx context.Context, job flow.Job) error {
			return l.launch(ctx, job, follow)
		})
	})
	return group.Wait()
}

// launch brings one job from its message to its handle: slot, start, publish.
// follow takes over the slot of a job that was started.
func (l *Launcher) launch(ctx context.Context, job flow.Job, follow func(executor.Handle)) error {
	if over, err := l.over(ctx, job); over || err != nil {
		return err
	}
	id := flow.ExternalName(job.Job, job.Attempt)
	// A job that was started before is adopted, whatever time it is.
	if !l.slots.knows(id) {
		late, err := l.wait(ctx, job, id)
		if late > 0 {
			l.log.Info("no capacity", zap.String("job", job.Job), zap.Int("attempt", job.Attempt), zap.String("run", job.Run))
			message := fmt.Sprintf("waited %s for a free slot: all slots were taken", minutes(late))
			return verdict.Publish(ctx, l.bus, flow.ResultOf(job, flow.Failure, flow.CauseNoCapacity, message, time.Now().UTC()))
		}
		if err != nil {
			return err
		}
		// The wait may have been long, and somebody may have ended the job meanwhile.
		if over, err := l.over(ctx, job); over || err != nil {
			l.slots.release(id)
			return err
		}
	}
	handle, err := l.start(ctx, job)
	if err != nil {
		l.slots.release(id)
		return l.refuse(ctx, job, err)
	}
	l.slots.remember(handle)
	follow(handle)

	status := flow.StatusOf(job, flow.Started, time.Now().UTC())
	status.Notes = notes(job, l.executor.Name())
	if status.Handle, err = json.Marshal(handle); err != nil {
		return fmt.Errorf("handle of %s: %w", id, err)
	}
	if err := bus.Publish(ctx, l.bus, flow.States.OfPool(l.options.Pool), status); err != nil {
		return err
	}
	l.log.Info("started", zap.String("job", job.Job), zap.Int("attempt", job.Attempt), zap.String("run", job.Run),
		zap.String("delivery", job.Delivery), zap.String("repo", job.Repo.FullName()), zap.String("sha", job.SHA))
	return nil
}

// over tells whether a job must not be started any more, and sends the verdict
// that it has.
func (l *Launcher) over(ctx context.Context, job flow.Job) (bool, error) {
	ended, err := verdict.Of(ctx, l.bus, job.Run, job.Index, job.Attempt)
	switch {
	case errors.Is(err, verdict.ErrSuperseded):
		return true, nil
	case err != nil || ended == nil:
		return false, err
	}
	// It may have been recorded and not sent.
	return true, bus.Publish(ctx, l.bus, flow.Results, *ended)
}

// wait holds the job until it has a slot. late is set when its time in the queue
// was over first: how long that is.
func (l *Launcher) wait(ctx context.Context, job flow.Job, id string) (late time.Duration, err error) {
	limit := l.options.QueueTimeout
	if job.QueueTimeoutMinutes > 0 {
		limit = time.Duration(job.QueueTimeoutMinutes) * time.Minute
	}
	since := job.QueuedAt
	if since.IsZero() {
		since = bus.Delivery(ctx).Stored
	}
	waiting, cancel := context.WithDeadline(ctx, since.Add(limit))
	defer cancel()
	err = l.slots.queue.acquire(waiting, job.Repo.ID, id)
	if err != nil && ctx.Err() == nil {
		return limit, nil
	}
	return 0, err
}

// minutes is a duration as people say it: 60m, 90s.
func minutes(d time.Duration) string {
	if d%time.Minute == 0 {
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return d.Round(time.Second).String()
}

// start asks the executor until it starts the job, refuses it, or was asked often
// enough.
func (l *Launcher) start(ctx context.Context, job flow.Job) (executor.Handle, error) {
	spec := specOf(job, l.server, func(ctx context.Context) (io.ReadCloser, error) {
		return l.bus.Sources().Get(ctx, job.Source)
	})
	for try := 0; ; try++ {
		handle, err := l.executor.Start(ctx, spec)
		var refused *executor.StartError
		if err == nil || errors.As(err, &refused) || errors.Is(err, executor.ErrConflict) || try == len(l.options.Patience) {
			return handle, err
		}
		l.log.Warn("start will be retried", zap.String("job", job.Job), zap.Int("attempt", job.Attempt), zap.Error(err))
		select {
		case <-ctx.Done():
			return executor.Handle{}, ctx.Err()
		case <-time.After(l.options.Patience[try]):
		}
	}
}

// refuse ends a job that cannot be started.
func (l *Launcher) refuse(ctx context.Context, job flow.Job, err error) error {
	if ctx.Err() != nil {
		return err // the service stops: another launcher carries on
	}
	var refused *executor.StartError
	conclude := func(cause flow.Cause, message string) error {
		l.log.Info("not started", zap.String("job", job.Job), zap.Int("attempt", job.Attempt), zap.String("run", job.Run), zap.Error(err))
		return verdict.Publish(ctx, l.bus, flow.ResultOf(job, flow.Failure, cause, message, time.Now().UTC()))
	}
	switch {
	case errors.As(err, &refused):
		return conclude(flow.CauseRefused, refused.Message)
	case errors.Is(err, executor.ErrConflict):
		if err := conclude(flow.CauseInfrastructure, "another job of the same name exists on the machine"); err != nil {
			return err
		}
		return bus.Drop(err)
	case errors.Is(err, bus.ErrNotFound):
		return conclude(flow.CauseInfrastructure, "the source archive of the commit is not there any more: archives are kept for a day")
	default:
		return conclude(flow.CauseInfrastructure, "the job could not be started: the machine reports an error, see the launcher's log")
	}
}
