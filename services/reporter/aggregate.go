package reporter

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/litci/litci/pkg/flow"
)

// aggregateCheck is the check that people require: one per commit, over all its runs.
const aggregateCheck = "litci"

// runView is a run with the states of its jobs by index.
type runView struct {
	runState
	states map[int]jobState
}

// row is a line of the tables that people read: a job, a skipped workflow, or
// the workflow files themselves.
type row struct {
	Name       string
	State      flow.State
	Conclusion flow.Conclusion
	Optional   bool
	// Title is the plain line of the check run.
	Title   string
	Took    string
	URL     string
	Excerpt []string
	// retries are the attempts that litci itself tried again.
	retries []flow.Earlier
	// run and index find the job; index is -1 where there is none.
	run   string
	index int
}

func (r row) open() bool { return r.Conclusion == "" }

// red says that the row makes the verdict a failure.
func (r row) red() bool { return !r.Optional && failed(r.Conclusion) }

// summing is what a commit's runs come to.
type summing struct {
	rows    []row
	gate    string // why somebody must approve, empty where nobody must
	gated   bool
	lost    string // why the commit was never planned, empty where it was
	notices []string
	// problems are warnings of the workflow files.
	problems []flow.Problem
	// reason says why there is nothing to do.
	reason string
}

// sumUp puts the runs of a commit together, from old to new. GitHub shows the
// newest check run of a name, and so does this: a name's newest run counts. What
// planning itself said (a gate, bad files) holds until the same event of the
// same pull request or ref is planned again.
func sumUp(views []runView, links links) summing {
	var s summing
	place := map[string]int{}
	put := func(r row) {
		if at, ok := place[r.Name]; ok {
			s.rows[at] = r
			return
		}
		place[r.Name] = len(s.rows)
		s.rows = append(s.rows, r)
	}
	last := map[string]string{}
	source := func(v runView) string {
		id := v.identity()
		return fmt.Sprintf("%s %d %s", id.Event, id.PullRequest, id.Ref)
	}
	for _, v := range views {
		last[source(v)] = v.identity().Run
	}
	for _, v := range views {
		run := v.identity().Run
		current := last[source(v)] == run
		for index, job := range v.jobs() {
			put(jobRow(v, index, job, links))
		}
		for _, skipped := range v.outcome().Skipped {
			put(row{
				Name: skipped.Check, Conclusion: flow.Skip, Title: labelled("Skipped", oneLine(skipped.Reason)),
				URL: links.run(run), run: run, index: -1,
			})
		}
		if !current {
			continue
		}
		if len(v.errors()) > 0 {
			put(row{
				Name: configCheck, Conclusion: flow.Failure, Title: renderConfig(v.runState, "").Title, Excerpt: problemTexts(v.errors()),
				URL: links.run(run), run: run, index: -1,
			})
		}
		if v.gated() {
			s.gated, s.gate = true, orElse(v.End.Message, "Somebody with write permission must approve this run.")
		}
		s.lost = orElse(s.lost, v.lost())
		if v.End != nil && v.End.Cause == flow.CauseNotTriggered {
			s.reason = orElse(v.End.Message, s.reason)
		}
		for _, notice := range v.outcome().Notices {
			if !slices.Contains(s.notices, notice) {
				s.notices = append(s.notices, notice)
			}
		}
		if len(v.errors()) == 0 {
			s.problems = append(s.problems, v.warnings()...)
		}
	}
	return s
}

func jobRow(v runView, index int, job flow.PlannedJob, links links) row {
	run := v.identity().Run
	r := row{Name: job.Check, State: flow.Queued, Optional: job.Optional, Title: "Queued", URL: links.job(run, index), run: run, index: index}
	state, ok := v.states[index]
	if !ok {
		return r
	}
	r.State, r.Conclusion, r.Title = state.State, state.Conclusion, jobTitle(state)
	if d, ok := state.took(); ok {
		r.Took = length(d)
	}
	r.Excerpt = state.Excerpt
	for _, e := range state.Earlier {
		if !e.Rerun {
			r.retries = append(r.retries, e)
		}
	}
	return r
}

// count is how many rows are how.
type count struct{ jobs, open, passed, skipped, failed, cancelled, optional int }

func (s summing) count() count {
	var c count
	for _, r := range s.rows {
		if r.Name == configCheck && r.index < 0 {
			c.failed++
			continue
		}
		switch {
		case r.Conclusion == flow.Skip:
			c.skipped++
			continue
		case r.open() && r.Optional:
		case r.open():
			c.open++
		case r.Conclusion == flow.Success:
			c.passed++
		case r.Optional:
			c.optional++
		case r.Conclusion == flow.Cancelled:
			c.cancelled++
		default:
			c.failed++
		}
		c.jobs++
	}
	return c
}

// verdict is the aggregate's status and conclusion. Failure as soon as one
// fails for good; open while any is; success only if every job that counts
// passed or was filtered out.
func (s summing) verdict() (status string, conclusion flow.Conclusion) {
	c := s.count()
	switch {
	case c.failed > 0, s.lost != "":
		return statusCompleted, flow.Failure
	case s.gated:
		return statusCompleted, flow.ActionRequired
	case c.open > 0:
		return statusInProgress, ""
	case c.cancelled > 0:
		return statusCompleted, flow.Cancelled
	}
	return statusCompleted, flow.Success
}

