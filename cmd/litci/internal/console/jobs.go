package console

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/litci/litci/cmd/litci/internal/board"
	"github.com/litci/litci/cmd/litci/internal/terminal"
	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/services/reporter"
)

// recent is how long an ended job is listed without being asked for.
const recent = time.Hour

// Filter says which jobs are listed.
type Filter struct {
	// Repo is owner/name; PR a number, 0 for any; Run and SHA begin the ids.
	Repo string
	PR   int
	Run  string
	SHA  string
	// States are words of States; none is all.
	States []string
	// All lists what ended long ago too.
	All bool
}

// state is a word that a filter understands, and what it means.
type state struct {
	word string
	is   func(reporter.Job) bool
}

var states = []state{
	{"open", reporter.Job.Open},
	{"queued", func(j reporter.Job) bool { return j.Open() && j.State.Rank() <= flow.Queued.Rank() }},
	{"starting", func(j reporter.Job) bool { return j.Open() && (j.State == flow.Starting || j.State == flow.Started) }},
	{"running", func(j reporter.Job) bool { return j.Open() && j.State.Rank() >= flow.Running.Rank() }},
	{"ended", func(j reporter.Job) bool { return !j.Open() }},
	{"passed", func(j reporter.Job) bool { return j.Conclusion == flow.Success }},
	{"failed", reporter.Job.Failed},
	{"cancelled", func(j reporter.Job) bool { return j.Conclusion == flow.Cancelled }},
	{"skipped", func(j reporter.Job) bool { return j.Conclusion == flow.Skip }},
	{"timed_out", func(j reporter.Job) bool { return j.Conclusion == flow.TimedOut }},
}

// States are the words that a filter understands.
func States() []string {
	words := make([]string, len(states))
	for i, s := range states {
		words[i] = s.word
	}
	return words
}

// Check tells what is wrong with a filter.
func (f Filter) Check() error {
	for _, word := range f.States {
		if !slices.Contains(States(), word) {
			return fmt.Errorf("--state %s is not known; the states are %s", word, strings.Join(States(), ", "))
		}
	}
	owner, name, both := strings.Cut(f.Repo, "/")
	switch {
	case f.Repo != "" && (!both || owner == "" || name == "" || strings.Contains(name, "/")):
		return fmt.Errorf("--repo %s: a repository is OWNER/NAME", f.Repo)
	case f.PR < 0:
		return fmt.Errorf("--pr %d: a pull request's number is 1 or more", f.PR)
	case strings.Trim(f.SHA, "0123456789abcdef") != "" || len(f.SHA) > 40:
		return fmt.Errorf("--sha %s: a commit is up to 40 of 0-9 and a-f", f.SHA)
	}
	if f.Run != "" {
		t, err := Parse(f.Run)
		if err == nil && !t.Whole() {
			err = fmt.Errorf("--run %s: that is a job; its run is %s", f.Run, t.Run)
		}
		return err
	}
	return nil
}

// wants tells whether the filter names a job. Where it names a run or a commit, how
// long ago its jobs ended does not matter.
func (f Filter) wants(j reporter.Job) bool {
	matches := func(word string) bool {
		return slices.ContainsFunc(states, func(s state) bool { return s.word == word && s.is(j) })
	}
	return (f.Repo == "" || strings.EqualFold(f.Repo, j.Repo.FullName())) && (f.PR == 0 || f.PR == j.PullRequest) &&
		strings.HasPrefix(j.Run, f.Run) && strings.HasPrefix(j.SHA, f.SHA) &&
		(len(f.States) == 0 || slices.ContainsFunc(f.States, matches))
}

func (f Filter) old(j reporter.Job, now time.Time) bool {
	return !f.All && f.Run == "" && f.SHA == "" && !j.Open() && now.Sub(j.FinishedAt) > recent
}

// Listing is what litci jobs shows; the JSON is a public interface.
type Listing struct {
	Jobs []reporter.Job `json:"jobs"`
	// LeftOut counts jobs that ended too long ago.
	LeftOut int `json:"left_out"`
	// short is as much of a run's id as tells it from all others.
	short int
	now   time.Time
}

