package reporter

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/litci/litci/pkg/flow"
)

// The limits of a check run. GitHub says 65,535 characters and counts bytes
// (reference: github/docs issue 35252); the rest is a margin.
const (
	maxSummary     = 65_000
	maxText        = 65_000
	maxTitle       = 200
	maxAnnotations = 50
)

// The states of a check run.
const (
	statusQueued     = "queued"
	statusInProgress = "in_progress"
	statusCompleted  = "completed"
)

// check is the whole content of a check run, rendered from state alone: the
// same state gives the same check, so a difference is a reason to write.
type check struct {
	Name        string       `json:"name"`
	ExternalID  string       `json:"external_id"`
	DetailsURL  string       `json:"details_url,omitempty"`
	Status      string       `json:"status"`
	Conclusion  string       `json:"conclusion,omitempty"`
	StartedAt   *time.Time   `json:"started_at,omitempty"`
	CompletedAt *time.Time   `json:"completed_at,omitempty"`
	Title       string       `json:"title"`
	Summary     string       `json:"summary"`
	Text        string       `json:"text,omitempty"`
	Annotations []annotation `json:"annotations,omitempty"`

	// gone is how an earlier attempt's check run must end before this one is made; nil
	// where this one goes on in whatever is open.
	gone *check
}

// annotation is a remark on lines of a file, in GitHub's shape.
type annotation struct {
	Path        string `json:"path"`
	StartLine   int    `json:"start_line"`
	EndLine     int    `json:"end_line"`
	StartColumn int    `json:"start_column,omitempty"`
	EndColumn   int    `json:"end_column,omitempty"`
	Level       string `json:"annotation_level"`
	Message     string `json:"message"`
	Title       string `json:"title,omitempty"`
}

// minimal is the check without all that GitHub could refuse in its output.
func (c check) minimal() check {
	c.Title = elide(oneLine(c.Title), 80)
	c.Summary = "The report could not be shown here."
	if c.DetailsURL != "" {
		c.Summary = "The report could not be shown here: [see the whole report](" + c.DetailsURL + ")."
	}
	c.Text, c.Annotations = "", nil
	return c
}

// renderJob renders the check run of a job's newest attempt.
func renderJob(j jobState, text jobText, url string) check {
	c := check{
		Name:       j.Check,
		ExternalID: flow.AttemptID(j.Job, j.Attempt),
		DetailsURL: url,
		Status:     statusInProgress,
		Title:      elide(jobTitle(j), maxTitle),
	}
	switch {
	case j.concluded():
		c.Status, c.Conclusion = statusCompleted, string(j.Conclusion)
		c.CompletedAt = instant(j.FinishedAt)
	case j.State.Rank() <= flow.Queued.Rank() && j.retried() == nil: // between two attempts it stays in progress
		c.Status = statusQueued
	}
	if began := j.began(); !began.IsZero() {
		c.StartedAt = instant(began)
	}
	// GitHub refuses an end before the beginning.
	if c.CompletedAt != nil && c.StartedAt != nil && c.CompletedAt.Before(*c.StartedAt) {
		c.StartedAt = c.CompletedAt
	}
	c.Summary = cutMarkdown(jobSummary(j, url), maxSummary)
	if j.concluded() && text.Attempt == j.Attempt {
		c.Text = jobLog(j, text, url)
	}
	if e := j.asked(); e != nil {
		gone := renderGone(j, *e, url)
		c.gone = &gone
	}
	return c
}

// jobTitle says in one plain line how the job is.
func jobTitle(j jobState) string {
	if !j.concluded() {
		return openTitle(j)
	}
	message := j.said()
	switch j.Conclusion {
	case flow.Success:
		if d, ok := j.took(); ok {
			return "Passed in " + length(d)
		}
		return "Passed"
	case flow.TimedOut:
		if j.TimeoutMinutes > 0 {
			return fmt.Sprintf("Timed out after %dm", j.TimeoutMinutes)
		}
		return "Timed out"
	case flow.Cancelled:
		return labelled("Cancelled", message)
	case flow.Skip:
		return labelled("Skipped", message)
	case flow.ActionRequired:
		return labelled("Needs approval", message)
	}
	switch j.Cause {
	case flow.CauseInfrastructure:
		return labelled("Infrastructure", message)
	case flow.CauseNoCapacity:
		return labelled("No capacity", message)
	case flow.CauseRefused:
		return labelled("Cannot be started", message)
	case flow.CauseMemory:
		return labelled("Out of memory", message)
	case flow.CausePreempted:
		return labelled("Preempted", message)
	case flow.CauseNeeds:
		return labelled("What this job needs did not pass", message)
	case flow.CauseGivenUp:
		return labelled("Given up", message)
	}
	title := "Failed"
	if j.ExitCode != nil {
		title = fmt.Sprintf("Failed: exit %d", *j.ExitCode)
	}
	switch {
	case j.FirstError != "":
		return title + " — " + oneLine(j.FirstError)
	case message != "":
		return title + " — " + message
	}
	return title
}

