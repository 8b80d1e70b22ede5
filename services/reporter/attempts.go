package reporter

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

// An attempt may give way to the next: because litci itself tries again (a machine
// that was taken back or failed, an exit code that the workflow lists), or because
// somebody asked. The first goes on in the same check run, the second has its own.

// retries are the attempts that gave way without anybody asking, since somebody last
// asked.
func (j jobState) retries() []flow.Earlier {
	for i, e := range slices.Backward(j.Earlier) {
		if e.Rerun {
			return j.Earlier[i+1:]
		}
	}
	return j.Earlier
}

// retried is the attempt that gave way to this one without anybody asking, nil where
// this one is a first try or somebody's wish.
func (j jobState) retried() *flow.Earlier {
	if n := len(j.Earlier); n > 0 && !j.Earlier[n-1].Rerun {
		return &j.Earlier[n-1]
	}
	return nil
}

// asked is the last attempt that somebody wanted another one after.
func (j jobState) asked() *flow.Earlier {
	if n := len(j.Earlier) - len(j.retries()); n > 0 {
		return &j.Earlier[n-1]
	}
	return nil
}

// most is the number of the last attempt that there may be after what happened to
// the one before this.
func (j jobState) most() int {
	last := j.retried()
	if last == nil {
		return j.Attempt
	}
	job := flow.Job{Attempt: j.Attempt, Earlier: slices.Clone(j.Earlier), Options: flow.Options{Retry: j.Retry}}
	result := flow.Result{Cause: last.Cause}
	if len(j.Retry.OnExit) > 0 {
		result.ExitCode = &j.Retry.OnExit[0]
	}
	n := j.Attempt
	for ; verdict.Again(job, result, verdict.DefaultInfraRetries); n++ {
		job.Earlier = append(job.Earlier, flow.Earlier{Attempt: n, Cause: last.Cause})
	}
	return n
}

// which names the attempt where there is more than one: "attempt 2 of 3".
func (j jobState) which() string {
	switch {
	case j.retried() != nil:
		return fmt.Sprintf("attempt %d of %d", j.Attempt, j.most())
	case j.Attempt > 1:
		return fmt.Sprintf("attempt %d", j.Attempt)
	}
	return ""
}

// gaveWay says what became of an attempt: "preempted after 4m".
func (j jobState) gaveWay(e flow.Earlier) string {
	words := stateWord(flow.Ended, e.Conclusion)
	switch e.Cause {
	case flow.CausePreempted:
		words = "preempted"
	case flow.CauseInfrastructure:
		words = "machine failed"
	case flow.CauseExit:
		if !e.Rerun {
			words = "failed"
		}
	}
	if ran := j.Ran[e.Attempt]; !e.Rerun && !ran.IsZero() && e.At.After(ran) {
		words += " after " + roughly(e.At.Sub(ran))
	}
	return words
}

// why says why the next attempt came, with what the services said of this one.
func why(e flow.Earlier) string {
	var parts []string
	if e.Message != "" {
		parts = append(parts, e.Message)
	}
	if e.Rerun {
		again := "run again"
		if e.By != "" {
			again += " by " + e.By
		}
		parts = append(parts, again)
	}
	return strings.Join(parts, "; ")
}

// earlierLines list the attempts that gave way, the newest first.
func earlierLines(j jobState, url string) string {
	var b strings.Builder
	for _, e := range slices.Backward(j.Earlier) {
		fmt.Fprintf(&b, "- **Attempt %d:** %s", e.Attempt, j.gaveWay(e))
		if because := why(e); because != "" {
			b.WriteString(" — " + prose(because))
		}
		if url != "" {
			fmt.Fprintf(&b, " · [log](%s)", attemptOf(url, e.Attempt))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// attemptOf is the address of an earlier attempt's page, from that of its job.
func attemptOf(job string, attempt int) string { return fmt.Sprintf("%s/attempts/%d", job, attempt) }

// renderGone renders the check run of an attempt after which somebody wanted
// another one, where its own verdict did not reach GitHub in time.
func renderGone(j jobState, e flow.Earlier, url string) check {
	c := check{
		Name:        j.Check,
		ExternalID:  flow.AttemptID(j.Job, e.Attempt),
		DetailsURL:  attemptOf(url, e.Attempt),
		Status:      statusCompleted,
		Conclusion:  string(verdictOf(flow.Result{Conclusion: e.Conclusion})),
		CompletedAt: instant(e.At),
	}
	state := jobState{Attempt: e.Attempt, State: flow.Ended, Conclusion: flow.Conclusion(c.Conclusion), Cause: e.Cause, Message: e.Message}
	c.Title = elide(jobTitle(state), maxTitle)
	c.Summary = cutMarkdown(jobSummary(state, c.DetailsURL), maxSummary)
	return c
}

// startedAgain counts in one sentence which jobs were tried again, by cause; empty
// where none was.
func (s summing) startedAgain() string {
	jobs, all := 0, 0
	causes := map[flow.Cause]int{}
	for _, r := range s.rows {
		if r.index < 0 {
			continue
		}
		all++
		if len(r.retries) > 0 {
			jobs++
		}
		for _, e := range r.retries {
			causes[e.Cause]++
		}
	}
	if jobs == 0 {
		return ""
	}
	var parts []string
	if n := causes[flow.CausePreempted]; n > 0 {
		parts = append(parts, fmt.Sprintf("%d preempted", n))
	}
	if n := causes[flow.CauseInfrastructure]; n > 0 {
		parts = append(parts, plural(n, "machine failure", "machine failures"))
	}
	if n := causes[flow.CauseExit]; n > 0 {
		parts = append(parts, plural(n, "failure that the workflow retries", "failures that the workflow retries"))
	}
	line := fmt.Sprintf("%d of %s ", jobs, plural(all, "job", "jobs"))
	if jobs == 1 {
		line += "was"
	} else {
		line += "were"
	}
	line += " started again"
	if len(parts) > 0 {
		line += ": " + strings.Join(parts, ", ")
	}
	return line + "."
}

// roughly says how long something took in its largest unit or two: 12s, 4m, 1h 5m.
func roughly(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	}
	return length(d)
}

// capital begins a line.
func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