// headline is one plain line: how many passed, failed, are open.
func (s summing) headline(sha string) string {
	c := s.count()
	switch {
	case s.lost != "" && len(s.rows) == 0:
		return unplanned + oneLine(s.lost)
	case s.gated && c.failed == 0 && s.lost == "":
		return "Needs approval for " + short(sha)
	case c.jobs == 0 && c.failed == 0 && s.lost == "":
		return "Nothing to do"
	}
	var parts []string
	if s.lost != "" {
		parts = append(parts, "litci could not plan an event")
	}
	add := func(n int, word string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, word))
		}
	}
	config := slices.ContainsFunc(s.rows, func(r row) bool { return r.Name == configCheck && r.index < 0 })
	if config {
		c.failed--
		parts = append(parts, "config error")
	}
	add(c.failed, "failed")
	add(c.cancelled, "cancelled")
	add(c.optional, "failed (optional)")
	add(c.passed, "passed")
	add(c.skipped, "skipped")
	add(c.open, "still to come")
	line := strings.Join(parts, ", ")
	if s.lost != "" {
		return line // a name keeps its case
	}
	return capital(line)
}

const (
	unplanned = "litci could not plan this commit: "
	// planAgain tells people what to do about it.
	planAgain = "Push again, or ask the operator of litci to replay the event: litci dlq ls shows it."
)

// renderAggregate renders the check run of a commit.
func renderAggregate(repo int64, sha string, views []runView, links links) check {
	s := sumUp(views, links)
	status, conclusion := s.verdict()
	c := check{
		Name:       aggregateCheck,
		ExternalID: aggregateID(repo, sha),
		Status:     status,
		Conclusion: string(conclusion),
		Title:      elide(s.headline(sha), maxTitle),
	}
	var began, ended time.Time
	for _, v := range views {
		began = earliest(began, v.at())
		ended = latest(ended, v.at())
		for _, state := range v.states {
			ended = latest(ended, state.FinishedAt)
		}
		if len(v.jobs()) > 0 || c.DetailsURL == "" {
			c.DetailsURL = links.run(v.identity().Run)
		}
	}
	c.StartedAt = instant(began)
	if status == statusCompleted {
		c.CompletedAt = instant(ended)
	}
	c.Summary = s.summary(c.DetailsURL)
	return c
}

// summary is the table of jobs, what fails first.
func (s summing) summary(url string) string {
	var b strings.Builder
	if s.gated {
		b.WriteString(prose(s.gate) + "\n\n")
	}
	switch {
	case s.lost != "":
		b.WriteString(prose(unplanned+s.lost) + "\n\n" + planAgain + "\n\n")
	case len(s.rows) == 0 && !s.gated:
		b.WriteString(orElse(prose(s.reason), "No workflow of this commit wants this event.") + "\n\n")
	}
	if again := s.startedAgain(); again != "" {
		b.WriteString(again + "\n\n")
	}
	for _, notice := range s.notices {
		b.WriteString("> " + prose(notice) + "\n\n")
	}
	for _, p := range s.problems {
		b.WriteString(problemLine(p))
	}
	if len(s.problems) > 0 {
		b.WriteByte('\n')
	}
	head := b.String()
	if len(s.rows) == 0 {
		return cutMarkdown(head, maxSummary)
	}
	return cutMarkdown(head, maxSummary/2) + s.table(url, maxSummary-min(len(head), maxSummary/2)-64)
}

// table lists the rows in at most n bytes, those that fail first, then those
// that are open; what does not fit is counted and linked.
func (s summing) table(url string, n int) string {
	rows := slices.Clone(s.rows)
	weight := func(r row) int {
		switch {
		case r.red():
			return 0
		case r.open():
			return 1
		case r.Conclusion == flow.Success:
			return 3
		case r.Conclusion == flow.Skip:
			return 4
		}
		return 2
	}
	if len(rows) > 20 { // a short table stays in the plan's order
		slices.SortStableFunc(rows, func(a, b row) int { return weight(a) - weight(b) })
	}
	var b strings.Builder
	b.WriteString("| Job | State | Time | |\n|---|---|---|---|\n")
	const closing = 300
	for i, r := range rows {
		line := r.markdown()
		if b.Len()+len(line)+closing > n {
			fmt.Fprintf(&b, "\n… and %s: ", plural(len(rows)-i, "more job", "more jobs"))
			if url == "" {
				b.WriteString("see the report.\n")
			} else {
				fmt.Fprintf(&b, "[see the whole run](%s).\n", url)
			}
			break
		}
		b.WriteString(line)
	}
	return b.String()
}

func (r row) markdown() string {
	link := ""
	if r.URL != "" {
		link = "[report](" + r.URL + ")"
	}
	state := icon(r.State, r.Conclusion) + " " + stateWord(r.State, r.Conclusion)
	if r.Optional {
		state += " (optional)"
	}
	return fmt.Sprintf("| %s | %s | %s | %s |\n", code(r.Name), state, r.Took, link)
}

// icon is a picture beside the word of a state, never in its place.
func icon(s flow.State, c flow.Conclusion) string {
	switch c {
	case flow.Success:
		return "✅"
	case flow.Failure:
		return "❌"
	case flow.TimedOut:
		return "⌛"
	case flow.Cancelled:
		return "⏹️"
	case flow.Skip:
		return "⏭️"
	case flow.ActionRequired:
		return "✋"
	}
	if s.Rank() <= flow.Queued.Rank() {
		return "🕓"
	}
	return "▶️"
}

func aggregateID(repo int64, sha string) string { return fmt.Sprintf("litci-%d-%s", repo, sha) }

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
