package demo

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/litci/litci/pkg/flow"
)

// board shows the jobs while they run: redrawn in place on a terminal, a line for
// each change elsewhere.
type board struct {
	out         io.Writer
	live, color bool
	began       time.Time

	mu      sync.Mutex
	run     string
	jobs    []*row
	byJob   map[string]*row
	planned bool
	// over is the result of a plan without jobs.
	over   *flow.Result
	lines  int // drawn last
	change chan struct{}
}

type row struct {
	check    string
	state    flow.State
	result   *flow.Result
	started  time.Time
	finished time.Time
}

func newBoard(o Options, began time.Time) *board {
	return &board{out: o.Progress, live: o.Live, color: o.Color, began: began, byJob: map[string]*row{}, change: make(chan struct{})}
}

// update changes the board and wakes who waits for a change.
func (b *board) update(fn func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	fn()
	close(b.change)
	b.change = make(chan struct{})
}

func (b *board) changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.change
}

func (b *board) plan(p flow.Plan) {
	b.update(func() {
		b.run, b.planned = p.Run, true
		for _, j := range p.Jobs {
			b.row(j.Job).check = j.Check
		}
		if !b.live {
			fmt.Fprintf(b.out, "%s planned %d jobs\n", b.stamp(), len(p.Jobs))
		}
	})
}

// row is a job's line; a state may come before the plan.
func (b *board) row(job string) *row {
	r := b.byJob[job]
	if r == nil {
		r = &row{state: flow.Queued}
		b.byJob[job] = r
		b.jobs = append(b.jobs, r)
	}
	return r
}

func (b *board) status(s flow.Status) {
	b.update(func() {
		r := b.row(s.Job)
		if s.State.Rank() <= r.state.Rank() {
			return
		}
		r.check, r.state = s.Check, s.State
		if r.started.IsZero() {
			r.started = s.At
		}
		b.line(string(s.State), s.Check)
	})
}

func (b *board) result(res flow.Result) {
	b.update(func() {
		if res.Job == "" {
			b.run, b.over = res.Run, &res
			b.line(string(res.Conclusion), res.Message)
			return
		}
		r := b.row(res.Job)
		r.check, r.state, r.result, r.finished = res.Check, flow.Ended, &res, res.FinishedAt
		if r.started.IsZero() {
			r.started = res.StartedAt
		}
		b.line(string(res.Conclusion), res.Check)
	})
}

// finished tells that every planned job has its result.
func (b *board) finished() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over != nil {
		return true
	}
	return b.planned && !slices.ContainsFunc(b.jobs, func(r *row) bool { return r.result == nil })
}

func (b *board) note(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.erase()
	fmt.Fprintf(b.out, "%s %s\n", b.stamp(), text)
}

func (b *board) line(state, what string) {
	if !b.live {
		fmt.Fprintf(b.out, "%s %-9s %s\n", b.stamp(), state, what)
	}
}

func (b *board) stamp() string { return fmt.Sprintf("%6.2fs", time.Since(b.began).Seconds()) }

// redraw shows the jobs in place until ctx ends.
func (b *board) redraw(ctx context.Context) {
	if !b.live {
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

// room is how many jobs fit on the terminal.
func (b *board) room() int {
	if f, ok := b.out.(*os.File); ok {
		if _, height, err := term.GetSize(int(f.Fd())); err == nil && height > 6 {
			return height - 4
		}
	}
	return 20
}

func (b *board) erase() {
	if b.lines > 0 {
		fmt.Fprintf(b.out, "\x1b[%dA\x1b[J", b.lines)
		b.lines = 0
	}
}

// draw shows the rows that fit, those that run first.
func (b *board) draw(room int) {
	rows := slices.Clone(b.jobs)
	hidden := 0
	if len(rows) > room {
		slices.SortStableFunc(rows, func(x, y *row) int { return rank(x) - rank(y) })
		hidden = len(rows) - room
		rows = rows[:room]
	}
	var text strings.Builder
	for _, r := range rows {
		sign, word, paint := b.face(r)
		fmt.Fprintf(&text, "%s  %-11s %7s  %s\n", b.paint(paint, sign), word, r.elapsed(), cut(r.check, 100))
	}
	if hidden > 0 {
		fmt.Fprintf(&text, "   and %d more\n", hidden)
	}
	b.erase()
	fmt.Fprint(b.out, text.String())
	b.lines = strings.Count(text.String(), "\n")
}

func rank(r *row) int {
	switch {
	case r.result != nil:
		return 2
	case r.state == flow.Queued:
		return 1
	}
	return 0
}

func (r *row) elapsed() string {
	switch {
	case r.started.IsZero():
		return ""
	case r.finished.IsZero():
		return fmt.Sprintf("%.1fs", time.Since(r.started).Seconds())
	}
	return fmt.Sprintf("%.1fs", r.finished.Sub(r.started).Seconds())
}

const (
	green  = "32"
	red    = "31"
	yellow = "33"
	grey   = "90"
)

func (b *board) face(r *row) (sign, word, paint string) {
	if r.result == nil {
		if r.state == flow.Queued {
			return "·", "queued", grey
		}
		return "●", string(r.state), yellow
	}
	switch r.result.Conclusion {
	case flow.Success:
		return "✓", "passed", green
	case flow.Skip:
		return "-", "skipped", grey
	}
	return "✗", string(r.result.Conclusion), red
}

func (b *board) paint(code, text string) string {
	if !b.color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// close leaves the last picture on the terminal.
func (b *board) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.live {
		b.draw(b.room())
		b.lines = 0
	}
}

func cut(text string, n int) string {
	if runes := []rune(text); len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return text
}
