// Package watcher follows started jobs to their end.
//
//	in   flow.States   started, with the handle that finds the job
//	out  flow.States   running
//	     flow.LogOf    the log while it grows, clean and without secrets
//	     flow.Results  how the job ended, once per attempt
//
// A watcher holds the message for as long as the job lives, so the job of a
// watcher that dies goes to another one, which reads the log again from its
// beginning. The log's archive is in the object store before the verdict is
// recorded, and the verdict is recorded before it is published.
package watcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

// Options are what an operator sets. Zero values take the defaults.
type Options struct {
	// Pool is the named pool that is served; empty is the unnamed one.
	Pool string
	// Dir holds what of large logs waits for its archive; default the system's
	// temporary directory.
	Dir string
	// Masks are values that no log may show.
	Masks []string
	// Poll is how often a job is looked at: at first every Poll, later ever more
	// rarely up to MaxPoll; default 100 ms to 2 s.
	Poll, MaxPoll time.Duration
	// Live is the time between live blocks while a log grows; default 250 ms.
	Live time.Duration
	// Grace is what a job gets to end by itself when it is stopped, default 10 s;
	// Slack how long behind timeout and grace the watcher trusts the executor to
	// enforce its own deadline, default 60 s.
	Grace, Slack time.Duration
	// HeadBytes and TailBytes are what is kept of a large log; default 32 MiB each.
	HeadBytes, TailBytes int64
}

func (o Options) withDefaults() Options {
	set := func(d *time.Duration, value time.Duration) {
		if *d <= 0 {
			*d = value
		}
	}
	set(&o.Poll, 100*time.Millisecond)
	set(&o.MaxPoll, 2*time.Second)
	set(&o.Live, 250*time.Millisecond)
	set(&o.Grace, 10*time.Second)
	set(&o.Slack, 60*time.Second)
	if o.HeadBytes <= 0 {
		o.HeadBytes = headBytes
	}
	if o.TailBytes <= 0 {
		o.TailBytes = tailBytes
	}
	return o
}

const (
	// maxJobs is how many jobs one watcher follows; others follow the rest.
	maxJobs = 5_000
	// giveUp is as long as the stream keeps a status: its age says nothing, since jobs
	// may run for days.
	giveUp = 7 * 24 * time.Hour
	// defaultTimeout bounds a job whose message does not say.
	defaultTimeout = 60 * time.Minute
	// storeTries is how often an archive is sent before a verdict goes without it.
	storeTries   = 3
	storeTimeout = 2 * time.Minute
)

// Watcher is the service.
type Watcher struct {
	bus      *bus.Bus
	executor executor.Executor
	options  Options
	log      *zap.Logger
	// buffers are for reading logs: thousands of jobs read a few at a time.
	buffers *sync.Pool
}

// New returns a Watcher that follows the jobs of an executor.
func New(b *bus.Bus, e executor.Executor, options Options, log *zap.Logger) *Watcher {
	return &Watcher{
		bus: b, executor: e, options: options.withDefaults(), log: log,
		buffers: &sync.Pool{New: func() any { return new([readSize]byte) }},
	}
}

// Run follows jobs until ctx ends, then gives back those in hand and returns nil.
func (w *Watcher) Run(ctx context.Context) error {
	consumer := bus.Consumer{Service: "watcher", Pool: w.options.Pool, Hold: true, Places: maxJobs, GiveUp: giveUp}
	return bus.Consume(ctx, w.bus, flow.States, consumer, w.watch)
}

