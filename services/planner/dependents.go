package planner

import (
	"context"
	"errors"
	"slices"

	"github.com/litci/litci/pkg/bus"
)

// withDependents adds, to jobs of one run that get another attempt, those that need
// their workflows, directly or not, and have ended: they were decided by verdicts
// that no longer count. GitHub runs them again too ("Re-running workflows and jobs").
// What has not ended waits for the new attempts, or stands behind the old ones.
func (p *Planner) withDependents(ctx context.Context, a ask, jobs []ran) ([]ran, error) {
	plan := jobs[0].plan
	workflows := workflowsOf(plan)
	needs := map[string][]string{}
	for index, name := range workflows {
		if _, read := needs[name]; read {
			continue
		}
		job, err := bus.JobOf(ctx, p.bus, plan.Run, index)
		if err != nil && !errors.Is(err, bus.ErrNotFound) { // too old to be run again
			return nil, err
		}
		needs[name] = job.Options.Needs
	}
	var again []string
	for _, k := range jobs {
		again = append(again, workflows[k.index])
	}
	dependents := behind(needs, again)
	all := slices.Clone(jobs)
	for index, name := range workflows {
		if !slices.Contains(dependents, name) || slices.ContainsFunc(jobs, func(k ran) bool { return k.index == index }) {
			continue
		}
		k, err := p.jobOf(ctx, plan, index)
		if err != nil {
			return nil, err
		}
		if k.record.Result != nil || k.raisedBy(a.stored) {
			all = append(all, k)
		}
	}
	return all, nil
}

// behind are the workflows that need one of the given ones, directly or not.
func behind(needs map[string][]string, given []string) []string {
	var found []string
	for grown := true; grown; {
		grown = false
		for name, list := range needs {
			if slices.Contains(found, name) {
				continue
			}
			if slices.ContainsFunc(list, func(n string) bool { return slices.Contains(given, n) || slices.Contains(found, n) }) {
				found, grown = append(found, name), true
			}
		}
	}
	slices.Sort(found)
	return found
}
