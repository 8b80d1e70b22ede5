package board

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/litci/litci/pkg/flow"
)

// The colours of a terminal.
const (
	Green  = "32"
	Red    = "31"
	Yellow = "33"
	Grey   = "90"
	Bold   = "1"
)

const (
	// barCells is the width of the progress bar.
	barCells = 24
	// maxName is the length of a job's name on the board, maxLine of what it wrote last.
	maxName = 100
	maxLine = 200
)

// A terminal that wrapped long lines would show more lines than were counted.
const (
	wrapOff = "\x1b[?7l"
	wrapOn  = "\x1b[?7h"
)

// usual is the height of a terminal that does not tell its own.
const usual = 24

// space is what fits on a terminal: so many jobs, the line on hidden ones, the bar.
type space struct {
	jobs      int
	more, bar bool
}

// room is the space on the terminal.
func (b *Board) room() space {
	if f, ok := b.options.Out.(*os.File); ok {
		if _, height, err := term.GetSize(int(f.Fd())); err == nil && height > 0 {
			return spaceOf(height)
		}
	}
	return spaceOf(usual)
}

// spaceOf is the space in a height, whose last line is the cursor's. One line is left
// free where there are enough; there is always a job to be seen.
func spaceOf(height int) space {
	s := space{jobs: max(1, height-3), more: height >= 4, bar: height >= 3}
	if height > 6 {
		s.jobs--
	}
	return s
}

func (b *Board) erase() {
	if b.lines > 0 {
		fmt.Fprintf(b.options.Out, "\x1b[%dA\x1b[J", b.lines)
		b.lines = 0
	}
}

// draw shows the jobs that fit, those that run first, and the bar.
func (b *Board) draw(room space) {
	if len(b.jobs) == 0 {
		return
	}
	jobs, hidden := b.jobs, 0
	if len(jobs) > room.jobs {
		hidden = len(jobs) - room.jobs
		jobs = first(jobs)[:room.jobs]
	}
	var text strings.Builder
	for _, j := range jobs {
		sign, word, paint := face(j)
		fmt.Fprintf(&text, "%s  %-11s %8s  %s", b.paint(paint, sign), word, j.elapsed(), cut(j.name(), maxName))
		if j.Result == nil && j.last != "" {
			text.WriteString(b.paint(Grey, "  "+cut(j.last, maxLine)))
		}
		text.WriteByte('\n')
	}
	if hidden > 0 && room.more {
		fmt.Fprintf(&text, "   and %d more\n", hidden)
	}
	if room.bar {
		text.WriteString(b.bar())
	}
	b.erase()
	fmt.Fprint(b.options.Out, wrapOff+text.String()+wrapOn)
	b.lines = strings.Count(text.String(), "\n")
}

// bar shows how many of the jobs have ended, and since when they run.
func (b *Board) bar() string {
	failed, running, ended := 0, 0, b.ended()
	for _, j := range b.jobs {
		switch {
		case j.Result == nil && j.State != flow.Queued:
			running++
		case j.failed():
			failed++
		}
	}
	paint := Green
	if failed > 0 {
		paint = Red
	}
	full := ended * barCells / len(b.jobs)
	text := fmt.Sprintf("%s%s  %d of %s", b.paint(paint, strings.Repeat("█", full)), b.paint(Grey, strings.Repeat("░", barCells-full)), ended, counted(len(b.jobs), "job"))
	if running > 0 {
		text += fmt.Sprintf(", %d running", running)
	}
	if failed > 0 {
		text += ", " + b.paint(Red, fmt.Sprintf("%d not passed", failed))
	}
	return text + "  " + Elapsed(time.Since(b.began)) + "\n"
}

func (j *Job) elapsed() string {
	switch {
	case j.Started.IsZero():
		return ""
	case j.Finished.IsZero():
		return Elapsed(time.Since(j.Started))
	}
	return Elapsed(j.Finished.Sub(j.Started))
}

// Elapsed is a time as people say it: 1.2s, 3m 05s, 1h 02m.
func Elapsed(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute-50*time.Millisecond:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour-500*time.Millisecond:
		d = d.Round(time.Second)
		return fmt.Sprintf("%dm %02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	d = d.Round(time.Minute)
	return fmt.Sprintf("%dh %02dm", int(d.Hours()), int(d.Minutes())%60)
}

func face(j *Job) (sign, word, paint string) {
	if j.Result == nil {
		if j.State == flow.Queued {
			return "·", "queued", Grey
		}
		return "●", string(j.State), Yellow
	}
	switch j.Result.Conclusion {
	case flow.Success:
		return "✓", "passed", Green
	case flow.Skip:
		return "-", "skipped", Grey
	}
	return "✗", string(j.Result.Conclusion), Red
}

func (b *Board) paint(code, text string) string { return Paint(b.options.Color, code, text) }

// Paint gives a text a colour if color is set.
func Paint(color bool, code, text string) string {
	if !color || code == "" || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func cut(text string, n int) string {
	if runes := []rune(text); len(runes) > n {
		return string(runes[:n-1]) + "…"
	}
	return text
}
