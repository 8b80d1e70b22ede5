// Package reporter tells GitHub what became of a commit, and is the only
// writer there.
//
//	in   flow.Plans    what a delivery asks for
//	     flow.Jobs     an attempt waits to be started
//	     flow.States   an attempt changed state
//	     flow.Results  an attempt has its verdict, or a plan ended without a job
//	out  check runs (one per job, one aggregate "litci" per commit), one comment
//	     per pull request, and the report pages that they link to
//
// A handler first folds its message into the state that the bucket runs holds
// (fold.go), where order and repetition do not matter, and then waits until
// GitHub shows that state. What is sent is rendered from the state alone
// (render_check.go, aggregate.go, render_comment.go), is sent once for all who
// wait for it (desk.go), and is created at most once, whoever crashes (post.go).
// Only then does the handler return and the bus ack.
package reporter

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/ghapp"
	"github.com/litci/litci/pkg/verdict"
)

// Reporter is the service.
type Reporter struct {
	// QueueTimeout is the launchers' queue deadline; the reporter ends what no
	// launcher ends well after it.
	QueueTimeout time.Duration
	// InfraRetries is how often launchers and watchers try a job again whose machine
	// failed, where its workflow does not say.
	InfraRetries int
	// PoolRetries goes before InfraRetries, by named pool.
	PoolRetries map[string]int

	bus              *bus.Bus
	checks, comments App
	links            links
	log              *zap.Logger
	pages            *Pages
	metrics          *metrics
	registry         prometheus.Registerer // of Measure; nil counts for nobody

	desk  *desk
	turns *turns
	// looks are shared looks at all jobs of a commit, vouchers what came of them.
	looks    *desk
	vouchers vouchers
	once     once
	// checkEvery, sumEvery and commentEvery are the least times between two
	// writes of progress; verdicts do not wait.
	checkEvery, sumEvery, commentEvery time.Duration
	// states reads what is known of all jobs of a run, by index: a value for each.
	states func(ctx context.Context, run string) (map[int]jobState, error)
	// sweepEvery is the time between two looks for jobs that nobody takes.
	sweepEvery time.Duration
}

// places is how many messages are in hand at once. Handlers mostly wait for a
// flight that they share, so there are many.
const places = 1024

// flights is how many writes of one installation are under way at once.
const flights = 4

// New returns a Reporter that serves pages and writes to GitHub: check runs by
// one App's tokens, comments by the other's.
func New(b *bus.Bus, checks, comments App, pages *Pages, log *zap.Logger) *Reporter {
	r := &Reporter{
		QueueTimeout: time.Hour, InfraRetries: verdict.DefaultInfraRetries,

		bus: b, checks: checks, comments: comments, links: pages.links, log: log, pages: pages, metrics: newMetrics(),
		desk: newDesk(flights), looks: newDesk(flights),
		turns: &turns{
			kv: b.Runs(), life: rand.Text(), lease: 30 * time.Second, poll: 100 * time.Millisecond, now: time.Now,
		},
		checkEvery: 2 * time.Second, sumEvery: 3 * time.Second, commentEvery: 5 * time.Second,
		states:     func(ctx context.Context, run string) (map[int]jobState, error) { return jobStates(ctx, b.Runs(), run) },
		sweepEvery: time.Minute,
	}
	r.desk.reserve = checks.Reserve
	return r
}

// Run reports until ctx ends, then returns nil with nothing in hand.
func (r *Reporter) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(ctx, r.desk.rush)()
	parts := []func() error{
		func() error { return r.pages.Run(ctx) },
		func() error { return r.sweep(ctx) },
		func() error { return r.countLetters(ctx) },
		func() error {
			return bus.Consume(ctx, r.bus, flow.Plans, bus.Consumer{Service: "reporter", Durable: "reporter-plans", Places: places}, r.planned)
		},
		func() error {
			return bus.Consume(ctx, r.bus, flow.Jobs, bus.Consumer{Service: "reporter", Durable: "reporter-jobs", Pool: "*", Places: places}, r.queued)
		},
		func() error {
			return bus.Consume(ctx, r.bus, flow.States, bus.Consumer{Service: "reporter", Pool: "*", Places: places}, r.moved)
		},
		func() error {
			return bus.Consume(ctx, r.bus, flow.Results, bus.Consumer{Service: "reporter", Places: places}, r.ended)
		},
	}
	errs := make([]error, len(parts))
	var wait sync.WaitGroup
	wait.Go(func() { r.greet(ctx) })
	for i, part := range parts {
		wait.Go(func() {
			errs[i] = part()
			stop() // the first to end ends all
		})
	}
	wait.Wait()
	r.desk.close()
	r.looks.close()
	r.checks.Close()
	r.comments.Close()
	return errors.Join(errs...)
}

// countLetters measures the dead letters of all services, which are nobody's else.
func (r *Reporter) countLetters(ctx context.Context) error {
	if r.registry == nil {
		<-ctx.Done()
		return nil
	}
	return r.bus.MeasureLetters(ctx, r.registry)
}

