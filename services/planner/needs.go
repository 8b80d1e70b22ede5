package planner

import (
	"slices"

	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/workflow"
)

// choice is a workflow that an event triggers, with its jobs.
type choice struct {
	workflow.Workflow
	jobs []flow.Job
}

// unmet is a workflow that can never run, and the need that stands against it.
type unmet struct {
	choice
	need string
}

// needed leaves out the workflows that need one without a job here, and those that
// need these: they would wait for a verdict that never comes. With `if: always` a
// workflow waits only for what there is.
func needed(all []choice) (kept []choice, without []unmet) {
	kept = slices.Clone(all)
	for {
		runs := map[string]bool{}
		for _, c := range kept {
			runs[c.ID()] = true
		}
		before := len(without)
		kept = slices.DeleteFunc(kept, func(c choice) bool {
			at := slices.IndexFunc(c.Options.Needs, func(need string) bool { return !runs[need] })
			if at < 0 || c.Options.Always {
				return false
			}
			without = append(without, unmet{c, c.Options.Needs[at]})
			return true
		})
		if len(without) == before {
			return kept, without
		}
	}
}

// depths tell how many needs stand before jobs, by index, as far as the needs are
// among them. workflows name the jobs' workflows by index.
func depths(jobs []flow.Job, workflows []string) map[int]int {
	needs := map[string][]string{}
	for _, job := range jobs {
		needs[workflows[job.Index]] = job.Options.Needs
	}
	var depth func(workflow string) int
	depth = func(workflow string) int {
		deepest := 0
		for _, need := range needs[workflow] {
			if _, here := needs[need]; here {
				deepest = max(deepest, depth(need)+1)
			}
		}
		return deepest
	}
	found := map[int]int{}
	for _, job := range jobs {
		found[job.Index] = depth(workflows[job.Index])
	}
	return found
}
