package localrun

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/litci/litci/cmd/litci/internal/board"
	"github.com/litci/litci/pkg/flow"
)

// Print shows the report to people: why each job that began did not pass, with what
// of its log matters, then a table of all jobs.
func (r *Report) Print(out io.Writer, color bool) error {
	var text bytes.Buffer // which takes everything; only out can fail
	for _, job := range r.Jobs {
		if job.failed() && job.begun() {
			job.printReason(&text, color)
		}
	}
	if len(r.Jobs) > 0 {
		r.printTable(&text, color)
	}
	fmt.Fprintln(&text, r.summary())
	if _, err := text.WriteTo(out); err != nil {
		return fmt.Errorf("output: %w", err)
	}
	return nil
}

// begun tells a job that was started from one that the run's end came before.
func (j *Job) begun() bool { return !j.StartedAt.IsZero() || j.Cause != flow.CauseStopped }

// failed tells a job whose log is worth a look.
func (j *Job) failed() bool { return j.Conclusion != flow.Success && j.Conclusion != flow.Skip }

func (j *Job) printReason(out io.Writer, color bool) {
	reason := cmp.Or(j.Message, string(j.Cause), string(j.Conclusion))
	fmt.Fprintf(out, "%s\n\n", board.Paint(color, board.Bold, j.Check+": "+reason))
	if len(j.Window) == 0 {
		return // it wrote nothing, or was never started
	}
	for i, text := range j.Window {
		number := ""
		if j.WindowLine > 0 {
			number = fmt.Sprintf("%5d", j.WindowLine+i)
		}
		text = strings.TrimRight(fmt.Sprintf("%5s | %s", number, text), " ")
		if j.FirstError != "" && strings.Contains(text, j.FirstError) {
			text = board.Paint(color, board.Red, text)
		}
		fmt.Fprintln(out, text)
	}
	if j.LogFile != "" {
		fmt.Fprintf(out, "\nThe whole log: %s\n", j.LogFile)
	}
	fmt.Fprintln(out)
}

func (r *Report) printTable(out io.Writer, color bool) {
	width := len("Job")
	for _, job := range r.Jobs {
		width = max(width, utf8.RuneCountInString(job.Check))
	}
	for _, s := range r.Skipped {
		width = max(width, utf8.RuneCountInString(s.Check))
	}
	row := func(name, result, paint, took string) {
		pad := strings.Repeat(" ", width-utf8.RuneCountInString(name))
		fmt.Fprintf(out, "%s%s  %s  %8s\n", name, pad, board.Paint(color, paint, fmt.Sprintf("%-9s", result)), took)
	}
	row("Job", "Result", "", "Time")
	for _, job := range r.Jobs {
		took := "-"
		if !job.StartedAt.IsZero() {
			took = board.Elapsed(time.Duration(job.Duration * float64(time.Second)))
		}
		result, paint := job.result()
		row(job.Check, result, paint, took)
	}
	for _, s := range r.Skipped {
		row(s.Check, "skipped", board.Grey, "-")
	}
	fmt.Fprintln(out)
}

func (j *Job) result() (word, paint string) {
	switch j.Conclusion {
	case flow.Success:
		return "passed", board.Green
	case flow.Cancelled:
		if !j.begun() {
			return "not run", board.Grey
		}
		word = "stopped"
	case flow.Failure:
		word = "failed"
	case flow.TimedOut:
		word = "timed out"
	default:
		word = string(j.Conclusion)
	}
	if j.Optional {
		return word + " (may)", board.Yellow
	}
	return word, board.Red
}

// summary is the run in one sentence.
func (r *Report) summary() string {
	if len(r.Jobs) == 0 {
		if r.Conclusion == flow.Failure {
			return "Nothing was run: the workflow files have errors."
		}
		return "Nothing to run:\n  " + strings.Join(r.Reasons, "\n  ")
	}
	counts := map[string]int{}
	var words []string
	for _, job := range r.Jobs {
		word, _ := job.result()
		if counts[word]++; counts[word] == 1 {
			words = append(words, word)
		}
	}
	for i, word := range words {
		words[i] = fmt.Sprintf("%d %s", counts[word], word)
	}
	text := strings.Join(words, ", ") + " in " + board.Elapsed(time.Duration(r.Duration*float64(time.Second)))
	switch {
	case r.Interrupted:
		text = "Interrupted: " + text
	case r.Conclusion == flow.Failure && !r.anyFailed():
		text += "; the workflow files have errors"
	}
	return text + "."
}

func (r *Report) anyFailed() bool {
	for _, job := range r.Jobs {
		if job.failed() && !job.Optional {
			return true
		}
	}
	return false
}
