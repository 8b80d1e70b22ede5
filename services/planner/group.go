package planner

import (
	"context"
	"slices"
	"time"

	"github.com/litci/litci/pkg/concurrency"
	"github.com/litci/litci/pkg/flow"
)

// enter puts jobs of one run into the groups that their workflows name, in which one
// member runs at a time. workflows name the jobs' workflows by index.
func (p *Planner) enter(ctx context.Context, jobs []flow.Job, workflows []string, at time.Time) error {
	for _, e := range entries(jobs, workflows, at) {
		if err := concurrency.Enter(ctx, p.bus, jobs[0].Repo.ID, e.group, e.member); err != nil {
			return err
		}
	}
	return nil
}

// entry is a workflow that enters a group.
type entry struct {
	group  flow.Concurrency
	member concurrency.Member
}

func entries(jobs []flow.Job, workflows []string, at time.Time) []entry {
	var all []entry
	for _, job := range jobs {
		if job.Options.Concurrency == nil {
			continue
		}
		name := workflows[job.Index]
		i := slices.IndexFunc(all, func(e entry) bool { return e.member.Workflow == name })
		if i < 0 {
			i = len(all)
			all = append(all, entry{*job.Options.Concurrency, concurrency.Member{Run: job.Run, Workflow: name, At: at}})
		}
		m := &all[i].member
		m.Jobs = append(m.Jobs, job.Index)
		if job.Attempt > 1 {
			if m.Attempts == nil {
				m.Attempts = map[int]int{}
			}
			m.Attempts[job.Index] = job.Attempt
		}
	}
	return all
}
