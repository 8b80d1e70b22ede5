package localrun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/litci/litci/cmd/litci/internal/board"
	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
)

// Report is how a run ended; its JSON is a public interface.
type Report struct {
	// Conclusion is success, failure, cancelled when the run was interrupted, or skipped
	// when there was nothing to run.
	Conclusion  flow.Conclusion `json:"conclusion"`
	Interrupted bool            `json:"interrupted,omitempty"`
	// Duration is in seconds, as all durations.
	Duration float64        `json:"duration"`
	Jobs     []Job          `json:"jobs"`
	Skipped  []flow.Skipped `json:"skipped"`
	Problems []flow.Problem `json:"problems"`
	Notices  []string       `json:"notices"`
	// Reasons say why there was nothing to run.
	Reasons []string `json:"reasons,omitempty"`
}

// Job is how a job ended.
type Job struct {
	// Check is the name of the job's check on GitHub.
	Check    string      `json:"check"`
	File     string      `json:"file"`
	Workflow string      `json:"workflow"`
	Params   flow.Params `json:"params"`
	// Optional says that the job's failure is not the run's.
	Optional   bool            `json:"optional,omitempty"`
	Conclusion flow.Conclusion `json:"conclusion"`
	Cause      flow.Cause      `json:"cause"`
	Message    string          `json:"message,omitempty"`
	// ExitCode is the script's; null where there was none.
	ExitCode  *int      `json:"exit_code"`
	StartedAt time.Time `json:"started_at,omitzero"`
	Duration  float64   `json:"duration"`
	// Window are the lines around the first error, or the last ones; WindowLine is the
	// first's number in the log, 0 where it is not known.
	FirstError string   `json:"first_error,omitempty"`
	Window     []string `json:"window,omitempty"`
	WindowLine int      `json:"window_line,omitempty"`
	// Log is the log's text, its end alone where LogBytes is more; LogFile holds the
	// whole of it.
	Log      string   `json:"log"`
	LogBytes int64    `json:"log_bytes"`
	LogFile  string   `json:"log_file,omitempty"`
	Notes    []string `json:"notes,omitempty"`

	id  string
	log string // its name in the object store
}

const (
	// maxLog is how much of a log the report holds, in bytes.
	maxLog = 64 << 10
	// lastLines is how much of a log is shown where no line looks like an error.
	lastLines = 30
)

// newReport lists the jobs as not begun.
func newReport(planned flow.Plan, jobs []flow.Job, why []string) *Report {
	r := &Report{
		Reasons: why,
		Jobs:    []Job{}, Skipped: append([]flow.Skipped{}, planned.Skipped...),
		Problems: append([]flow.Problem{}, planned.Problems...), Notices: append([]string{}, planned.Notices...),
	}
	for _, job := range jobs {
		r.Jobs = append(r.Jobs, Job{
			id: job.Job, Check: job.Check, File: job.File, Workflow: job.Workflow, Params: job.Params, Optional: job.Options.ContinueOnError,
			Conclusion: flow.Cancelled, Cause: flow.CauseStopped, Message: "not begun",
		})
	}
	return r
}

// take fills in how the jobs ended.
func (r *Report) take(ended []board.Job) {
	for i := range r.Jobs {
		job := &r.Jobs[i]
		at := slices.IndexFunc(ended, func(e board.Job) bool { return e.ID == job.id })
		if at < 0 {
			continue
		}
		res := ended[at].Result
		if res == nil {
			if ended[at].State != flow.Queued {
				job.Message, job.StartedAt = "stopped", ended[at].Started
			}
			continue
		}
		job.Conclusion, job.Cause, job.Message, job.ExitCode = res.Conclusion, res.Cause, res.Message, res.ExitCode
		job.StartedAt, job.Notes, job.log, job.LogBytes = res.StartedAt, res.Notes, res.Log, res.LogBytes
		if !res.StartedAt.IsZero() {
			job.Duration = seconds(res.FinishedAt.Sub(res.StartedAt))
		}
		job.FirstError, job.Window, job.WindowLine = res.FirstError, res.Window, res.WindowLine
		if len(job.Window) == 0 && res.Conclusion != flow.Success {
			job.Window = res.Tail[max(0, len(res.Tail)-lastLines):]
		}
	}
}

