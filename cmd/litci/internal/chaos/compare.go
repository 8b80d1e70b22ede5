package chaos

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/litci/litci/pkg/flow"
)

// Evidence is what there is at the end: what should have come, and from three
// independent sources what came: litci's streams, GitHub, and the jobs' own marks.
type Evidence struct {
	Events  []Event
	Commits []string // of the events

	Jobs    []flow.Job // every attempt that was asked for, from the stream
	Letters []string   // dead letters
	Lags    []string   // consumers that have something left

	Checks []Check
	// Comments are the numbers of the pull requests that have a comment of litci's,
	// once for each.
	Comments []int

	// Marks says how often each attempt ran. Unmarked are attempts whose marks are gone.
	Marks    map[string]int
	Unmarked []string
}

// Check is a check run on GitHub.
type Check struct {
	Name, SHA, ExternalID, Status, Conclusion string
}

func (c Check) completed() bool { return c.Status == "completed" }

// Findings are what is wrong, one sentence each, and what was counted beside.
type Findings struct {
	Jobs      int // planned
	Cancelled int // of heads that newer ones superseded
	Retried   int // attempts after a failure of the machine

	Lost              []string // never ran, whatever the verdict says
	Twice             []string // ran, or was planned, more often than asked for
	Missing           []string // verdicts and comments that GitHub does not have
	Wrong             []string // verdicts other than the right one, and checks of nothing
	Aggregates        []string // commits without an aggregate verdict
	DuplicateChecks   []string
	DuplicateComments []string
	Stuck             []string // what is still open or in hand
	DeadLetters       []string
	Unhealed          []string // events that were never planned
}

// aggregateCheck is the name of the check over all jobs of a commit.
const aggregateCheck = "litci"

// Compare holds what came against what should have come.
func Compare(e Evidence) Findings {
	f := Findings{DeadLetters: e.Letters, Stuck: slices.Clone(e.Lags)}
	events := make(map[string]Event, len(e.Events))
	for i, event := range e.Events {
		events[e.Commits[i]] = event
	}
	runs := runsOf(e.Jobs)
	for i, event := range e.Events {
		commit := e.Commits[i]
		f.compareEvent(e, event, commit, runs[commit])
	}
	f.compareChecks(e, events)
	f.compareComments(e, runs)
	for _, attempt := range e.Unmarked {
		f.Wrong = append(f.Wrong, fmt.Sprintf("attempt %s was removed with its marks, which nobody asked for", attempt))
	}
	asked := map[string]bool{}
	for _, job := range e.Jobs {
		asked[job.AttemptID()] = true
	}
	for _, attempt := range slices.Sorted(maps.Keys(e.Marks)) {
		if !asked[attempt] {
			f.Wrong = append(f.Wrong, fmt.Sprintf("attempt %s ran, and nobody asked for it", attempt))
		}
	}
	return f
}

// run is the jobs of one run by id, each with its attempts from first to last.
type run map[string][]flow.Job

// runsOf sorts jobs by commit and run.
func runsOf(jobs []flow.Job) map[string]map[string]run {
	runs := map[string]map[string]run{}
	for _, job := range jobs {
		if runs[job.SHA] == nil {
			runs[job.SHA] = map[string]run{}
		}
		if runs[job.SHA][job.Run] == nil {
			runs[job.SHA][job.Run] = run{}
		}
		r := runs[job.SHA][job.Run]
		// A message that was stored twice is one attempt.
		if !slices.ContainsFunc(r[job.Job], func(other flow.Job) bool { return other.Attempt == job.Attempt }) {
			r[job.Job] = append(r[job.Job], job)
		}
	}
	for _, byRun := range runs {
		for _, r := range byRun {
			for _, attempts := range r {
				slices.SortFunc(attempts, func(a, b flow.Job) int { return cmp.Compare(a.Attempt, b.Attempt) })
			}
		}
	}
	return runs
}

// superseded tells whether a pull request got a newer head than the event's.
func superseded(events []Event, e Event) bool {
	return e.Kind != Pushed && slices.ContainsFunc(events, func(other Event) bool {
		return other.Kind != Pushed && other.Pull == e.Pull && other.Number > e.Number
	})
}

func (e Event) String() string {
	where := "of " + e.Branch
	if e.Kind != Pushed {
		where = fmt.Sprintf("of pull request %d", e.Pull)
	}
	return fmt.Sprintf("event %d (%s %s)", e.Number, e.Kind, where)
}

// compareEvent looks at what one event asked for.
func (f *Findings) compareEvent(e Evidence, event Event, commit string, runs map[string]run) {
	old := superseded(e.Events, event)
	if len(runs) == 0 {
		// Of an old head that was never planned nobody misses anything.
		if !old {
			f.Unhealed = append(f.Unhealed, fmt.Sprintf("%s was never planned: commit %s", event, commit))
		}
		return
	}
	if len(runs) > 1 {
		f.Twice = append(f.Twice, fmt.Sprintf("%s was planned as %d runs: %q", event, len(runs), slices.Sorted(maps.Keys(runs))))
	}
	for _, id := range slices.Sorted(maps.Keys(runs)) {
		planned := map[string]int{}
		for _, job := range slices.Sorted(maps.Keys(runs[id])) {
			attempts := runs[id][job]
			planned[attempts[0].Check]++
			f.compareJob(e, attempts, old)
		}
		for _, job := range event.Jobs {
			if n := planned[event.checkOf(job)]; n != 1 {
				f.Lost = append(f.Lost, fmt.Sprintf("run %s of %s has job %q %d times", id, event, job, n))
			}
		}
	}
	f.compareAggregate(e, event, commit, old)
}