// List reads the jobs that a filter names, newest first.
func List(ctx context.Context, b *bus.Bus, f Filter, now time.Time) (Listing, error) {
	l := Listing{Jobs: []reporter.Job{}, short: leastShort, now: now}
	runs := map[string]bool{}
	err := reporter.EachJob(ctx, b, "", func(j reporter.Job) error {
		runs[j.Run] = true
		switch {
		case !f.wants(j):
		case f.old(j, now):
			l.LeftOut++
		default:
			l.Jobs = append(l.Jobs, j)
		}
		return nil
	})
	if err != nil {
		return l, fmt.Errorf("jobs: %w", err)
	}
	for !distinct(runs, l.short) {
		l.short++
	}
	slices.SortFunc(l.Jobs, func(a, b reporter.Job) int {
		return cmp.Or(b.QueuedAt.Compare(a.QueuedAt), cmp.Compare(a.Run, b.Run), cmp.Compare(a.Index, b.Index))
	})
	return l, nil
}

// leastShort is how much of a run's id is shown at least.
const leastShort = 7

// distinct tells whether n letters tell all runs apart.
func distinct(runs map[string]bool, n int) bool {
	seen := map[string]bool{}
	for run := range runs {
		seen[run[:min(n, len(run))]] = true
	}
	return n >= runLength || len(seen) == len(runs)
}

// Print writes the listing as a table to out, and what it leaves out to words.
//
// wide adds the addresses of the jobs' pages, which are too long for most screens.
func (l Listing) Print(out, words io.Writer, screen terminal.Screen, wide bool) error {
	if len(l.Jobs) > 0 {
		t := terminal.Table{Narrow: []int{6, 3, 1}}
		head := []string{"JOB", "FOR", "COMMIT", "CHECK", "STATE", "TIME", "DETAIL"}
		if wide {
			head, screen.Width = append(head, "URL"), 0
		}
		t.Head(head...)
		for _, j := range l.Jobs {
			row := []terminal.Cell{
				{Text: l.id(j)},
				{Text: terminal.Plain(about(j))},
				{Text: j.SHA[:min(7, len(j.SHA))]},
				{Text: terminal.Plain(j.Check)},
				{Text: j.Word(), Paint: tone(j)},
				{Text: l.time(j)},
				{Text: terminal.Plain(detail(j))},
			}
			if wide {
				row = append(row, terminal.Cell{Text: cmp.Or(terminal.Plain(j.URL), "-")})
			}
			t.Add(row...)
		}
		if err := t.Print(out, screen); err != nil {
			return err
		}
	}
	switch {
	case l.LeftOut > 0 && len(l.Jobs) == 0:
		fmt.Fprintf(words, "No such job is open or ended within the last hour; %s of before that: --all shows them.\n", counted(l.LeftOut, "job"))
	case l.LeftOut > 0:
		fmt.Fprintf(words, "Not shown: %s that ended more than an hour ago; --all shows all.\n", counted(l.LeftOut, "job"))
	case len(l.Jobs) == 0:
		fmt.Fprintln(words, "No such job is known.")
	}
	return nil
}

// id is as much of the job's id as names it; from the second attempt on, that of
// the attempt.
func (l Listing) id(j reporter.Job) string {
	id := flow.JobID(j.Run[:min(l.short, len(j.Run))], j.Index)
	if j.Attempt > 1 {
		id = flow.AttemptID(id, j.Attempt)
	}
	return id
}

// about is what the job tests: a pull request or a ref.
func about(j reporter.Job) string {
	if j.PullRequest > 0 {
		return fmt.Sprintf("%s#%d", j.Repo.FullName(), j.PullRequest)
	}
	ref := strings.TrimPrefix(strings.TrimPrefix(j.Ref, "refs/heads/"), "refs/tags/")
	return j.Repo.FullName() + "@" + ref
}

// time is how long the job has waited, runs, or ran.
func (l Listing) time(j reporter.Job) string {
	from, to := j.BeganAt, l.now
	if from.IsZero() {
		from = j.QueuedAt
	}
	if !j.Open() {
		to = j.FinishedAt
		from = j.BeganAt
	}
	if from.IsZero() || to.IsZero() {
		return "-"
	}
	return board.Elapsed(to.Sub(from))
}

// detail is what there is to say beyond the word: what the job waits for, or why it
// did not pass.
func detail(j reporter.Job) string {
	switch {
	case j.Conclusion == flow.Success:
		return ""
	case j.Failed() && j.FirstError != "" && j.Message != "":
		return j.Message + ": " + j.FirstError
	}
	return cmp.Or(j.Message, j.FirstError)
}

func tone(j reporter.Job) string {
	switch {
	case j.Failed() && j.Optional:
		return board.Yellow
	case j.Failed():
		return board.Red
	case j.Conclusion == flow.Success:
		return board.Green
	case j.Open() && j.State.Rank() > flow.Queued.Rank():
		return board.Yellow
	}
	return board.Grey
}
