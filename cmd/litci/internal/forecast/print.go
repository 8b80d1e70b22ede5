package forecast

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/litci/litci/pkg/workflow"
)

// Title names an event for people: "push of tag v1, 2 changed files".
func Title(e workflow.Event) string {
	title := e.Kind
	if e.Action != "" {
		title += " " + e.Action
	}
	switch {
	case e.Tag != "":
		title += " of tag " + e.Tag
	case e.Kind == workflow.EventPush:
		title += " of branch " + e.Branch
	default:
		title += " into " + e.Branch
	}
	if e.Draft {
		title += ", a draft"
	}
	if e.ChangedKnown {
		title += ", " + count(len(e.Changed), "changed file")
	}
	return title
}

// Print writes the report for people: every workflow with its reason, and the
// jobs of those that would run as a table.
func (r Report) Print(w io.Writer) {
	total := 0
	for _, f := range r.Workflows {
		fmt.Fprintf(w, "%s / %s: %s: %s\n", f.File, f.Name, f.verdict(), f.Reason)
		total += len(f.Jobs)
		if len(f.Jobs) == 0 {
			continue
		}
		table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprint(table, "  JOB\tIMAGE\tMACHINE\tTIMEOUT\tNEEDS\n")
		for _, job := range f.Jobs {
			needs := strings.Join(job.Needs, ", ")
			if needs == "" {
				needs = "-"
			}
			fmt.Fprintf(table, "  %s\t%s\t%s\t%d min\t%s\n", job.Name, job.Image, job.Machine, job.TimeoutMinutes, needs)
		}
		_ = table.Flush() // what cannot be written shows at the last line too
	}
	fmt.Fprintf(w, "%s.\n", count(total, "job"))
}

// verdict says in a word or two what becomes of the workflow.
func (f Workflow) verdict() string {
	switch {
	case len(f.Jobs) > 0:
		return "starts " + count(len(f.Jobs), "job")
	case f.listed:
		return "skipped"
	}
	return "not concerned"
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
