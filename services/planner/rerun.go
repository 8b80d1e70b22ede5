package planner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/cancellation"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

// again is what a wish comes to: jobs that get another attempt, and runs that are
// planned once more because planning them came to nothing. open are jobs that get
// none, since they have one that another wish raised.
type again struct {
	jobs  []ran
	plans []commitRun
	open  []ran
}

// ran is a job with what is recorded of it.
type ran struct {
	flow.PlannedJob
	plan   flow.Plan
	index  int
	record verdict.Record
}

// attempt is the newest one.
func (k ran) attempt() int { return max(k.record.Attempt, 1) }

// raisedBy tells whether the delivery that was stored at a time raised the newest
// attempt: it may have crashed before it was published.
func (k ran) raisedBy(stored time.Time) bool {
	return k.wished() && k.record.Earlier[len(k.record.Earlier)-1].At.Equal(stored)
}

// rerun runs again what somebody wants, or says why not.
func (p *Planner) rerun(ctx context.Context, log *zap.Logger, a ask) (ignored string, err error) {
	found, ignored, err := p.wanted(ctx, a)
	if err == nil {
		err = p.resume(ctx, log, found.open)
	}
	if err != nil || ignored != "" {
		return ignored, err
	}
	for _, jobs := range byRun(found.jobs) {
		if jobs, err = p.withDependents(ctx, a, jobs); err != nil {
			return "", err
		}
		if err := p.raise(ctx, log, a, jobs); err != nil {
			return "", err
		}
	}
	for _, run := range found.plans {
		log := log.With(zap.String("of", run.Run))
		ask, ignored, err := replanned(a, run)
		if err != nil {
			return "", bus.Drop(err)
		}
		if ignored == "" {
			ignored, err = p.act(ctx, log, ask)
		}
		if err != nil {
			return "", err
		}
		if ignored != "" {
			log.Info("ignored", zap.String("reason", ignored))
		}
	}
	return "", nil
}

// wanted finds what a wish comes to. It writes nothing.
func (p *Planner) wanted(ctx context.Context, a ask) (found again, ignored string, err error) {
	if own, err := p.ownDoing(ctx, a.event); own != "" || err != nil {
		return found, own, err
	}
	switch w := a.wish; {
	case w.job >= 0:
		return p.wantedJob(ctx, a)
	case w.file:
		return p.wantedFile(ctx, a)
	case w.run != "":
		plan, ignored, err := p.planOf(ctx, a)
		if err != nil || ignored != "" {
			return found, ignored, err
		}
		jobs, err := p.jobsOf(ctx, plan)
		if err != nil {
			return found, "", err
		}
		ignored = found.pick(jobs, a)
		return found, ignored, nil
	}
	return p.wantedCommit(ctx, a)
}

// ownDoing says that litci asked for this itself, which would be a loop, or that the
// check is another app's.
func (p *Planner) ownDoing(ctx context.Context, e flow.Event) (ignored string, err error) {
	if e.CheckRun != nil && e.CheckRun.App != p.app.ID() || e.CheckSuite != nil && e.CheckSuite.App != p.app.ID() {
		return "the check is another app's", nil
	}
	if e.Sender.Type != "Bot" {
		return "", nil
	}
	login, err := p.app.Login(ctx)
	if err == nil && strings.EqualFold(login, e.Sender.Login) {
		ignored = "litci's own doing"
	}
	return ignored, err
}

// planOf is the plan of the run that is wanted. The id of a check comes back from
// GitHub, so repository and commit must be the plan's.
func (p *Planner) planOf(ctx context.Context, a ask) (plan flow.Plan, ignored string, err error) {
	plan, err = bus.PlanOf(ctx, p.bus, a.wish.run)
	switch {
	case errors.Is(err, bus.ErrNotFound):
		return plan, "there is no plan of run " + a.wish.run + ": it is over a week old, or never started a job. Push a commit, or replay its delivery", nil
	case err != nil:
		return plan, "", err
	case a.Event == flow.KindRerun:
		return plan, "", nil
	case plan.Repo.ID != a.Repo.ID || plan.SHA != a.SHA || plan.Installation != a.Installation:
		return plan, "run " + a.wish.run + " is of another commit than the check", nil
	}
	plan.Repo = a.Repo // its name may be another by now
	return plan, "", nil
}

