package workflow

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"strings"

	"github.com/litci/litci/pkg/flow"
)

const (
	// maxCheck is the length of a check's name in characters.
	maxCheck = 100
	// maxValue is the size of a matrix value as text, in bytes.
	maxValue = 4 << 10
	// pushSuffix tells the checks of a push from those of a pull request on the same commit.
	pushSuffix = " [push]"
)

// Job is one matrix combination of a workflow, with what it overrides.
type Job struct {
	Params flow.Params
	// Check is the name of the job's check run: "ci.yml / tests (3.11, CPU)".
	Check string

	Image, Machine                      string
	Interruptible                       bool
	TimeoutMinutes, QueueTimeoutMinutes int
	Mode, Pool                          string
	// Env is the workflow's env with the parameters, whose names are made safe.
	Env     map[string]string
	Options flow.Options
}

// Jobs are the workflow's jobs in the order of the matrix; none when the matrix
// came out empty. It does not ask whether e triggers the workflow.
func (w Workflow) Jobs(e Event) []Job {
	jobs := make([]Job, 0, len(w.combinations))
	quiet := &reader{} // Load has refused what it could report
	for _, c := range w.combinations {
		job := Job{
			Params: c.flow(), Image: w.Image, Machine: w.Machine, Interruptible: w.Interruptible,
			TimeoutMinutes: w.TimeoutMinutes, QueueTimeoutMinutes: w.QueueTimeoutMinutes,
			Mode: w.Mode, Pool: w.Pool, Options: w.Options,
			Env: make(map[string]string, len(w.Env)+len(c.params)),
		}
		maps.Copy(job.Env, w.Env)
		for i, p := range c.params {
			job.Env[EnvName(p.name)] = job.Params[i].Text()
			quiet.override(p, &job)
		}
		job.Check = w.check(e, valuesOf(job.Params[:c.named]))
		jobs = append(jobs, job)
	}
	return jobs
}

// Check is the name of the workflow's one check when it does not run.
func (w Workflow) Check(e Event) string { return w.check(e, "") }

// check names a check run, cut to GitHub's columns: where it is cut, a hash of
// the whole keeps it apart from others.
func (w Workflow) check(e Event, values string) string {
	name := w.File + " / " + w.Name
	if values != "" {
		name += " (" + values + ")"
	}
	suffix := ""
	if pull, ok := w.trigger(EventPullRequest); ok && !pull.Off && e.Kind == EventPush {
		suffix = pushSuffix
	}
	runes := []rune(name)
	if room := maxCheck - len(suffix); len(runes) > room {
		sum := sha256.Sum256([]byte(name))
		hash := "…" + hex.EncodeToString(sum[:4])
		name = string(runes[:room-len([]rune(hash))]) + hash
	}
	return name + suffix
}

// valuesOf joins parameters' values as names show them.
func valuesOf(params flow.Params) string {
	texts := make([]string, len(params))
	for i, p := range params {
		texts[i] = cleanName(p.Text())
	}
	return strings.Join(texts, ", ")
}

// text is a parameter's value as the environment shows it.
func (c combination) text(p param) string {
	return flow.Param{Name: p.name, Value: p.value.value()}.Text()
}

// override sets the key of a job that a parameter names, as in the original bot.
func (r *reader) override(p param, job *Job) {
	n := p.value
	switch p.name {
	case "image":
		job.Image = r.nameText(n, p.name)
	case "machine":
		job.Machine = r.nameText(n, p.name)
	case "interruptible":
		job.Interruptible, _ = r.boolean(n, p.name)
	case "timeout":
		job.TimeoutMinutes, _ = r.integer(n, p.name, " of minutes", 1, maxMinutes)
	case "queue_timeout":
		job.QueueTimeoutMinutes, _ = r.integer(n, p.name, " of minutes", 1, maxMinutes)
	case "mode":
		job.Mode, _ = r.word(n, p.name, "info", "debug")
	case "pool":
		job.Pool = r.pool(n)
	case "continue_on_error":
		job.Options.ContinueOnError, _ = r.boolean(n, p.name)
	}
}
