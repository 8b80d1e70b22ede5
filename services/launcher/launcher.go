// Package launcher starts jobs on an executor.
//
//	in   flow.Jobs     one matrix combination of one workflow
//	out  flow.States   queued, with why it waits; started, with the handle by which any
//	                   watcher finds the job
//	     flow.Results  why a job is not started
//
// A job that waits is held: its message stays in hand. First it waits for what its
// workflow asks for (the workflows that it needs, its concurrency group, its
// siblings), then for a slot, in a line per repository. When its end is asked for it
// leaves at once.
//
// A job keeps its slot until it has ended. Which slots are in use is read from the
// executor, at the start and every minute, so nothing is forgotten by a restart and
// nothing drifts. Limits of a repository or an installation hold over all launchers,
// by leases in KV.
//
// Several launchers on one executor share its work, each with slots of its own;
// what another one started takes slots here too, from the next count on. Between
// two counts they may together run more jobs than one of them would.
//
// An executor that belongs to a host has its pool to itself: the launcher claims
// the pool at its start and refuses to serve one that another host, or another
// folder, has claimed. The pool of one that all hosts reach is free to all.
//
// An executor that says it cannot be used is asked again until it can; meanwhile
// the launcher is not ready and takes no jobs.
package launcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/cancellation"
	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/failpoint"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/tracing"
)

// Options are what an operator sets. Zero values take the defaults.
type Options struct {
	// Pool is the named pool that is served; empty is the unnamed one.
	Pool string
	// Slots is how many jobs run at once; at least one.
	Slots int
	// RepositoryJobs and InstallationJobs bound the jobs at once of one repository and
	// one installation over all launchers; 0 is no limit. Limits go before them.
	RepositoryJobs, InstallationJobs int
	// InfraRetries is how often a job is tried again whose machine failed.
	InfraRetries int
	// QueueTimeout ends the wait for a slot of jobs that do not say; default 60 min. It
	// is about capacity: it begins when nothing but a slot is missing, so the time that a
	// job waits for other jobs does not count. A launcher that starts again begins it
	// anew for jobs that wait for others.
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
	// Recheck is the time between two looks at what jobs wait for, beside those that a
	// change asks for; default 1 min.
	Recheck time.Duration
	// Tell is how long a job waits for one thing before people are told; default 1 s.
	Tell time.Duration
	// Memory bounds in bytes what jobs that wait take, with their messages; default
	// 512 MiB. What is beyond it comes again every Recheck, and starts if it then need not
	// wait.
	Memory int
	// Lag is how far what is read may be behind what was written: as long after a job's
	// message nothing that should be there counts as gone; default 1 min.
	Lag time.Duration
	// Tidy is the time between two looks for what an executor has too much of; default
	// 10 min.
	Tidy time.Duration
	// HolderLife is how long the leases of a launcher outlive it; default 90 s.
	HolderLife time.Duration
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
	set(&o.Recheck, time.Minute)
	set(&o.Tell, time.Second)
	set(&o.Lag, time.Minute)
	set(&o.Tidy, 10*time.Minute)
	set(&o.HolderLife, 90*time.Second)
	if o.Memory <= 0 {
		o.Memory = 512 << 20
	}
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
	leases   *leases
	runs     *runs
	waiting  *waiting
	board    cancellation.Board
	// limited is closed when the operator's limits were heard of.
	limited chan struct{}
	// claimant is nil for an executor that all hosts reach.
	claimant *claimant
	fitness  fitness
	log      *zap.Logger
}

// New returns a Launcher that starts jobs on an executor.
func New(b *bus.Bus, e executor.Executor, options Options, log *zap.Logger) *Launcher {
	options = options.withDefaults()
	queue := newQueue(boundsOf(options))
	leases := newLeases(b, queue, options, log)
	l := &Launcher{
		bus: b, executor: e, options: options, server: serverOf(options.GitHubURL),
		slots: newSlots(e, queue, leases.release, options, log), leases: leases, runs: newRuns(b), waiting: newWaiting(queue, options.Memory),
		limited: make(chan struct{}), claimant: newClaimant(b, e, options, log), log: log,
	}
	if _, ok := e.(executor.Checker); ok {
		l.fitness.set(errUnchecked)
	}
	return l
}

