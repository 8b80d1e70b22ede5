package planner

import (
	"fmt"
	"strings"

	"github.com/litci/litci/pkg/flow"
)

// wish is what somebody wants to be run again: a job, a run, what the workflow files
// of a run came to, or, where no run is named, what failed of a whole commit.
type wish struct {
	run string
	// job is the index of the one job that is meant, -1 where none is; attempt is the one
	// whose check was clicked.
	job, attempt int
	file         bool
}

const rerequested = "rerequested"

// readWish understands a click on "Re-run", or an operator's word.
func (a *ask) readWish(e flow.Event) (ignored string) {
	w := &wish{job: -1}
	a.wish = w
	switch {
	case e.Kind == flow.KindRerun && e.Rerun != nil:
		w.run = e.Rerun.Run
		if e.Rerun.Attempt == "" {
			return ""
		}
		run, index, attempt, ok := flow.ParseAttemptID(e.Rerun.Attempt)
		if !ok || w.run != "" && run != w.run {
			return fmt.Sprintf("%q names no attempt of run %s", e.Rerun.Attempt, w.run)
		}
		*w = wish{run: run, job: index, attempt: attempt}
		return ""
	case e.CheckSuite != nil && e.Action == rerequested:
		return ""
	case e.CheckRun != nil && e.Action == rerequested:
		return w.readCheck(e)
	}
	a.wish = nil
	return e.Kind + " " + e.Action + " starts nothing"
}

// readCheck takes the external id of a check apart. It comes back from GitHub, so
// nothing of it is trusted before a plan says the same.
func (w *wish) readCheck(e flow.Event) (ignored string) {
	id := e.CheckRun.ExternalID
	if run, index, attempt, ok := flow.ParseAttemptID(id); ok {
		*w = wish{run: run, job: index, attempt: attempt}
		return ""
	}
	if id == fmt.Sprintf("litci-%d-%s", e.Repo.ID, e.CheckRun.HeadSHA) { // the aggregate
		return ""
	}
	run, part, _ := strings.Cut(id, "-")
	if _, _, _, ok := flow.ParseAttemptID(flow.AttemptID(flow.JobID(run, 0), 1)); !ok {
		return fmt.Sprintf("the check's id %q is none of litci's", id)
	}
	switch {
	case part == "config":
		w.run, w.file = run, true
		return ""
	case strings.HasPrefix(part, "s"):
		return "the workflow was skipped by its own rules, which are the same for the same commit"
	}
	return fmt.Sprintf("the check's id %q is none of litci's", id)
}
