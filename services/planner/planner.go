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
	"time"

	"github.com/google/go-github/v62/github"
	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/ghapp"
	"github.com/litci/litci/pkg/workflow"
)

// App reads repositories as the GitHub App; *ghapp.App does.
type App interface {
	Client(installation, repo int64) (*github.Client, error)
	Archive(ctx context.Context, installation, repo int64, owner, name, sha string) (io.ReadCloser, error)
}

// Planner is the service.
type Planner struct {
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
}

// New returns a Planner that reads GitHub through app.
func New(b *bus.Bus, app App, log *zap.Logger) *Planner {
	return &Planner{bus: b, app: app, log: log.Named("planner"), archiveLimit: maxArchive, archiveAge: maxAge, settled: settledAge}
}

// giveUp is the age at which a delivery that cannot be planned is a dead letter.
const giveUp = time.Hour

// Run plans deliveries until ctx ends, then returns nil with none in hand.
func (p *Planner) Run(ctx context.Context) error {
	return bus.Consume(ctx, p.bus, flow.Events, bus.Consumer{Service: "planner", GiveUp: giveUp}, p.plan)
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
		log = log.With(zap.String("run", ask.Run))
		ignored, err = p.work(ctx, log, ask)
	}
	if err != nil {
		return p.settle(ctx, fmt.Errorf("%s of %s at %s: %w", e.Kind, e.Repo.FullName(), ask.SHA, err))
	}
	if ignored != "" {
		log.Info("ignored", zap.String("reason", ignored))
	}
	return nil
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

// work plans what was asked for, or says why it is ignored.
func (p *Planner) work(ctx context.Context, log *zap.Logger, ask ask) (ignored string, err error) {
	if planned, err := p.planned(ctx, ask.Run); planned || err != nil {
		return "the run is planned already", err
	}
	client, err := p.app.Client(ask.Installation, ask.Repo.ID)
	if err != nil {
		return "", err
	}
	repo := repository{client: client, Repo: ask.Repo}
	if ask.PullRequest > 0 {
		pull, err := repo.pull(ctx, ask.PullRequest)
		if err != nil {
			return "", err
		}
		if pull.headSHA != ask.SHA && p.young(ctx) {
			return "", bus.Later(fmt.Errorf("pull request %d stands at %s: the delivery or GitHub's answer is old", ask.PullRequest, pull.headSHA), lag)
		}
		if ignored := ask.see(pull); ignored != "" {
			return ignored, nil
		}
	}
	files, notices, problems, err := repo.workflowFiles(ctx, ask.SHA)
	if err != nil {
		return "", err
	}
	if len(files) == 0 && len(problems) == 0 {
		return "", p.end(ctx, log, ask, flow.CauseNoWorkflows, "The commit has no workflow files.", flow.Outcome{Notices: notices})
	}
	set := workflow.Load(files)
	set.Notices = append(notices, set.Notices...)
	set.Problems = append(problems, set.Problems...)
	if err := repo.look(ctx, &ask, &set); err != nil {
		return "", err
	}
	served, err := p.served(ctx, pools(ask, set))
	if err != nil {
		return "", err
	}
	draft := draw(ask, set, served)
	if draft.elsewhere(ask) {
		return draft.reason(ask), nil
	}
	if cause, message := draft.end(ask); cause != "" {
		return "", p.end(ctx, log, ask, cause, message, draft.Outcome)
	}
	return "", p.start(ctx, log, ask, draft)
}

// start stores the source and publishes the plan with its jobs.
func (p *Planner) start(ctx context.Context, log *zap.Logger, ask ask, draft draft) error {
	err := p.store(ctx, ask)
	if errors.Is(err, errTooLarge) {
		message := fmt.Sprintf("The commit's source archive is larger than %d MiB, so its %s cannot be started. Large files can be kept out of it by export-ignore in .gitattributes.",
			p.archiveLimit>>20, count(len(draft.jobs), "job"))
		draft.Problems = append(draft.Problems, flow.Problem{Severity: severityError, Message: message})
		return p.end(ctx, log, ask, flow.CauseConfig, message, draft.Outcome)
	}
	if err != nil {
		return err
	}
	plan := draft.plan(ask)
	if err := bus.PublishPlan(ctx, p.bus, plan, draft.jobs); err != nil && !errors.Is(err, bus.ErrPlanned) {
		return err
	}
	log.Info("planned", zap.Int("jobs", len(draft.jobs)), zap.Int("skipped", len(draft.Skipped)), zap.Int("problems", len(draft.Problems)))
	return nil
}

// end publishes that a run ended without a job.
func (p *Planner) end(ctx context.Context, log *zap.Logger, ask ask, cause flow.Cause, message string, outcome flow.Outcome) error {
	if err := bus.Publish(ctx, p.bus, flow.Results, result(ask, cause, message, outcome)); err != nil {
		return err
	}
	log.Info("nothing to run", zap.String("cause", string(cause)), zap.Int("skipped", len(outcome.Skipped)), zap.Int("problems", len(outcome.Problems)))
	return nil
}

// planned tells whether a run's marker is there: a delivery that comes again
// after a crash costs no request to GitHub.
func (p *Planner) planned(ctx context.Context, run string) (bool, error) {
	_, err := bus.Latest(ctx, p.bus, flow.PlanOf(run))
	if errors.Is(err, bus.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// served tells which pools have launchers.
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
