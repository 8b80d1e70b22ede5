package tail

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/litci/litci/cmd/litci/internal/console"
	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
)

// Filter says which messages are shown; zero fields want all.
type Filter struct {
	// Repo is owner/name, PR a number, Run the id of a run and Job that of a job, both
	// with as much of the run's as names it.
	Repo string
	PR   int
	Run  string
	Job  string
}

// Check tells what is wrong with a filter.
func (f Filter) Check() error {
	if err := (console.Filter{Repo: f.Repo, PR: f.PR, Run: f.Run}).Check(); err != nil {
		return err
	}
	if f.Job == "" {
		return nil
	}
	if f.Run != "" {
		return errors.New("--job names the run too; keep one of --run and --job")
	}
	job, err := console.Parse(f.Job)
	if err == nil && job.Whole() {
		err = fmt.Errorf("--job %s: that is a run; --run shows it, and %s-0 is its first job", f.Job, job.Run)
	}
	return err
}

// filter is a Filter that was looked up.
type filter struct {
	Filter
	bus *bus.Bus
	// run is the whole id, delivery what it was planned for, job and attempt narrow it.
	run, delivery, job string
	attempt            int
	plans              map[string]flow.Plan
}

// look finds the run that the filter names.
func (f Filter) look(ctx context.Context, b *bus.Bus) (*filter, error) {
	found := &filter{Filter: f, bus: b, plans: map[string]flow.Plan{}}
	id := f.Run + f.Job // at most one of them is there
	if id == "" {
		return found, nil
	}
	named, err := console.Parse(id)
	if err != nil {
		return nil, err
	}
	runs, err := b.PlannedRuns(ctx, named.Run)
	switch {
	case err != nil:
		return nil, err
	case len(runs) == 0:
		return nil, fmt.Errorf("the streams have no run whose id begins with %s", named.Run)
	case len(runs) > 1:
		return nil, fmt.Errorf("%s begins the ids of %d runs, write more of it: %s …", named.Run, len(runs), strings.Join(runs[:min(5, len(runs))], ", "))
	}
	plan, err := found.plan(ctx, runs[0])
	if err != nil {
		return nil, err
	}
	found.run, found.delivery = runs[0], plan.Delivery
	if !named.Whole() {
		found.job, found.attempt = flow.JobID(found.run, named.Index), named.Attempt
	}
	return found, nil
}

// keptPlans bounds the plans that are remembered.
const keptPlans = 1000

// plan is the plan of a run; empty for one that the streams no longer hold.
func (f *filter) plan(ctx context.Context, run string) (flow.Plan, error) {
	if p, known := f.plans[run]; known {
		return p, nil
	}
	p, err := bus.PlanOf(ctx, f.bus, run)
	if err != nil && !errors.Is(err, bus.ErrNotFound) {
		return p, f.bus.Refusal(err)
	}
	if len(f.plans) >= keptPlans {
		clear(f.plans)
	}
	f.plans[run] = p
	return p, nil
}

func (f *filter) wants(ctx context.Context, stored bus.Stored) (bool, error) {
	if f.Filter == (Filter{}) {
		return true, nil
	}
	m := read(stored)
	switch {
	case f.job != "":
		return m.job == f.job && (f.attempt == 0 || m.attempt == f.attempt), nil
	case f.run != "" && m.Run != f.run && (m.Delivery == "" || m.Delivery != f.delivery):
		return false, nil
	}
	if m.Run != "" && (m.Repo.Name == "" || m.PullRequest == 0) && (f.Repo != "" || f.PR != 0) {
		plan, err := f.plan(ctx, m.Run) // logs and clicks name a run alone
		if err != nil {
			return false, err
		}
		if plan.Run != "" {
			m.Identity = plan.Identity
		}
	}
	return (f.Repo == "" || strings.EqualFold(f.Repo, m.Repo.FullName())) && (f.PR == 0 || f.PR == m.PullRequest), nil
}
