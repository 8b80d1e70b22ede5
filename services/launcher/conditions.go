package launcher

import (
	"fmt"
	"time"

	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

// conditional tells whether a job waits for anything but a slot.
func conditional(o flow.Options) bool {
	return len(o.Needs) > 0 || o.MaxParallel > 0 || o.Concurrency != nil
}

// outcome is what conditions ask of another job: how far it is.
type outcome struct {
	conclusion flow.Conclusion // empty while it has not ended
	// again is when somebody last asked to run it again.
	again time.Time
}

func outcomeOf(r verdict.Record) outcome {
	var o outcome
	if r.Result != nil {
		o.conclusion = r.Result.Conclusion
	}
	for _, e := range r.Earlier {
		if e.Rerun {
			o.again = e.At
		}
	}
	return o
}

// step is what a job's conditions say: wait for something, never run, or (neither)
// go.
type step struct {
	wait  reason
	never string // a sentence for people
}

// workflowOf is the name by which needs knows a job's workflow.
func workflowOf(j flow.PlannedJob) string {
	if j.Workflow == "" {
		return j.File
	}
	return j.Workflow
}

// byWorkflow are the indexes of a plan's jobs by workflow.
func byWorkflow(jobs []flow.PlannedJob) map[string][]int {
	indexes := map[string][]int{}
	for i, j := range jobs {
		indexes[workflowOf(j)] = append(indexes[workflowOf(j)], i)
	}
	return indexes
}

// needsStep decides about a job by the workflows that it needs: it waits until all
// their jobs have ended, and runs only if all succeeded, unless it is to run always.
// Jobs that may fail count as successful when they do.
func needsStep(jobs []flow.PlannedJob, named func(string) []int, of func(int) outcome, o flow.Options) step {
	never := ""
	for _, need := range o.Needs {
		indexes := named(need)
		if len(indexes) == 0 && never == "" {
			never = fmt.Sprintf("Not run because %s did not run.", need)
		}
		for _, i := range indexes {
			c := of(i).conclusion
			if c == "" {
				return step{wait: reason{waitsNeeds, "waits for " + need}}
			}
			if never == "" && !good(c, jobs[i].Optional) {
				never = fmt.Sprintf("Not run because %s %s.", need, ended(c))
			}
		}
	}
	if o.Always {
		never = ""
	}
	return step{never: never}
}

// good tells whether who needs a job may run after it.
func good(c flow.Conclusion, optional bool) bool {
	return c == flow.Success || optional && (c == flow.Failure || c == flow.TimedOut)
}

// ended is a conclusion as a sentence ends with it.
func ended(c flow.Conclusion) string {
	switch c {
	case flow.Failure:
		return "failed"
	case flow.Cancelled:
		return "was cancelled"
	case flow.Skip:
		return "was skipped"
	case flow.TimedOut:
		return "ran out of time"
	}
	return "did not succeed"
}

// parallelStep lets the first of a workflow's jobs run that have not ended, as many
// as may at once. Who was asked for again comes last: those before may run already.
func parallelStep(workflow string, indexes []int, of func(int) outcome, index, most int) step {
	mine := of(index)
	ahead := 0
	for _, i := range indexes {
		other := of(i)
		if i == index || other.conclusion != "" {
			continue
		}
		if other.again.Before(mine.again) || other.again.Equal(mine.again) && i < index {
			ahead++
		}
		if ahead == most {
			return step{wait: reason{waitsParallel, fmt.Sprintf("waits for other jobs of %s: at most %d at once", workflow, most)}}
		}
	}
	return step{}
}