func (p *Planner) wantedJob(ctx context.Context, a ask) (found again, ignored string, err error) {
	plan, ignored, err := p.planOf(ctx, a)
	if err != nil || ignored != "" {
		return found, ignored, err
	}
	if a.wish.job >= len(plan.Jobs) {
		return found, fmt.Sprintf("run %s has %s", a.wish.run, count(len(plan.Jobs), "job")), nil
	}
	k, err := p.jobOf(ctx, plan, a.wish.job)
	if err != nil {
		return found, "", err
	}
	if ignored := k.refuses(a.wish.attempt, a.stored); ignored != "" {
		return again{open: unended([]ran{k})}, ignored, nil
	}
	return again{jobs: []ran{k}}, "", nil
}

// refuses says why an attempt is not followed by another one. Many clicks on one
// check mean the same attempt, and only the first raises the next.
func (k ran) refuses(attempt int, stored time.Time) string {
	switch newest := k.attempt(); {
	case newest == attempt+1 && k.raisedBy(stored):
		return ""
	case newest > attempt:
		return fmt.Sprintf("attempt %d of %s was asked for already", newest, k.Job)
	case newest < attempt:
		return fmt.Sprintf("%s has no attempt %d", k.Job, attempt)
	case k.record.Result == nil:
		return k.Job + " still runs"
	}
	return ""
}

// wantedFile plans once more what the workflow files came to.
func (p *Planner) wantedFile(ctx context.Context, a ask) (found again, ignored string, err error) {
	c, _, err := p.runsOf(ctx, a.Repo.ID, a.SHA)
	if err != nil {
		return found, "", err
	}
	at := slices.IndexFunc(c.Runs, func(r commitRun) bool { return r.Run == a.wish.run })
	if at < 0 {
		return found, "run " + a.wish.run + " is not one of the commit's", nil
	}
	next, _, err := replanned(a, c.Runs[at])
	if err != nil {
		return found, "", bus.Drop(err)
	}
	for _, r := range c.Runs {
		if r.Run == next.Run && r.Event.Delivery != a.Delivery {
			return found, "the run was planned again already", nil
		}
	}
	return again{plans: c.Runs[at : at+1]}, "", nil
}

// wantedCommit takes those jobs of a commit that failed, all where none did, and what
// of the commit could not be planned.
func (p *Planner) wantedCommit(ctx context.Context, a ask) (found again, ignored string, err error) {
	c, known, err := p.runsOf(ctx, a.Repo.ID, a.SHA)
	if err != nil {
		return found, "", err
	}
	if !known {
		return found, "no run of the commit is known: push a commit, or replay a delivery", nil
	}
	jobs, err := p.newestJobs(ctx, a, c)
	if err != nil {
		return found, "", err
	}
	found.plans = c.unplanned(a)
	if ignored = found.pick(jobs, a); len(found.plans) > 0 {
		ignored = ""
	}
	return found, ignored, nil
}

// unplanned are the runs that ended without a job for a reason that may have passed,
// where nothing newer came of the same event. What ended after the click is not what
// was clicked on, unless this very delivery ended it.
func (c commitRuns) unplanned(a ask) []commitRun {
	newest, before := map[string]commitRun{}, map[string]commitRun{}
	var sources []string
	for _, r := range c.Runs {
		source := fmt.Sprint(r.Event.Kind, " ", r.subject())
		if last, seen := newest[source]; seen {
			before[source] = last
		} else {
			sources = append(sources, source)
		}
		newest[source] = r
	}
	var runs []commitRun
	for _, source := range sources {
		r := newest[source]
		if earlier, has := before[source]; has && r.Event.Delivery == a.Delivery {
			r = earlier
		} else if r.At.After(a.received) {
			continue
		}
		switch r.Cause {
		case flow.CauseGivenUp, flow.CauseConfig, flow.CauseGate:
			runs = append(runs, r)
		}
	}
	return runs
}