// compareJob looks at one job with its attempts.
func (f *Findings) compareJob(e Evidence, attempts []flow.Job, old bool) {
	f.Jobs++
	newest := attempts[len(attempts)-1]
	for _, a := range attempts {
		if n := e.Marks[a.AttemptID()]; n > 1 {
			f.Twice = append(f.Twice, fmt.Sprintf("attempt %s (%s) ran %d times", a.AttemptID(), a.Check, n))
		}
		if a.Attempt == 1 {
			continue
		}
		f.Retried++
		if n := len(a.Earlier); n == 0 || a.Earlier[n-1].Cause != flow.CauseInfrastructure && a.Earlier[n-1].Cause != flow.CausePreempted {
			f.Twice = append(f.Twice, fmt.Sprintf("job %s (%s) was tried again as %s for no failure of the machine", a.Job, a.Check, a.AttemptID()))
		}
	}
	ran := e.Marks[newest.AttemptID()] > 0
	check, found := checkWith(e.Checks, newest.AttemptID())
	switch {
	case !found:
		f.Missing = append(f.Missing, fmt.Sprintf("attempt %s (%s) has no check run on %s", newest.AttemptID(), newest.Check, newest.SHA))
	case !check.completed():
		f.Stuck = append(f.Stuck, fmt.Sprintf("attempt %s (%s) is %s on GitHub", newest.AttemptID(), newest.Check, check.Status))
	case old && check.Conclusion == string(flow.Cancelled):
		f.Cancelled++
		return
	case check.Conclusion != string(wanted(newest)):
		f.Wrong = append(f.Wrong, fmt.Sprintf("attempt %s (%s) is %s, want %s", newest.AttemptID(), newest.Check, check.Conclusion, wanted(newest)))
	}
	if !ran {
		f.Lost = append(f.Lost, fmt.Sprintf("attempt %s (%s) never ran", newest.AttemptID(), newest.Check))
	}
}

// wanted is the verdict that a job's work comes to.
func wanted(job flow.Job) flow.Conclusion {
	work, _ := job.Params.Get(workParameter)
	text, _ := work.(string) // the empty text is no failing work
	return conclusionOf(text)
}

// checkWith finds an attempt's check run, a completed one first.
func checkWith(checks []Check, externalID string) (found Check, ok bool) {
	for _, c := range checks {
		if c.ExternalID == externalID && (!ok || c.completed()) {
			found, ok = c, true
		}
	}
	return found, ok
}

// compareAggregate looks at the check over all jobs of a commit.
func (f *Findings) compareAggregate(e Evidence, event Event, commit string, old bool) {
	at := slices.IndexFunc(e.Checks, func(c Check) bool { return c.Name == aggregateCheck && c.SHA == commit })
	if at < 0 {
		f.Aggregates = append(f.Aggregates, fmt.Sprintf("%s has no check %s on %s", event, aggregateCheck, commit))
		return
	}
	check := e.Checks[at]
	if !check.completed() {
		f.Stuck = append(f.Stuck, fmt.Sprintf("check %s of %s is %s on GitHub", aggregateCheck, event, check.Status))
		return
	}
	want := flow.Success
	if slices.ContainsFunc(event.Jobs, func(job string) bool { return conclusionOf(job) == flow.Failure }) {
		want = flow.Failure
	}
	// What an old head comes to depends on how far it was when the newer one came.
	if check.Conclusion != string(want) && !old {
		f.Wrong = append(f.Wrong, fmt.Sprintf("check %s of %s is %s, want %s", aggregateCheck, event, check.Conclusion, want))
	}
}

// compareChecks looks for check runs that are there twice or that nobody asked for.
func (f *Findings) compareChecks(e Evidence, events map[string]Event) {
	byID, byName := map[string]int{}, map[string]int{}
	for _, c := range e.Checks {
		_, _, attempt, _ := flow.ParseAttemptID(c.ExternalID) // 0 for checks of no attempt
		name := fmt.Sprintf("%s, attempt %d, on %s", c.Name, attempt, c.SHA)
		byName[name]++
		doubled := byName[name] > 1
		if c.ExternalID != "" {
			byID[c.ExternalID]++
			doubled = doubled || byID[c.ExternalID] > 1
		}
		if doubled {
			f.DuplicateChecks = append(f.DuplicateChecks, fmt.Sprintf("check run %s (external id %s) is there again", name, c.ExternalID))
		}
		event, known := events[c.SHA]
		if c.Name != aggregateCheck && !slices.ContainsFunc(event.Jobs, func(job string) bool { return event.checkOf(job) == c.Name }) || !known {
			f.Wrong = append(f.Wrong, fmt.Sprintf("check run %s is %s %s, and nobody asked for it", name, c.Status, c.Conclusion))
		}
	}
}

// compareComments wants one comment on each pull request whose newest head was planned.
func (f *Findings) compareComments(e Evidence, runs map[string]map[string]run) {
	have := map[int]int{}
	for _, pull := range e.Comments {
		have[pull]++
	}
	for i, event := range e.Events {
		if event.Kind == Pushed || superseded(e.Events, event) || len(runs[e.Commits[i]]) == 0 {
			continue
		}
		if have[event.Pull] == 0 {
			f.Missing = append(f.Missing, fmt.Sprintf("pull request %d has no comment", event.Pull))
		}
	}
	for _, pull := range slices.Sorted(maps.Keys(have)) {
		if have[pull] > 1 {
			f.DuplicateComments = append(f.DuplicateComments, fmt.Sprintf("pull request %d has %d comments", pull, have[pull]))
		}
	}
}