// finish draws the conclusion.
func (r *Report) finish(took time.Duration) {
	r.Duration = seconds(took)
	broken := slices.ContainsFunc(r.Problems, func(p flow.Problem) bool { return p.Severity == "error" })
	failed := slices.ContainsFunc(r.Jobs, func(j Job) bool { return j.Conclusion != flow.Success && !j.Optional })
	switch {
	case r.Interrupted:
		r.Conclusion = flow.Cancelled
	case broken || failed:
		r.Conclusion = flow.Failure
	case len(r.Jobs) == 0:
		r.Conclusion = flow.Skip
	default:
		r.Conclusion = flow.Success
	}
}

// Passed tells whether nothing failed and nothing was interrupted.
func (r *Report) Passed() bool { return r.Conclusion == flow.Success || r.Conclusion == flow.Skip }

func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }

// prepareLogDir makes the folder for logs and tries it: whoever asked for logs is not
// told after an hour of work that there is no place for them.
func prepareLogDir(dir string) error {
	if dir == "" {
		return nil
	}
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		var trial *os.File
		if trial, err = os.CreateTemp(dir, ".litci-"); err == nil {
			err = errors.Join(trial.Close(), os.Remove(trial.Name()))
		}
	}
	if err != nil {
		return useErrorf("--log-dir: %w", err)
	}
	return nil
}

// readLogs takes the jobs' logs from where the watcher stored them.
func (r *Report) readLogs(ctx context.Context, logs *bus.Objects, dir string) error {
	for i := range r.Jobs {
		if err := r.Jobs[i].readLog(ctx, logs, dir, i); err != nil {
			return fmt.Errorf("log of %s: %w", r.Jobs[i].Check, err)
		}
	}
	return nil
}

func (j *Job) readLog(ctx context.Context, logs *bus.Objects, dir string, index int) error {
	if j.log == "" {
		return nil
	}
	log, err := logs.Get(ctx, j.log)
	if err != nil {
		return err
	}
	defer log.Close()
	end := &ending{}
	if dir == "" {
		_, err = io.Copy(end, log)
	} else {
		j.LogFile = filepath.Join(dir, fmt.Sprintf("%02d-%s.log", index, fileName(j.Check)))
		err = save(j.LogFile, io.TeeReader(log, end))
	}
	j.Log = end.text()
	return err
}

func save(name string, text io.Reader) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, text)
	return errors.Join(err, file.Close())
}

// fileName is a check's name as that of a file.
func fileName(check string) string {
	name := strings.Map(func(r rune) rune {
		if strings.ContainsRune("-_.", r) || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '-'
	}, check)
	for strings.Contains(name, "--") {
		name = strings.ReplaceAll(name, "--", "-")
	}
	return strings.Trim(name, "-.")
}

// ending keeps the end of what is written to it.
type ending struct {
	kept []byte
	cut  bool
}

func (e *ending) Write(p []byte) (int, error) {
	e.kept = append(e.kept, p...)
	if more := len(e.kept) - maxLog; more > 0 {
		e.kept, e.cut = append(e.kept[:0], e.kept[more:]...), true
	}
	return len(p), nil
}

// text is what was kept, from the first whole line.
func (e *ending) text() string {
	text := string(e.kept)
	if !e.cut {
		return text
	}
	if _, rest, ok := strings.Cut(text, "\n"); ok {
		return rest
	}
	for len(text) > 0 && !utf8.RuneStart(text[0]) {
		text = text[1:]
	}
	return text
}