// subject is what the run's event is about.
func (r commitRun) subject() string {
	a, _, err := read(r.Event, r.At)
	if err != nil {
		return ""
	}
	return a.subject
}

// replanned is the ask that plans a run once more.
func replanned(a ask, run commitRun) (next ask, ignored string, err error) {
	e := run.Event
	e.Delivery, e.Replay, e.ReceivedAt, e.Installation, e.Repo = a.Delivery, "", a.received, a.Installation, a.Repo
	next, ignored, err = read(e, a.stored)
	next.planAgain(run.Run)
	return next, ignored, err
}

// newestJobs are the jobs of all runs of a commit. Where two runs have a check of one
// name, the newer one counts, as on GitHub.
func (p *Planner) newestJobs(ctx context.Context, a ask, c commitRuns) ([]ran, error) {
	var all []ran
	place := map[string]int{}
	for _, r := range c.Runs {
		if r.Cause != "" {
			continue
		}
		plan, err := bus.PlanOf(ctx, p.bus, r.Run)
		if errors.Is(err, bus.ErrNotFound) {
			continue // forgotten, or a crash came before it was published
		}
		if err != nil {
			return nil, err
		}
		plan.Repo = a.Repo
		jobs, err := p.jobsOf(ctx, plan)
		if err != nil {
			return nil, err
		}
		for _, job := range jobs {
			if at, taken := place[job.Check]; taken {
				all[at] = job
				continue
			}
			place[job.Check] = len(all)
			all = append(all, job)
		}
	}
	return all, nil
}

func (p *Planner) jobsOf(ctx context.Context, plan flow.Plan) ([]ran, error) {
	jobs := make([]ran, 0, len(plan.Jobs))
	for index := range plan.Jobs {
		k, err := p.jobOf(ctx, plan, index)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, k)
	}
	return jobs, nil
}

func (p *Planner) jobOf(ctx context.Context, plan flow.Plan, index int) (ran, error) {
	record, err := verdict.RecordOf(ctx, p.bus, plan.Run, index)
	return ran{PlannedJob: plan.Jobs[index], plan: plan, index: index, record: record}, err
}

// pick parts jobs into those that get another attempt and those that have one.
func (f *again) pick(jobs []ran, a ask) (ignored string) {
	f.jobs, ignored = pick(jobs, a.received, a.stored)
	f.open = slices.DeleteFunc(unended(jobs), func(k ran) bool { return k.raisedBy(a.stored) })
	return ignored
}

// pick takes the jobs that failed, or all where every one ended and none failed. What
// ended after the click, or is open, is not what was clicked on: twenty clicks on "Re-run all"
// are one. What this delivery raised before a crash is raised again.
func pick(jobs []ran, clicked, stored time.Time) (picked []ran, ignored string) {
	var bad, good, mine []ran
	open := false
	for _, k := range jobs {
		switch r := k.record.Result; {
		case k.raisedBy(stored):
			mine = append(mine, k)
		case r == nil || r.FinishedAt.After(clicked):
			open = true
		case r.Conclusion == flow.Success:
			good = append(good, k)
		default: // failure, timed out, cancelled, and skipped since a need failed
			bad = append(bad, k)
		}
	}
	switch {
	case len(bad)+len(mine) > 0:
		return append(mine, bad...), ""
	case len(jobs) == 0:
		return nil, "the commit has no job to run again"
	case open:
		return nil, "nothing has failed, and something still runs or ended after it was asked for"
	}
	return good, ""
}