func openTitle(j jobState) string {
	message := oneLine(j.Message)
	again := ""
	if which := j.which(); which != "" {
		again = " (" + which + ")"
	}
	if e := j.retried(); e != nil && j.State.Rank() < flow.Running.Rank() {
		gone := capital(j.gaveWay(*e)) + ": " + j.which()
		switch {
		case message == "":
			return gone + " is starting"
		case j.State.Rank() <= flow.Queued.Rank():
			return gone + " waits: " + message
		}
	}
	switch j.State {
	case flow.Starting, flow.Started:
		if message == "" && j.Pool != "" {
			return "Starting on " + oneLine(j.Pool) + again
		}
		return labelled("Starting"+again, message)
	case flow.Running:
		return labelled("Running"+again, message)
	case flow.Ended:
		return "Ended: collecting the log" + again
	}
	return labelled("Queued"+again, message)
}

// labelled puts a label before a message that does not already begin with it.
func labelled(label, message string) string {
	if message == "" {
		return label
	}
	if len(message) >= len(label) && strings.EqualFold(message[:len(label)], label) {
		return message
	}
	return label + ": " + message
}

func jobSummary(j jobState, url string) string {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "- **%s:** %s\n", name, value)
		}
	}
	line("Outcome", outcomeWords(j))
	if j.ExitCode != nil {
		line("Exit code", fmt.Sprint(*j.ExitCode))
	}
	if d, ok := j.took(); ok {
		line("Duration", fmt.Sprintf("%s (%s to %s)", length(d), clock(j.began()), clock(j.FinishedAt)))
	} else if !j.began().IsZero() {
		line("Running since", clock(j.began()))
	}
	if j.Conclusion != flow.Success {
		line("First error", code(j.FirstError))
	}
	line("Ran on", placeOf(j))
	if j.Attempt > 1 {
		line("Attempt", fmt.Sprint(j.Attempt))
	}
	b.WriteString(earlierLines(j, url))
	for _, note := range j.Notes {
		line("Note", prose(note))
	}
	if url != "" {
		fmt.Fprintf(&b, "\n[Log and details](%s)\n", url)
	}
	return b.String()
}

// outcomeWords say the state or the verdict in words, with what the services said of it.
func outcomeWords(j jobState) string {
	words := stateWord(j.State, j.Conclusion)
	if said := j.said(); said != "" {
		words += " — " + prose(said)
	}
	return words
}

// said is what the services say of the attempt beyond its exit code, on one line.
func (j jobState) said() string {
	message := oneLine(j.Message)
	if j.ExitCode != nil && message == fmt.Sprintf("exit %d", *j.ExitCode) {
		return ""
	}
	return message
}

// stateWord names a state or a verdict.
func stateWord(s flow.State, c flow.Conclusion) string {
	switch c {
	case flow.Success:
		return "passed"
	case flow.Failure:
		return "failed"
	case flow.Cancelled:
		return "cancelled"
	case flow.Skip:
		return "skipped"
	case flow.TimedOut:
		return "timed out"
	case flow.ActionRequired:
		return "needs approval"
	}
	switch s {
	case flow.Starting, flow.Started:
		return "starting"
	case flow.Running, flow.Ended:
		return "running"
	}
	return "queued"
}

// placeOf says where a job ran. The local executor takes neither the image nor
// the machine that the workflow names, so neither is named for it.
func placeOf(j jobState) string {
	var parts []string
	if j.Pool != "" {
		parts = append(parts, "pool "+code(j.Pool))
	}
	if !j.Machined() {
		if j.Host != "" {
			parts = append(parts, "host "+code(j.Host))
		}
		return strings.Join(parts, ", ")
	}
	if j.Machine != "" {
		parts = append(parts, "machine "+code(j.Machine))
	}
	if j.Image != "" {
		parts = append(parts, "image "+code(j.Image))
	}
	return strings.Join(parts, ", ")
}

// jobLog quotes the log: the failing window, then the last lines; in mode
// debug the tail alone, as long as it fits.
func jobLog(j jobState, text jobText, url string) string {
	link := ""
	if url != "" && j.Log != "" {
		link = fmt.Sprintf("\n[The full log](%s) (%s)\n", url, size(j.LogBytes+j.LogDropped))
	}
	room := maxText - len(link) - 200 // the headings
	var b strings.Builder
	windowed := failed(j.Conclusion) && j.Mode != "debug" && len(text.Window) > 0
	if windowed {
		fmt.Fprintf(&b, "### Where it failed\n\n%s\n", windowHeading(text))
		b.WriteString(fenceTail(text.Window, room/2))
		b.WriteByte('\n')
	}
	if len(text.Tail) > 0 && !(windowed && slices.Equal(text.Tail, text.Window)) {
		b.WriteString("### Last lines\n\n")
		b.WriteString(fenceTail(text.Tail, room-b.Len()))
	}
	switch {
	// Without an exit code, nobody may have seen what it wrote.
	case b.Len() == 0 && j.ExitCode != nil && j.Log != "" && j.LogBytes+j.LogDropped == 0:
		return "It wrote nothing.\n"
	case b.Len() == 0:
		return strings.TrimPrefix(link, "\n")
	}
	return b.String() + link
}