// Run starts jobs until ctx ends, then gives back what waits and returns nil.
// Jobs that run go on. It fails when the pool belongs to another host.
func (l *Launcher) Run(ctx context.Context) error {
	// Until it is fit, an executor may not know its place.
	if l.firstCheck(ctx) != nil {
		return nil // ctx ended
	}
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
	for _, beside := range []func(context.Context){
		l.leases.keepAlive, l.leases.follow, l.followLimits, l.keepTelling,
		func(ctx context.Context) { l.board.Run(ctx, l.bus) },
		func(ctx context.Context) { l.runs.follow(ctx, l.options.Recheck) },
	} {
		group.Go(func() error { beside(ctx); return nil })
	}
	// Who does not know the limits, the leases and what runs must start nothing.
	if l.slots.firstCount(ctx, follow) != nil || !heard(ctx, l.leases.current) || !heard(ctx, l.limited) {
		return group.Wait() // ctx ended
	}
	group.Go(func() error { l.slots.keepCounting(ctx, follow); return nil })
	// Not before the jobs that run here are known: their leases would be taken for void.
	group.Go(func() error { l.leases.keepOrder(ctx); return nil })
	group.Go(func() error { l.keepSweeping(ctx); return nil })
	group.Go(func() error { l.keepTidying(ctx); return nil })
	group.Go(func() error {
		consumer := bus.Consumer{
			Service: "launcher", Pool: l.options.Pool, Hold: true, Places: maxWaiting, GiveUp: giveUp,
			LastWord: bus.LastWord(l.giveUp),
		}
		return bus.Consume(ctx, l.bus, flow.Jobs, consumer, func(ctx context.Context, job flow.Job) error {
			return l.launch(ctx, job, follow)
		})
	})
	return group.Wait()
}

// heard waits until a channel is closed; false says that ctx ended first.
func heard(ctx context.Context, closed <-chan struct{}) bool {
	select {
	case <-closed:
		return true
	case <-ctx.Done():
		return false
	}
}

// followLimits lets the operator's limits hold until ctx ends.
func (l *Launcher) followLimits(ctx context.Context) {
	known := sync.OnceFunc(func() { close(l.limited) })
	l.bus.Slots().Follow(ctx, bus.Following{Patterns: []string{limitsKey}}, func(e bus.Entry) {
		if e.Current {
			known()
			return
		}
		var limits Limits
		if !e.Gone {
			var err error
			if limits, err = parseLimits(e.Value); err != nil {
				l.log.Error("limits cannot be read and stay as they were", zap.Error(err))
				return
			}
		}
		l.slots.queue.limit(limits)
	})
}

// launch brings one job from its message to its handle: conditions, slot, start,
// publish. follow takes over the slot of a job that was started.
func (l *Launcher) launch(ctx context.Context, job flow.Job, follow func(executor.Handle)) error {
	if over, err := l.over(ctx, job); over || err != nil {
		return err
	}
	id := flow.ExternalName(job.Job, job.Attempt)
	known := l.slots.knows(id)
	if !known && bus.Delivery(ctx).Delivered > 1 {
		var err error
		if known, err = l.slots.find(ctx, id); err != nil {
			return err
		}
	}
	// A job that was started before is adopted, whatever time it is and whoever asked
	// for its end: it is the watcher's.
	if !known {
		asked, done := l.board.Watch(job.Run, job.Index, job.Attempt)
		defer done()
		waiting, span := tracing.Start(ctx, "wait for a slot")
		end, err := l.wait(waiting, job, id, asked)
		tracing.End(span, nil) // what ends a wait is no failure
		if err == nil && end == nil {
			failpoint.Hit("launcher.slot-taken")
			end, err = l.mayNotStart(ctx, job)
		}
		if err != nil || end != nil {
			l.slots.release(ctx, id)
		}
		switch {
		case err != nil:
			return err
		case end != nil:
			return l.conclude(ctx, job, *end)
		}
		// The wait may have been long, and somebody may have ended the job meanwhile.
		if over, err := l.over(ctx, job); over || err != nil {
			l.slots.release(ctx, id)
			return err
		}
	}
	handle, err := l.start(ctx, job)
	if err != nil {
		l.slots.release(ctx, id)
		return l.refuse(ctx, job, err)
	}
	failpoint.Hit("launcher.started")
	l.slots.remember(handle)
	follow(handle)

	status := flow.StatusOf(job, flow.Started, time.Now().UTC())
	status.Notes = notes(job, l.executor.Name())
	if status.Handle, err = json.Marshal(handle); err != nil {
		return fmt.Errorf("handle of %s: %w", id, err)
	}
	// Whoever asked for its end meanwhile is heard by the watcher, who reads the request
	// when it gets this.
	if err := bus.Publish(ctx, l.bus, flow.States.OfPool(l.options.Pool), status); err != nil {
		return err
	}
	failpoint.Hit("launcher.published")
	l.log.Info("started", zap.String("job", job.Job), zap.Int("attempt", job.Attempt), zap.String("run", job.Run),
		zap.String("delivery", job.Delivery), zap.String("repo", job.Repo.FullName()), zap.String("sha", job.SHA))
	return nil
}

