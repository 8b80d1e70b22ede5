// Package board shows jobs while they run: redrawn in place on a terminal, a line
// for each change elsewhere. It knows what passes on the subjects and nothing
// else, so the demo and `litci run` show the same.
package board

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/litci/litci/pkg/flow"
)

// Options say how a Board looks.
type Options struct {
	// Out takes the progress.
	Out io.Writer
	// Live redraws Out in place; Color paints it.
	Live, Color bool
	// Output shows every line that the jobs write, behind the job's name.
	Output bool
}

// Job is what the board knows of a job.
type Job struct {
	ID, Check string
	State     flow.State
	// Result is nil until the job has ended.
	Result *flow.Result
	// Started is zero for a job that was not started, Finished for one that runs.
	Started, Finished time.Time

	// last is what the job wrote last; logged is how much of its log was seen.
	last   string
	logged int64
}

// Board shows jobs. Its methods may be called from several goroutines.
type Board struct {
	options Options
	began   time.Time

	mu      sync.Mutex
	run     string
	jobs    []*Job
	byID    map[string]*Job
	planned bool
	over    *flow.Result
	lines   int // drawn last
	change  chan struct{}
}

// New returns an empty board, whose clock starts now.
func New(o Options) *Board {
	return &Board{options: o, began: time.Now(), byID: map[string]*Job{}, change: make(chan struct{})}
}

// update changes the board and wakes who waits for a change.
func (b *Board) update(fn func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fn()
	close(b.change)
	b.change = make(chan struct{})
}

// Changed is closed at the next change.
func (b *Board) Changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.change
}

// Plan shows the jobs of a run as queued.
func (b *Board) Plan(p flow.Plan) {
	b.update(func() {
		b.run, b.planned = p.Run, true
		for _, j := range p.Jobs {
			b.job(j.Job).Check = j.Check
		}
		if !b.options.Live {
			fmt.Fprintf(b.options.Out, "%s planned %s\n", b.stamp(), counted(len(p.Jobs), "job"))
		}
	})
}

// job is a job's line; a state may come before the plan.
func (b *Board) job(id string) *Job {
	j := b.byID[id]
	if j == nil {
		j = &Job{ID: id, State: flow.Queued}
		b.byID[id] = j
		b.jobs = append(b.jobs, j)
	}
	return j
}

// Status shows that a job changed state.
func (b *Board) Status(s flow.Status) {
	b.update(func() {
		j := b.job(s.Job)
		if s.State.Rank() <= j.State.Rank() {
			return
		}
		j.Check, j.State = s.Check, s.State
		if j.Started.IsZero() {
			j.Started = s.At
		}
		b.line(string(s.State), s.Check)
	})
}

// Result shows a job's end, or that of a plan without a job.
func (b *Board) Result(res flow.Result) {
	b.update(func() {
		if res.Job == "" {
			b.run, b.over = res.Run, &res
			b.line(string(res.Conclusion), res.Message)
			return
		}
		j := b.job(res.Job)
		if j.Result != nil {
			return
		}
		j.Check, j.State, j.Result, j.Finished = res.Check, flow.Ended, &res, res.FinishedAt
		if j.Started.IsZero() {
			j.Started = res.StartedAt
		}
		what := fmt.Sprintf("%s  %d/%d", res.Check, b.ended(), len(b.jobs))
		if took := j.elapsed(); took != "" {
			what = fmt.Sprintf("%s in %s  %d/%d", res.Check, took, b.ended(), len(b.jobs))
		}
		b.line(string(res.Conclusion), what)
	})
}

// Log shows what a job writes. Blocks that were seen are passed over.
func (b *Board) Log(block flow.LogBlock) {
	b.mu.Lock()
	defer b.mu.Unlock()
	j := b.job(block.Job)
	end := block.Offset + int64(len(block.Text))
	if end <= j.logged {
		return
	}
	text := block.Text[max(0, j.logged-block.Offset):]
	j.logged = end
	if b.options.Output {
		b.erase()
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if b.options.Output {
			fmt.Fprintf(b.options.Out, "%s\n", b.paint(Grey, j.name()+" | ")+line)
		}
		if strings.TrimSpace(line) != "" {
			j.last = line
		}
	}
}

// Logged is how much of a job's log was seen, in bytes.
func (b *Board) Logged(job string) int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if j := b.byID[job]; j != nil {
		return j.logged
	}
	return 0
}

// name is how a line of output calls its job.
func (j *Job) name() string { return cmp.Or(j.Check, j.ID) }

// Finished tells that every planned job has its result.
func (b *Board) Finished() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over != nil {
		return true
	}
	return b.planned && b.ended() == len(b.jobs)
}

func (b *Board) ended() int {
	n := 0
	for _, j := range b.jobs {
		if j.Result != nil {
			n++
		}
	}
	return n
}

// Run is the id of the run that is shown, empty while there is none.
func (b *Board) Run() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.run
}

// Jobs are the jobs as they stand, in the order of the plan.
func (b *Board) Jobs() []Job {
	b.mu.Lock()
	defer b.mu.Unlock()
	jobs := make([]Job, len(b.jobs))
	for i, j := range b.jobs {
		jobs[i] = *j
	}
	return jobs
}

// Over is the result of a plan without jobs, nil where there is none.
func (b *Board) Over() *flow.Result {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.over
}

// Note says something above the jobs.
func (b *Board) Note(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.erase()
	fmt.Fprintf(b.options.Out, "%s %s\n", b.stamp(), text)
}

func (b *Board) line(state, what string) {
	if !b.options.Live {
		fmt.Fprintf(b.options.Out, "%s %-9s %s\n", b.stamp(), state, what)
	}
}

func (b *Board) stamp() string { return fmt.Sprintf("%6.2fs", time.Since(b.began).Seconds()) }

// Redraw shows the jobs in place until ctx ends; elsewhere than on a terminal it
// returns at once.
func (b *Board) Redraw(ctx context.Context) {
	if !b.options.Live {
		return
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		b.mu.Lock()
		b.draw(b.room())
		b.mu.Unlock()
	}
}

// Close leaves the last picture on the terminal, with a line of space below it.
func (b *Board) Close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.options.Live {
		b.draw(b.room())
		fmt.Fprintln(b.options.Out)
		b.lines = 0
	}
}

// first puts those jobs in front that run, then those that did not pass, then those
// that wait: at the end, what is left to see is what went wrong.
func first(jobs []*Job) []*Job {
	rank := func(j *Job) int {
		switch {
		case j.failed():
			return 1
		case j.Result != nil:
			return 3
		case j.State == flow.Queued:
			return 2
		}
		return 0
	}
	sorted := slices.Clone(jobs)
	slices.SortStableFunc(sorted, func(x, y *Job) int { return rank(x) - rank(y) })
	return sorted
}

func (j *Job) failed() bool {
	return j.Result != nil && j.Result.Conclusion != flow.Success && j.Result.Conclusion != flow.Skip
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