// greet tells an operator at once what every report would fail by: a wrong key, a
// wrong address.
func (r *Reporter) greet(ctx context.Context) {
	if err := r.checks.Check(ctx); err != nil && ctx.Err() == nil {
		r.log.Error("github does not know the App; nothing can be read or reported until it does", zap.Error(err))
	}
}

// Addr is where the report pages are served.
func (r *Reporter) Addr() net.Addr { return r.pages.Addr() }

// planned learns a run and shows what it has beside jobs. The jobs' own
// messages show the jobs.
func (r *Reporter) planned(ctx context.Context, p flow.Plan) error {
	run, err := bus.Change(ctx, r.bus.Runs(), runKey(p.Run), func(s *runState) bool {
		s.Page = r.links.run(p.Run)
		return foldPlan(s, p)
	})
	if err != nil {
		return fmt.Errorf("plan of %s: %w", p.Run, err)
	}
	r.log.Info("run known", append(fields(p.Identity), zap.Int("jobs", len(p.Jobs)))...)
	return r.known(ctx, run)
}

// known remembers a run with its commit and its pull request, and shows it.
func (r *Reporter) known(ctx context.Context, run runState) error {
	if run.silent() {
		return nil
	}
	id := run.identity()
	ref := runRef{Run: id.Run, SHA: id.SHA, At: run.at()}
	keys := []string{commitKey(id.Repo.ID, id.SHA)}
	if id.PullRequest > 0 {
		keys = append(keys, pullKey(id.Repo.ID, id.PullRequest))
	}
	for _, key := range keys {
		if _, err := bus.Change(ctx, r.bus.Runs(), key, func(refs *runRefs) bool { return refs.add(ref) }); err != nil {
			return fmt.Errorf("run %s: %w", id.Run, err)
		}
	}
	verdict := len(run.jobs()) == 0 || len(run.errors()) > 0
	errands := r.summaries(id, verdict)
	for k := range run.outcome().Skipped {
		errands = append(errands, r.aside(id, fmt.Sprintf("s%d", k), func() check { return renderSkipped(run, k, r.links.run(id.Run)) }))
	}
	if len(run.errors()) > 0 {
		errands = append(errands, r.aside(id, "config", func() check { return renderConfig(run, r.links.run(id.Run)) }))
	}
	return r.refusal(r.do(ctx, errands), id)
}

// queued learns that an attempt waits to be started.
func (r *Reporter) queued(ctx context.Context, j flow.Job) error {
	if j.Options.Retry.Infra == nil {
		n, own := r.PoolRetries[j.Pool]
		if !own {
			n = r.InfraRetries
		}
		j.Options.Retry.Infra = &n
	}
	if err := r.expect(ctx, j); err != nil {
		return err
	}
	news := false
	if _, err := r.learn(ctx, j.Identity, j.Index, func(s *jobState) bool {
		news = s.Attempt < j.Attempt || s.Attempt == j.Attempt && s.Earlier == nil
		return foldJob(s, j)
	}); err != nil {
		return err
	}
	if news {
		r.metrics.raised(j.Earlier)
		for _, e := range j.Earlier { // nobody speaks of them any more
			if err := r.forget(ctx, j.Run, j.Index, e.Attempt); err != nil {
				return err
			}
		}
	}
	return r.progress(ctx, j.Identity, j.Index, j.Attempt > 1)
}

// moved learns that an attempt changed state. What a queued attempt waits for
// changes often and stands on the pages; GitHub is not told of it.
func (r *Reporter) moved(ctx context.Context, s flow.Status) error {
	if err := r.hear(ctx, s); err != nil {
		return err
	}
	if _, err := r.learn(ctx, s.Identity, s.Index, func(j *jobState) bool { return foldStatus(j, s) }); err != nil {
		return err
	}
	if s.State.Rank() <= flow.Queued.Rank() {
		return nil
	}
	return r.progress(ctx, s.Identity, s.Index, true)
}

// learn folds a message into what is known of its job.
func (r *Reporter) learn(ctx context.Context, id flow.Identity, index int, fold func(*jobState) bool) (jobState, error) {
	state, err := bus.Change(ctx, r.bus.Runs(), jobKey(id.Run, index), fold)
	if err != nil {
		return state, fmt.Errorf("job %s: %w", flow.JobID(id.Run, index), err)
	}
	return state, nil
}

// progress shows a job; its commit and pull request too, where they show the change.
func (r *Reporter) progress(ctx context.Context, id flow.Identity, index int, sums bool) error {
	errands := []errand{r.jobErrand(id, index, false)}
	if sums {
		errands = append(errands, r.summaries(id, false)...)
	}
	return r.refusal(r.do(ctx, errands), id)
}

