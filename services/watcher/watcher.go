// Package watcher follows started jobs to their end.
//
//	in   flow.States   started, with the handle that finds the job
//	out  flow.States   running, and what keeps a job from it
//	     flow.LogOf    the log while it grows, clean and without secrets
//	     flow.Results  how the job ended, once per job that nobody runs again
//	     flow.Jobs     the next attempt of a job that its machine failed
//
// A watcher holds the message for as long as the job lives, so the job of a
// watcher that dies goes to another one, which reads the log again from its
// beginning. The log's archive is in the object store before the verdict is
// recorded, and the verdict is recorded before it is published.
//
// Who asks for a job's end leaves a request (pkg/cancellation); the watcher that
// holds the job makes its executor end it, and gives the verdict.
package watcher

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/cancellation"
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
	// Tell is the least time between two messages of what a job waits for at its
	// executor; default 5 s.
	Tell time.Duration
	// Grace is what a job gets to end by itself when it is stopped, default 10 s;
	// Force how long behind that grace a cancelled job gets its verdict even though it
	// may still run, default 20 s; Slack how long behind timeout and grace the watcher
	// trusts the executor to enforce its own deadline, default 60 s.
	Grace, Force, Slack time.Duration
	// Lost is how long an executor must know nothing of a job before the job is lost,
	// and tried again: an executor that has just started itself may not know its jobs
	// yet. Default 15 s.
	Lost time.Duration
	// Patience is how long a job may be at its executor without beginning, where the
	// workflow's queue timeout does not say; default 60 min.
	Patience time.Duration
	// InfraRetries is how often a job is tried again whose machine failed, where the
	// workflow does not say; zero is never.
	InfraRetries int
	// Jobs is how many jobs one watcher follows; others follow the rest. Default 12,000.
	Jobs int
	// HeadBytes and TailBytes are what is kept of a large log; default 32 MiB each.
	HeadBytes, TailBytes int64
	// Metrics registers what the watcher counts; nil counts for nobody.
	Metrics prometheus.Registerer
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
	set(&o.Tell, 5*time.Second)
	set(&o.Grace, 10*time.Second)
	set(&o.Force, 20*time.Second)
	set(&o.Slack, 60*time.Second)
	set(&o.Lost, 15*time.Second)
	set(&o.Patience, 60*time.Minute)
	if o.Jobs <= 0 {
		o.Jobs = maxJobs
	}
	if o.HeadBytes <= 0 {
		o.HeadBytes = headBytes
	}
	if o.TailBytes <= 0 {
		o.TailBytes = tailBytes
	}
	return o
}

const (
	// maxJobs is measured: see BenchmarkTenThousandJobs.
	maxJobs = 12_000
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
	board    cancellation.Board
	retries  *prometheus.CounterVec
	jobs     *prometheus.GaugeVec
	// blockTimeout bounds the publishing of one live block.
	blockTimeout time.Duration
	// masks are the values that no log may show; jobs add their own to a copy.
	masks *masker
	// buffers are for reading logs: thousands of jobs read a few at a time.
	buffers *sync.Pool
}

// New returns a Watcher that follows the jobs of an executor.
func New(b *bus.Bus, e executor.Executor, options Options, log *zap.Logger) *Watcher {
	w := &Watcher{
		bus: b, executor: e, options: options.withDefaults(), log: log, blockTimeout: blockTimeout, masks: newMasker(options.Masks),
		buffers: &sync.Pool{New: func() any { return new([readSize]byte) }},
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "litci_retries_total", Help: "Attempts that litci itself raised, by pool and what ended the one before.",
			ConstLabels: prometheus.Labels{"pool": options.Pool},
		}, []string{"cause"}),
		jobs: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "litci_jobs", Help: "Jobs that a watcher follows, by pool and state (starting, running, stopping).",
			ConstLabels: prometheus.Labels{"pool": options.Pool},
		}, []string{"state"}),
	}
	for _, state := range []string{jobStarting, jobRunning, jobStopping} {
		w.jobs.WithLabelValues(state) // shown as 0 before the first
	}
	for _, cause := range []flow.Cause{flow.CausePreempted, flow.CauseInfrastructure, flow.CauseExit} {
		w.retries.WithLabelValues(string(cause))
	}
	if options.Metrics != nil {
		options.Metrics.MustRegister(w.retries, w.jobs)
	}
	return w
}

// Run follows jobs until ctx ends, then gives back those in hand and returns nil.
func (w *Watcher) Run(ctx context.Context) error {
	following, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() { defer close(ended); w.board.Run(following, w.bus) }()
	defer func() { cancel(); <-ended }()
	return bus.Consume(ctx, w.bus, flow.States, bus.Consumer{
		Service: "watcher", Pool: w.options.Pool, Hold: true, Places: w.options.Jobs, GiveUp: giveUp,
		LastWord: bus.LastWord(w.lastWord),
	}, w.watch)
}

// watch follows one job and publishes its verdict. Thousands of goroutines wait in
// here, so what is done once stands in functions of its own: their stacks stay small.
func (w *Watcher) watch(ctx context.Context, status flow.Status) error {
	if status.State != flow.Started {
		return nil
	}
	f, done, err := w.take(ctx, &status)
	if f == nil || err != nil {
		return err
	}
	defer done()
	state, err := f.follow(ctx)
	if err != nil {
		return err
	}
	return f.conclude(ctx, state)
}

// take begins to follow a job; it returns nil when there is nothing to follow.
func (w *Watcher) take(ctx context.Context, status *flow.Status) (f *follower, done func(), err error) {
	if settled, err := w.settled(ctx, status); settled || err != nil {
		return nil, nil, err
	}
	var handle executor.Handle
	if err := json.Unmarshal(status.Handle, &handle); err != nil {
		return nil, nil, bus.Drop(errors.New("the job's handle cannot be read"))
	}
	asked, unwatch := w.board.Watch(status.Run, status.Index, status.Attempt)
	request, err := cancellation.Of(ctx, w.bus, status.Run, status.Index, status.Attempt)
	if err != nil {
		unwatch()
		return nil, nil, err
	}
	f = w.follower(status, handle, asked)
	f.request = request
	f.count(jobStarting)
	return f, func() { unwatch(); f.archive.close(); f.count("") }, nil
}

// settled tells whether an attempt needs nobody any more, because it has its
// verdict or gave way to the next one. Whoever saw to that may have crashed before
// it told the others, so they are told again.
func (w *Watcher) settled(ctx context.Context, s *flow.Status) (bool, error) {
	stands, err := verdict.Of(ctx, w.bus, s.Run, s.Index, s.Attempt)
	switch {
	case errors.Is(err, verdict.ErrSuperseded):
		return true, w.resume(ctx, s.Run, s.Index, s.Attempt)
	case err != nil || stands == nil:
		return false, err
	}
	return true, w.publish(ctx, *stands)
}

// lastWord gives a job its verdict whose message is given up, so that its check
// does not wait for ever.
func (w *Watcher) lastWord(ctx context.Context, status flow.Status, cause error) error {
	if status.State != flow.Started {
		return nil
	}
	if settled, err := w.settled(ctx, &status); settled || err != nil {
		return err
	}
	why := w.masks.hide(clean([]byte("litci gave up watching this job: " + cause.Error())))
	end := ending{flow.Failure, flow.CauseGivenUp, cutText(why, maxExcerpt)}
	return w.settle(ctx, resultOf(&status, end, time.Now().UTC()))
}
