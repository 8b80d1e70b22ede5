// Package forecast says what an event would start, by the rules and the code that
// the planner uses. It is pure but for reading a payload's text: files and changed
// files are handed in.
package forecast

import (
	"fmt"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/workflow"
)

// Report is what litci plan and litci explain say; its JSON is a public interface.
type Report struct {
	Workflows []Workflow     `json:"workflows"`
	Problems  []flow.Problem `json:"problems"`
	// Notices are one sentence each, for people.
	Notices []string `json:"-"`
}

// Workflow is one sound workflow with the rule that decided on it.
type Workflow struct {
	// File is the base name, as checks show it.
	File string `json:"file"`
	Name string `json:"name"`
	// Triggered says that the event triggers the workflow. Its matrix may be empty all
	// the same; the reason says so.
	Triggered bool   `json:"triggered"`
	Reason    string `json:"reason"`
	Jobs      []Job  `json:"jobs"`
	// listed says that the workflow gets a skipped check where it starts nothing.
	listed bool
}

// Job is one job that would start.
type Job struct {
	// Name is that of the check run.
	Name           string            `json:"name"`
	Params         flow.Params       `json:"params"`
	Image          string            `json:"image"`
	Machine        string            `json:"machine"`
	Interruptible  bool              `json:"interruptible"`
	TimeoutMinutes int               `json:"timeout_minutes"`
	Env            map[string]string `json:"env"`
	Needs          []string          `json:"needs"`
}

// Of decides on every workflow of a set and expands the triggered ones.
func Of(set workflow.Set, e workflow.Event) Report {
	r := Report{
		Workflows: make([]Workflow, 0, len(set.Workflows)),
		Problems:  append([]flow.Problem{}, set.Problems...),
		Notices:   set.Notices,
	}
	total := 0
	for _, w := range set.Workflows {
		d := w.Decide(e)
		f := Workflow{File: w.File, Name: w.Name, Triggered: d.Triggered, Reason: d.Reason, Jobs: []Job{}, listed: d.Listed}
		if d.Triggered {
			for _, job := range w.Jobs(e) {
				f.Jobs = append(f.Jobs, of(job))
			}
			if len(f.Jobs) == 0 {
				f.Reason += ", but the matrix came out empty"
			}
		}
		total += len(f.Jobs)
		r.Workflows = append(r.Workflows, f)
	}
	if total > bus.MaxBatch {
		r.Problems = append(r.Problems, flow.Problem{
			Severity: "error", Message: fmt.Sprintf("the workflows ask for %d jobs; one commit starts at most %d, so none would be started", total, bus.MaxBatch),
		})
	}
	return r
}

func of(job workflow.Job) Job {
	return Job{
		Name: job.Check, Params: append(flow.Params{}, job.Params...), Image: job.Image, Machine: job.Machine,
		Interruptible: job.Interruptible, TimeoutMinutes: job.TimeoutMinutes, Env: job.Env,
		Needs: append([]string{}, job.Options.Needs...),
	}
}

// Silence is the report on an event that asks for nothing, whatever the workflows say.
func Silence(set workflow.Set, reason string) Report {
	r := Of(set, workflow.Event{})
	for i := range r.Workflows {
		r.Workflows[i] = Workflow{File: r.Workflows[i].File, Name: r.Workflows[i].Name, Reason: reason, Jobs: []Job{}}
	}
	return r
}

// Broken tells whether a problem is an error.
func (r Report) Broken() bool { return workflow.Set{Problems: r.Problems}.Broken() }
