// Package planner decides which jobs a delivery asks for.
//
//	in   flow.Events   a verified webhook delivery
//	out  flow.Plans    the marker of a run, with
//	     flow.Jobs     one message per job, all or none
//	     flow.Results  why there is nothing to run
//
// It asks GitHub for the state as it is now, reads the workflow files of the
// commit, lets pkg/workflow decide, and stores the commit's source once. All
// that it publishes is computed from its input, so a delivery that comes again
// is planned once.
package planner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/google/go-github/v62/github"
	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/failpoint"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/ghapp"
	"github.com/litci/litci/pkg/workflow"
)

// App reads repositories as the GitHub App; *ghapp.App does.
type App interface {
	ID() int64
	Login(ctx context.Context) (string, error)
	AsApp() *github.Client
	Installation(installation int64) (*github.Client, error)
	Client(installation, repo int64) (*github.Client, error)
	Archive(ctx context.Context, installation, repo int64, owner, name, sha string) (io.ReadCloser, error)
}

// Planner is the service.
type Planner struct {
	// PullsInterval is the time between two looks at the open pull requests, for those
	// whose webhooks were missed; 0 is never.
	PullsInterval time.Duration

	bus *bus.Bus
	app App
	log *zap.Logger
	// archives makes deliveries of one commit store its source once.
	archives singleflight.Group
	// archiveLimit is the size of the largest source archive, in bytes.
	archiveLimit int64
	// archiveAge is the age from which a stored archive is stored again.
	archiveAge time.Duration
	// settled is the age at which GitHub's answer about a delivery is final.
	settled time.Duration
	// pullsDelay is the time from the start to the first look at the open pull requests.
	pullsDelay time.Duration
}

// New returns a Planner that reads GitHub through app.
func New(b *bus.Bus, app App, log *zap.Logger) *Planner {
	return &Planner{bus: b, app: app, log: log.Named("planner"), archiveLimit: maxArchive, archiveAge: maxAge, settled: settledAge, pullsDelay: pullsDelay}
}

// giveUp is the age at which a delivery that cannot be planned is a dead letter.
const giveUp = time.Hour

// Run plans deliveries until ctx ends, then returns nil with none in hand.
func (p *Planner) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	var rounds sync.WaitGroup
	defer rounds.Wait()
	defer stop()
	if p.PullsInterval > 0 {
		rounds.Go(func() { p.watchPulls(ctx) })
	}
	return bus.Consume(ctx, p.bus, flow.Events, bus.Consumer{Service: "planner", GiveUp: giveUp, LastWord: bus.LastWord(p.lastWord)}, p.plan)
}

const (
	// settledAge is how far GitHub's API may stay behind its own webhooks, lag the wait
	// before it is asked again.
	settledAge = 30 * time.Second
	lag        = 2 * time.Second
)

// plan handles one delivery.
func (p *Planner) plan(ctx context.Context, e flow.Event) error {
	log := p.log.With(zap.String("delivery", e.Delivery), zap.Int64("installation", e.Installation),
		zap.String("repo", e.Repo.FullName()), zap.String("event", e.Kind), zap.String("action", e.Action), zap.String("sha", e.SHA()))
	ask, ignored, err := read(e, bus.Delivery(ctx).Stored)
	if err != nil {
		return bus.Drop(err)
	}
	if ignored == "" {
		ignored, err = p.act(ctx, log, ask)
	}
	if err != nil {
		return p.settle(ctx, fmt.Errorf("%s of %s at %s: %w", e.Kind, e.Repo.FullName(), ask.SHA, err))
	}
	if ignored != "" {
		log.Info("ignored", zap.String("reason", ignored))
	}
	failpoint.Hit("planner.before-ack")
	return nil
}

// act does what a delivery asks for, or says why it is ignored.
func (p *Planner) act(ctx context.Context, log *zap.Logger, ask ask) (ignored string, err error) {
	if ask.wish != nil {
		return p.rerun(ctx, log, ask)
	}
	if ask.closes {
		repo, err := p.repository(ask)
		if err != nil {
			return "", err
		}
		return p.finish(ctx, log, repo, ask)
	}
	return p.work(ctx, log, ask)
}

// settle says what becomes of a delivery that could not be planned: GitHub's
// limits and faults wait, what GitHub refuses is dropped, all else comes again.
// What is not found is asked for again while the delivery is young, since a commit
// may be younger than the replica that answers.
func (p *Planner) settle(ctx context.Context, err error) error {
	if wait, ok := ghapp.Pause(err); ok {
		return bus.Later(err, wait)
	}
	if ghapp.IsNotFound(err) && p.young(ctx) {
		return bus.Later(err, lag)
	}
	if ghapp.IsNotFound(err) || ghapp.IsRefused(err) {
		return bus.Drop(err)
	}
	return err
}

// young tells whether GitHub may not know of the delivery everywhere. Its age
// decides, since a delivery is counted however it ended.
func (p *Planner) young(ctx context.Context) bool {
	return time.Since(bus.Delivery(ctx).Stored) < p.settled
}

func (p *Planner) repository(ask ask) (repository, error) {
	client, err := p.app.Client(ask.Installation, ask.Repo.ID)
	return repository{client: client, Repo: ask.Repo}, err
}