// watch follows one job and publishes its verdict.
func (w *Watcher) watch(ctx context.Context, status flow.Status) error {
	if status.State != flow.Started {
		return nil
	}
	stands, err := verdict.Of(ctx, w.bus, status.Run, status.Index, status.Attempt)
	if errors.Is(err, verdict.ErrSuperseded) {
		return nil
	}
	if err != nil {
		return err
	}
	if stands != nil {
		// It may have been recorded and not sent.
		return bus.Publish(ctx, w.bus, flow.Results, *stands)
	}
	var handle executor.Handle
	if err := json.Unmarshal(status.Handle, &handle); err != nil {
		result := resultOf(status, ending{flow.Failure, flow.CauseInfrastructure, "the job's handle cannot be read"}, time.Now().UTC())
		if err := verdict.Publish(ctx, w.bus, result); err != nil {
			return err
		}
		return bus.Drop(fmt.Errorf("handle of %s: %w", status.Job, err))
	}
	f := w.follower(status, handle)
	defer f.archive.close()
	state, err := f.follow(ctx)
	if err != nil {
		return err
	}
	return f.conclude(ctx, state)
}

// conclude stores the log, records the verdict and publishes it, in this order.
func (f *follower) conclude(ctx context.Context, state executor.State) error {
	f.pipeline.flush()
	f.live.end(ctx)
	finished := state.FinishedAt
	if finished.IsZero() {
		finished = time.Now().UTC()
	}
	end := conclude(state, f.timeout)
	end.message = cutText(f.pipeline.masker.apply(clean([]byte(end.message)), false), maxExcerpt)
	result := resultOf(f.status, end, finished)
	result.StartedAt, result.ExitCode = state.StartedAt, state.ExitCode
	if end.conclusion != flow.Success || f.status.Mode == "debug" {
		e := f.window.excerpt()
		result.Tail = e.tail
		if end.conclusion != flow.Success {
			result.FirstError, result.Window, result.WindowLine = e.firstError, e.lines, e.line
		}
	}
	stands, err := verdict.Of(ctx, f.bus, result.Run, result.Index, result.Attempt)
	if errors.Is(err, verdict.ErrSuperseded) {
		return nil
	}
	if err != nil {
		return err
	}
	// Whoever recorded a verdict stored the log; ours may be shorter by now.
	if stands == nil {
		if err := f.store(ctx, &result); err != nil {
			return err
		}
	}
	result.Notes = append(append(result.Notes, f.status.Notes...), f.notes...)
	if err := verdict.Publish(ctx, f.bus, result); err != nil {
		return err
	}
	f.log.Info("ended", zap.String("job", f.status.Job), zap.Int("attempt", f.status.Attempt), zap.String("run", f.status.Run),
		zap.String("delivery", f.status.Delivery), zap.String("repo", f.status.Repo.FullName()), zap.String("sha", f.status.SHA),
		zap.String("conclusion", string(result.Conclusion)), zap.String("cause", string(result.Cause)))
	return nil
}

// store puts the log into the object store. A verdict is worth more than its log:
// one that cannot be stored is left out, and the check says so.
func (f *follower) store(ctx context.Context, result *flow.Result) error {
	name := flow.LogName(f.status.Job, f.status.Attempt)
	wait := time.Second
	for try := 1; f.broken == nil; try++ {
		dropped, err := f.put(ctx, name)
		if err == nil {
			result.Log, result.LogBytes, result.LogDropped = name, f.size, dropped+f.dropped
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if f.log.Warn("log cannot be stored", zap.String("job", f.status.Job), zap.Error(err)); try == storeTries {
			f.broken = err
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait *= 4
	}
	f.notes = append(f.notes, "the log could not be stored")
	return nil
}

func (f *follower) put(ctx context.Context, name string) (dropped int64, err error) {
	log, dropped, err := f.archive.open()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return dropped, f.bus.Logs().Put(ctx, name, log)
}

// resultOf begins the result of a status.
func resultOf(s flow.Status, end ending, finished time.Time) flow.Result {
	return flow.Result{
		Identity: s.Identity, Job: s.Job, Index: s.Index, Attempt: s.Attempt, Check: s.Check,
		Conclusion: end.conclusion, Cause: end.cause, Message: end.message, FinishedAt: finished, Mode: s.Mode,
	}
}
