package demo

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/litci/litci/cmd/litci/internal/board"
)

// Report is what GitHub has at the end.
type Report struct {
	Run string `json:"run"`
	// Conclusion is that of the aggregate check.
	Conclusion string  `json:"conclusion"`
	Checks     []Check `json:"checks"`
	Comment    string  `json:"comment"`
	Timings    Timings `json:"timings"`
}

// Check is a check run.
type Check struct {
	Name       string `json:"name"`
	Status     string `json:"status"`
	Conclusion string `json:"conclusion"`
	DetailsURL string `json:"details_url"`
	Summary    string `json:"summary"`
}

// Timings are in milliseconds.
type Timings struct {
	// WebhookTo202 is how long the webhook took to be stored and answered.
	WebhookTo202 float64 `json:"webhook_to_202_ms"`
	// WebhookToStarted ends when the first job was started; 0 when none was.
	WebhookToStarted float64 `json:"webhook_to_started_ms"`
	// FinishedToReported is the longest time between a job's end and its check's.
	FinishedToReported float64 `json:"finished_to_reported_ms"`
}

// aggregate is the name of the check that speaks for all.
const aggregate = "litci"

func (d *Demo) report(show *board.Board, completed map[string]time.Time, sent time.Time, answered time.Duration) (Report, error) {
	state := d.github.State()
	r := Report{Run: show.Run(), Checks: []Check{}, Timings: Timings{WebhookTo202: ms(answered)}}
	for _, run := range state.CheckRuns {
		c := Check{Name: run.Name, Status: run.Status, DetailsURL: run.DetailsURL, Conclusion: text(run.Conclusion), Summary: text(run.Output.Summary)}
		r.Checks = append(r.Checks, c)
		if run.Name == aggregate {
			r.Conclusion = c.Conclusion
		}
	}
	for _, c := range state.Comments {
		r.Comment = c.Body
	}
	for _, job := range show.Jobs() {
		if !job.Started.IsZero() {
			started := ms(job.Started.Sub(sent))
			if r.Timings.WebhookToStarted == 0 || started < r.Timings.WebhookToStarted {
				r.Timings.WebhookToStarted = started
			}
		}
		if at, seen := completed[job.Check]; seen && !job.Finished.IsZero() {
			r.Timings.FinishedToReported = max(r.Timings.FinishedToReported, ms(at.Sub(job.Finished)))
		}
	}
	if len(r.Checks) == 0 {
		if over := show.Over(); over != nil {
			return r, fmt.Errorf("nothing was reported: %s", over.Message)
		}
		return r, fmt.Errorf("nothing was reported")
	}
	return r, nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// Print shows the report to people.
func (r Report) Print(out io.Writer) {
	width := 0
	for _, c := range r.Checks {
		width = max(width, utf8.RuneCountInString(c.Name))
	}
	fmt.Fprintf(out, "\nCheck runs on the pull request\n\n")
	for _, c := range r.Checks {
		pad := strings.Repeat(" ", width-utf8.RuneCountInString(c.Name))
		fmt.Fprintf(out, "  %s%s  %s\n", c.Name, pad, c.Conclusion)
	}
	fmt.Fprintf(out, "\nComment on the pull request\n\n")
	for line := range strings.Lines(strings.TrimRight(r.Comment, "\n") + "\n") {
		if strings.HasPrefix(line, "<!--") {
			continue
		}
		fmt.Fprint(out, strings.TrimRight("  "+line, " "))
	}
	fmt.Fprintf(out, "\nConclusion: %s; webhook answered in %.0f ms", r.Conclusion, r.Timings.WebhookTo202)
	if r.Timings.WebhookToStarted > 0 {
		fmt.Fprintf(out, ", first job started after %.0f ms, verdicts on GitHub %.0f ms after the end", r.Timings.WebhookToStarted, r.Timings.FinishedToReported)
	}
	fmt.Fprintln(out)
}

// Page is the address of the run's report page.
func (r Report) Page() string {
	for _, c := range r.Checks {
		if c.Name == aggregate {
			return c.DetailsURL
		}
	}
	return ""
}