// ended learns an attempt's verdict, or that a plan ended without a job.
func (r *Reporter) ended(ctx context.Context, result flow.Result) error {
	id := result.Identity
	if result.Job == "" {
		run, err := bus.Change(ctx, r.bus.Runs(), runKey(id.Run), func(s *runState) bool { return foldEnd(s, result) })
		if err != nil {
			return fmt.Errorf("end of %s: %w", id.Run, err)
		}
		return r.known(ctx, run)
	}
	// The text first: whoever sees the verdict finds the text.
	if _, err := bus.Change(ctx, r.bus.Runs(), textKey(id.Run, result.Index), func(t *jobText) bool {
		if result.Attempt <= t.Attempt {
			return false
		}
		*t = textOf(result)
		return true
	}); err != nil {
		return fmt.Errorf("text of %s: %w", result.Job, err)
	}
	first := false
	state, err := r.learn(ctx, id, result.Index, func(s *jobState) bool {
		first = !s.past(result.Attempt)
		return foldResult(s, result)
	})
	if err != nil {
		return err
	}
	if first {
		r.metrics.ended(state)
	}
	return r.showEnd(ctx, id, result.Attempt, state)
}

// showEnd shows a job's verdict, then ends the wait for one.
func (r *Reporter) showEnd(ctx context.Context, id flow.Identity, attempt int, state jobState) error {
	decides, err := r.decides(ctx, id, state)
	if err != nil {
		return fmt.Errorf("verdict of %s: %w", state.Job, err)
	}
	err = r.refusal(r.do(ctx, append(r.summaries(id, decides), r.jobErrand(id, state.Index, true))), id)
	if err != nil && !hopeless(err) {
		return err
	}
	if err := r.forget(ctx, id.Run, state.Index, attempt); err != nil {
		return fmt.Errorf("verdict of %s: %w", state.Job, err)
	}
	if err == nil {
		if decides {
			r.metrics.decided(state, time.Now())
		}
		r.log.Info("reported", append(fields(id), zap.String("job", state.Job), zap.Int("attempt", state.Attempt),
			zap.String("conclusion", string(state.Conclusion)))...)
	}
	return err
}

// jobErrand brings a job's check run up to date.
func (r *Reporter) jobErrand(id flow.Identity, index int, verdict bool) errand {
	key := fmt.Sprintf("post.%s.%d", id.Run, index)
	return errand{
		key: key, installation: id.Installation, verdict: verdict, every: r.checkEvery,
		price: func(ctx context.Context) (ghapp.Cost, error) {
			state, err := load[jobState](ctx, r.bus.Runs(), jobKey(id.Run, index))
			if err != nil {
				return ghapp.Cost{}, err
			}
			return r.checkCost(ctx, key, check{ExternalID: flow.AttemptID(state.Job, state.Attempt)})
		},
		fly: func(ctx context.Context) error { return r.showCheck(ctx, key, id, r.renderJobCheck(id.Run, index)) },
	}
}

// aside brings a check run up to date that belongs to a run and to no job.
func (r *Reporter) aside(id flow.Identity, name string, render func() check) errand {
	key := fmt.Sprintf("post.%s.%s", id.Run, name)
	return errand{
		key: key, installation: id.Installation, verdict: true,
		price: func(ctx context.Context) (ghapp.Cost, error) { return r.checkCost(ctx, key, render()) },
		fly: func(ctx context.Context) error {
			return r.showCheck(ctx, key, id, func(context.Context) (check, bool, error) { return render(), true, nil })
		},
	}
}

// summaries bring the aggregate and the comment up to date.
func (r *Reporter) summaries(id flow.Identity, verdict bool) []errand {
	key := "post." + commitKey(id.Repo.ID, id.SHA)
	errands := []errand{{
		key: key, installation: id.Installation, verdict: verdict, every: r.sumEvery, sum: true,
		price: func(ctx context.Context) (ghapp.Cost, error) {
			return r.checkCost(ctx, key, check{ExternalID: aggregateID(id.Repo.ID, id.SHA)})
		},
		fly: func(ctx context.Context) error { return r.showCheck(ctx, key, id, r.renderCommit(id.Repo.ID, id.SHA)) },
	}}
	if id.PullRequest > 0 {
		key := "post." + pullKey(id.Repo.ID, id.PullRequest)
		errands = append(errands, errand{
			key: key, installation: id.Installation, verdict: verdict, every: r.commentEvery, sum: true,
			price: func(ctx context.Context) (ghapp.Cost, error) { return r.commentCost(ctx, key) },
			fly:   func(ctx context.Context) error { return r.showComment(ctx, id) },
		})
	}
	return errands
}

// do runs errands beside each other and waits for all. Of their errors one is
// returned: the one that brings the message again, if there is one.
func (r *Reporter) do(ctx context.Context, errands []errand) error {
	errs := make([]error, len(errands))
	var wait sync.WaitGroup
	for i, e := range errands {
		wait.Go(func() { errs[i] = r.desk.do(ctx, e) })
	}
	wait.Wait()
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if len(errs) == 0 {
		return nil
	}
	for _, err := range errs {
		if pause, ok := ghapp.Pause(err); ok {
			return bus.Later(err, pause)
		}
	}
	for _, err := range errs {
		if !hopeless(err) {
			return err
		}
	}
	return errs[0]
}