// wait holds the job until it may start and has a slot with its leases. end is its
// verdict when it is not to start.
func (l *Launcher) wait(ctx context.Context, job flow.Job, id string, asked <-chan cancellation.Request) (end *flow.Result, err error) {
	if end, err = l.mayNotStart(ctx, job); end != nil || err != nil {
		return end, err
	}
	one := l.waiting.add(job, trace.SpanFromContext(ctx))
	defer l.waiting.remove(one)
	// A webhook may have waited for long before it was planned.
	since := job.QueuedAt
	if stored := bus.Delivery(ctx).Stored; stored.After(since) {
		since = stored
	}
	if conditional(job.Options) {
		if end, err = l.waitForOthers(ctx, job, one, asked); end != nil || err != nil {
			return end, err
		}
		since = time.Now()
	}
	failpoint.Hit("launcher.before-slot")
	return l.waitForSlot(ctx, job, id, one, asked, since)
}

// waitForOthers holds the job until its conditions are met.
func (l *Launcher) waitForOthers(ctx context.Context, job flow.Job, one *waiter, asked <-chan cancellation.Request) (*flow.Result, error) {
	view := l.runs.hold(job.Run)
	defer l.runs.drop(view)
	for {
		changes := view.changes()
		next, err := view.check(ctx, job)
		if errors.Is(err, bus.ErrNotFound) { // the plan
			if l.young(ctx) {
				return nil, l.later(err)
			}
			return nil, bus.Drop(err)
		}
		if err != nil || next == (step{}) {
			return nil, err
		}
		if next.never != "" {
			return resultOf(job, flow.Skip, flow.CauseNeeds, next.never), nil
		}
		if one.beyond {
			return nil, l.putOff(ctx, job, next.wait)
		}
		l.waiting.set(one, nil, next.wait)
		select {
		case <-changes:
		case r := <-asked:
			return cancelled(job, r), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// waitForSlot holds the job until it has a slot with its leases, or its time in the
// queue is over.
func (l *Launcher) waitForSlot(ctx context.Context, job flow.Job, id string, one *waiter, asked <-chan cancellation.Request, since time.Time) (*flow.Result, error) {
	limit := l.options.QueueTimeout
	if job.QueueTimeoutMinutes > 0 {
		limit = time.Duration(job.QueueTimeoutMinutes) * time.Minute
	}
	deadline := time.NewTimer(time.Until(since.Add(limit)))
	defer deadline.Stop()
	queue, party := l.slots.queue, partyOf(job)
	t := queue.join(party, id, bus.Delivery(ctx).Sequence, false)
	for {
		if one.beyond && queue.leave(t) {
			if time.Now().After(since.Add(limit)) {
				return noCapacity(job, limit, queue.why(t)), nil
			}
			return nil, l.putOff(ctx, job, queue.why(t))
		}
		l.waiting.set(one, t, reason{})
		var end *flow.Result
		select {
		case <-t.served:
		case r := <-asked:
			end = cancelled(job, r)
		case <-deadline.C:
			end = noCapacity(job, limit, queue.why(t))
		case <-ctx.Done():
		}
		if end != nil || ctx.Err() != nil {
			// It may have been served at the last moment: a job with a slot is not late.
			if queue.leave(t) {
				return end, ctx.Err()
			}
			if ctx.Err() != nil || end.Cause == flow.CauseStopped {
				return end, ctx.Err() // the caller gives the slot back
			}
		}
		crowded, err := l.leases.acquire(ctx, party, id)
		if crowded == nil || err != nil {
			return nil, err
		}
		t = queue.back(t, *crowded)
		deadline.Reset(time.Until(since.Add(limit))) // it may have been over in vain
	}
}

// minutes is a duration as people say it: 60m, 90s.
func minutes(d time.Duration) string {
	if d%time.Minute == 0 {
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return d.Round(time.Second).String()
}