// byRun parts jobs by their runs, keeping the order.
func byRun(jobs []ran) [][]ran {
	var parts [][]ran
	for _, k := range jobs {
		at := slices.IndexFunc(parts, func(part []ran) bool { return part[0].plan.Run == k.plan.Run })
		if at < 0 {
			parts = append(parts, []ran{k})
			continue
		}
		parts[at] = append(parts[at], k)
	}
	return parts
}

// raise makes the next attempts of jobs of one run. Everything that an attempt needs
// is there before it is published, and all of it may be done twice.
func (p *Planner) raise(ctx context.Context, log *zap.Logger, a ask, jobs []ran) error {
	plan := jobs[0].plan
	log = log.With(zap.String("run", plan.Run))
	var sent []flow.Job
	kept := map[int]ran{}
	for _, k := range jobs {
		job, err := bus.JobOf(ctx, p.bus, plan.Run, k.index)
		if errors.Is(err, bus.ErrNotFound) {
			log.Warn("cannot be run again: its message is over a week old and no longer kept; push a commit instead", zap.String("job", k.Job))
			continue
		}
		if err != nil {
			return err
		}
		job.Attempt = k.attempt() + 1
		if k.raisedBy(a.stored) {
			job.Attempt = k.attempt()
		}
		sent, kept[k.index] = append(sent, job), k
	}
	if len(sent) == 0 {
		return nil
	}
	if err := p.relist(ctx, log, plan); err != nil {
		return err
	}
	if err := p.store(ctx, plan.Identity, sent); err != nil {
		return err
	}
	for _, job := range sent {
		if err := cancellation.Spare(ctx, p.bus, plan.Run, job.Index, job.Attempt, a.stored); err != nil {
			return err
		}
	}
	if err := p.enter(ctx, sent, workflowsOf(plan), a.stored); err != nil {
		return err
	}
	// A job that is raised before what it needs would see the verdict of the last time.
	depth := depths(sent, workflowsOf(plan))
	slices.SortStableFunc(sent, func(x, y flow.Job) int { return cmp.Compare(depth[x.Index], depth[y.Index]) })
	for _, job := range sent {
		gone := flow.Earlier{Attempt: job.Attempt - 1, Rerun: true, By: a.actor, At: a.stored}
		raised, err := verdict.Raise(ctx, p.bus, plan.Run, job.Index, gone)
		switch {
		case errors.Is(err, verdict.ErrForgotten):
			log.Warn("cannot be run again: its message is over a week old and no longer kept; push a commit instead", zap.String("job", job.Job))
		case err != nil:
			return err
		case raised:
			log.Info("runs again", zap.String("job", job.Job), zap.Int("attempt", job.Attempt), zap.String("by", a.actor))
		default:
			log.Info("ignored", zap.String("reason", "another attempt of "+kept[job.Index].Job+" exists already"))
		}
	}
	return nil
}

// relist puts a run on the record of its head, so that the next head ends it. What is
// still to be ended of before is ended first: it must not hit the new attempt.
func (p *Planner) relist(ctx context.Context, log *zap.Logger, plan flow.Plan) error {
	key := headKey(plan.Identity)
	if key == "" {
		return nil
	}
	h, _, err := p.record(ctx, key)
	if err != nil {
		return err
	}
	if err := p.dismiss(ctx, log, key, h); err != nil {
		return err
	}
	_, err = bus.Change(ctx, p.bus.Runs(), key, func(h *head) bool {
		if h.lists(plan.Run) {
			return false
		}
		h.Runs = append(h.Runs, headRun{Run: plan.Run})
		return true
	})
	if err != nil {
		return fmt.Errorf("head %s: %w", key, err)
	}
	return nil
}

func workflowsOf(plan flow.Plan) []string {
	names := make([]string, len(plan.Jobs))
	for i, job := range plan.Jobs {
		names[i] = job.Workflow
	}
	return names
}