// work plans what was asked for, or says why it is ignored.
func (p *Planner) work(ctx context.Context, log *zap.Logger, ask ask) (ignored string, err error) {
	if err := p.renew(ctx, &ask); err != nil {
		return "", err
	}
	if known, err := p.known(ctx, ask); known || err != nil {
		return reasonPlanned, err
	}
	repo, err := p.repository(ask)
	if err != nil {
		return "", err
	}
	if ignored, err := p.claim(ctx, log, repo, &ask); ignored != "" || err != nil {
		return ignored, err
	}
	if planned, err := p.planned(ctx, ask.Run); planned || err != nil {
		return reasonPlanned, err
	}
	found, err := p.decide(ctx, repo, &ask)
	if err != nil || found.ignored != "" {
		return found.ignored, err
	}
	log = log.With(zap.String("run", ask.Run))
	if found.cause != "" {
		return p.end(ctx, log, ask, found)
	}
	return p.start(ctx, log, ask, found)
}

const reasonPlanned = "the run is planned already"

// finding is what the commit's files make of an event: why it is ignored, why it ends
// without a job, or jobs.
type finding struct {
	draft
	ignored string
	cause   flow.Cause
	message string
}

// decide reads the workflow files and decides. It writes nothing.
func (p *Planner) decide(ctx context.Context, repo repository, ask *ask) (f finding, err error) {
	files, notices, problems, err := repo.workflowFiles(ctx, ask.SHA)
	if err != nil {
		return f, err
	}
	if len(files) == 0 && len(problems) == 0 {
		f.cause, f.message, f.Notices = flow.CauseNoWorkflows, "The commit has no workflow files.", notices
		return f, nil
	}
	set := workflow.Load(files)
	set.Notices = append(notices, set.Notices...)
	set.Problems = append(problems, set.Problems...)
	if err := repo.look(ctx, ask, &set); err != nil {
		return f, err
	}
	if err := p.merge(ctx, repo, ask, set); err != nil {
		return f, err
	}
	served, err := p.served(ctx, pools(*ask, set))
	if err != nil {
		return f, err
	}
	f.draft = draw(*ask, set, served)
	switch {
	case !f.elsewhere(*ask):
		f.cause, f.message = f.end(*ask)
	case ask.again: // what was said of the commit before must not stand for ever
		f.cause, f.message = flow.CauseNotTriggered, "Nothing to do: "+f.reason(*ask)+"."
	default:
		f.ignored = f.reason(*ask)
	}
	return f, nil
}

// start stores the source and publishes the plan with its jobs.
func (p *Planner) start(ctx context.Context, log *zap.Logger, ask ask, f finding) (ignored string, err error) {
	err = p.store(ctx, ask.Identity, f.jobs)
	if errors.Is(err, errTooLarge) {
		f.cause = flow.CauseConfig
		f.message = fmt.Sprintf("The commit's source archive is larger than %d MiB, so its %s cannot be started. Large files can be kept out of it by export-ignore in .gitattributes.",
			p.archiveLimit>>20, count(len(f.jobs), "job"))
		f.Problems = append(f.Problems, flow.Problem{Severity: severityError, Message: f.message})
		return p.end(ctx, log, ask, f)
	}
	if err != nil {
		return "", err
	}
	if ignored, err := p.hold(ctx, ask); ignored != "" || err != nil {
		return ignored, err
	}
	if err := p.note(ctx, ask, ""); err != nil {
		return "", err
	}
	if err := p.enter(ctx, f.jobs, f.workflows, ask.stored); err != nil {
		return "", err
	}
	failpoint.Hit("planner.before-batch")
	if err := bus.PublishPlan(ctx, p.bus, f.plan(ask), f.jobs); err != nil && !errors.Is(err, bus.ErrPlanned) {
		return "", err
	}
	failpoint.Hit("planner.after-batch")
	log.Info("planned", zap.Int("jobs", len(f.jobs)), zap.Int("skipped", len(f.Skipped)), zap.Int("problems", len(f.Problems)))
	return "", nil
}

// end publishes that a run ended without a job.
func (p *Planner) end(ctx context.Context, log *zap.Logger, ask ask, f finding) (ignored string, err error) {
	if ignored, err := p.hold(ctx, ask); ignored != "" || err != nil {
		return ignored, err
	}
	if err := bus.Publish(ctx, p.bus, flow.Results, result(ask, f.cause, f.message, f.Outcome)); err != nil {
		return "", err
	}
	if err := p.note(ctx, ask, f.cause); err != nil {
		return "", err
	}
	log.Info("nothing to run", zap.String("cause", string(f.cause)), zap.Int("skipped", len(f.Skipped)), zap.Int("problems", len(f.Problems)))
	return "", nil
}

// known tells whether the delivery was planned before, so that one that comes again
// after a crash costs no request to GitHub.
func (p *Planner) known(ctx context.Context, a ask) (bool, error) {
	if own, err := p.planned(ctx, a.run(a.nonce)); own || err != nil || !a.newCode {
		return own, err
	}
	plan, err := bus.PlanOf(ctx, p.bus, a.run(""))
	if errors.Is(err, bus.ErrNotFound) {
		return false, nil
	}
	return err == nil && plan.Delivery == a.Delivery, err
}

// planned tells whether a run's marker is there.
func (p *Planner) planned(ctx context.Context, run string) (bool, error) {
	_, err := bus.PlanOf(ctx, p.bus, run)
	if errors.Is(err, bus.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// served tells which pools were provisioned.
func (p *Planner) served(ctx context.Context, pools []string) (map[string]bool, error) {
	served := map[string]bool{"": true}
	for _, pool := range pools {
		found, err := p.bus.Serves(ctx, pool)
		if err != nil {
			return nil, err
		}
		served[pool] = found
	}
	return served, nil
}