func windowHeading(t jobText) string {
	if t.WindowLine <= 0 {
		return "Around the first error:\n"
	}
	return fmt.Sprintf("Lines %d to %d of the log:\n", t.WindowLine, t.WindowLine+len(t.Window)-1)
}

// size says a number of bytes as people do.
func size(n int64) string {
	switch {
	case n < 1<<10:
		return plural(int(n), "byte", "bytes")
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// renderSkipped renders the check run of a workflow that a filter excluded.
func renderSkipped(run runState, k int, url string) check {
	s := run.outcome().Skipped[k]
	return check{
		Name:        s.Check,
		ExternalID:  fmt.Sprintf("%s-s%d", run.identity().Run, k),
		DetailsURL:  url,
		Status:      statusCompleted,
		Conclusion:  string(flow.Skip),
		CompletedAt: instant(run.at()),
		Title:       elide(labelled("Skipped", oneLine(s.Reason)), maxTitle),
		Summary:     cutMarkdown(orElse(prose(s.Reason), "No trigger of this workflow fits the event.")+"\n", maxSummary),
	}
}

// configCheck is the name of the check that bad workflow files fail.
const configCheck = "litci / config"

// renderConfig renders the failing check of a run's bad workflow files.
func renderConfig(run runState, url string) check {
	problems := run.errors()
	first := problems[0]
	title := "Config error"
	if first.File != "" {
		title += " in " + path.Base(first.File)
		if first.Line > 0 {
			title += fmt.Sprintf(":%d", first.Line)
		}
	}
	if len(problems) > 1 {
		title += fmt.Sprintf(" and %d more", len(problems)-1)
	}
	c := check{
		Name:        configCheck,
		ExternalID:  run.identity().Run + "-config",
		DetailsURL:  url,
		Status:      statusCompleted,
		Conclusion:  string(flow.Failure),
		CompletedAt: instant(run.at()),
		Title:       elide(title, maxTitle),
	}
	all := append(slices.Clone(problems), run.warnings()...)
	var b strings.Builder
	for _, p := range all {
		b.WriteString(problemLine(p))
	}
	c.Summary = cutMarkdown(b.String(), maxSummary)
	for _, p := range all {
		if a, ok := annotate(p); ok {
			c.Annotations = append(c.Annotations, a)
		}
	}
	return c
}

// problemTexts are the problems for the comment, a plain line each.
func problemTexts(problems []flow.Problem) []string {
	var lines []string
	for _, p := range problems[:min(len(problems), excerptLines)] {
		lines = append(lines, elide(labelled(whereIs(p), oneLine(p.Message)), keptLine))
	}
	return lines
}

// whereIs is a problem's place as compilers write it; empty without a file.
func whereIs(p flow.Problem) string {
	switch {
	case p.File != "" && p.Line > 0 && p.Column > 0:
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	case p.File != "" && p.Line > 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return p.File
}

func problemLine(p flow.Problem) string {
	where := ""
	if w := whereIs(p); w != "" {
		where = code(w) + ": "
	}
	if p.Severity == "warning" {
		where += "warning: "
	}
	return "- " + where + prose(p.Message) + "\n"
}

// annotate puts a problem on its line. Problems without a file inside the
// repository have none.
func annotate(p flow.Problem) (annotation, bool) {
	if p.File == "" || path.IsAbs(p.File) || path.Clean(p.File) != p.File || strings.HasPrefix(p.File, "..") {
		return annotation{}, false
	}
	a := annotation{
		Path: p.File, StartLine: max(1, p.Line), EndLine: max(1, p.Line),
		Level: "failure", Message: orElse(p.Message, "This file cannot be read."), Title: "litci: workflow file",
	}
	if p.Line > 0 && p.Column > 0 {
		a.StartColumn, a.EndColumn = p.Column, p.Column
	}
	if p.Severity == "warning" {
		a.Level = "warning"
	}
	return a, true
}

// cutMarkdown keeps whole lines of s, at most n bytes. It is for lists and
// tables, where a line stands by itself.
func cutMarkdown(s string, n int) string {
	const mark = "\n… and more than fits here.\n"
	if len(s) <= n {
		return s
	}
	cut := strings.LastIndexByte(s[:n-len(mark)], '\n')
	return s[:cut+1] + mark
}

// instant is a time as GitHub takes it: whole seconds, UTC; nil for none.
func instant(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC().Truncate(time.Second)
	return &t
}
