package flow

import (
	"strconv"
	"time"
)

// Conclusion is a verdict, in GitHub's words.
type Conclusion string

// The verdicts that litci gives. Never neutral: a required check takes neutral
// for passed, and "we do not know" is no pass.
const (
	Success        Conclusion = "success"
	Failure        Conclusion = "failure"
	Cancelled      Conclusion = "cancelled"
	Skip           Conclusion = "skipped"
	TimedOut       Conclusion = "timed_out"
	ActionRequired Conclusion = "action_required"
)

// Cause is why a result is what it is.
type Cause string

// The causes of a job's result.
const (
	CauseExit           Cause = "exit"           // the script ended by itself
	CauseDeadline       Cause = "deadline"       // over the workflow's timeout
	CauseStopped        Cause = "stopped"        // somebody asked for its end
	CauseMemory         Cause = "out_of_memory"  // ended by the memory limit
	CausePreempted      Cause = "preempted"      // the provider took the machine back
	CauseInfrastructure Cause = "infrastructure" // the machine's fault, or nobody knows
	CauseNoCapacity     Cause = "no_capacity"    // no slot before the queue deadline
	CauseRefused        Cause = "refused"        // cannot be started as asked
	CauseNeeds          Cause = "needs"          // what it needs failed or was skipped
	CauseGivenUp        Cause = "given_up"       // a service gave its message up as a dead letter
)

// The causes of a plan that ended without a job.
const (
	CauseNoWorkflows  Cause = "no_workflows"  // the commit has no workflow files: nothing is posted
	CauseNotTriggered Cause = "not_triggered" // no workflow wants this event
	CauseConfig       Cause = "config"        // the workflow files do not parse
	CauseGate         Cause = "gate"          // needs approval; CauseGivenUp counts here too
)

// Result says that a job ended, or that a plan ended without one. A red build
// is a result and not an error; so is a configuration that does not parse.
type Result struct {
	Identity
	// Job is empty when a plan ended without a job.
	Job        string     `json:"job,omitempty"`
	Index      int        `json:"index,omitempty"`
	Attempt    int        `json:"attempt,omitempty"`
	Check      string     `json:"check,omitempty"`
	Conclusion Conclusion `json:"conclusion"`
	Cause      Cause      `json:"cause"`
	// Message is one sentence for people, in the present or past tense.
	Message string `json:"message,omitempty"`
	// ExitCode is the script's; nil where there was none.
	ExitCode   *int      `json:"exit_code,omitempty"`
	StartedAt  time.Time `json:"started_at,omitzero"`
	FinishedAt time.Time `json:"finished_at"`
	// FirstError is the log's first line that looks like an error.
	FirstError string `json:"first_error,omitempty"`
	// Window are the lines around the first error, Tail the log's last lines; masked,
	// without control sequences. WindowLine is the number of the window's first line.
	Window     []string `json:"window,omitempty"`
	WindowLine int      `json:"window_line,omitempty"`
	Tail       []string `json:"tail,omitempty"`
	// Log is the name of the archive in the object store logs.
	Log      string `json:"log,omitempty"`
	LogBytes int64  `json:"log_bytes,omitempty"`
	// LogDropped is the number of bytes that the archive leaves out in the middle.
	LogDropped int64    `json:"log_dropped,omitempty"`
	Mode       string   `json:"mode,omitempty"`
	Notes      []string `json:"notes,omitempty"`
	// HeadRef and BaseRef stand here for plans without a job.
	HeadRef string `json:"head_ref,omitempty"`
	BaseRef string `json:"base_ref,omitempty"`
	Outcome
}

// Key is the message's id: one result per attempt, one per plan without a job.
func (r Result) Key() string {
	if r.Job == "" {
		return "result/" + r.Run
	}
	return "result/" + r.Job + "/" + strconv.Itoa(r.Attempt)
}

// Headers are the identities that go beside the payload.
func (r Result) Headers() map[string]string {
	h := r.Identity.Headers()
	if r.Job != "" {
		h = jobHeaders(r.Identity, r.Job, r.Attempt)
	}
	h["Litci-Conclusion"] = string(r.Conclusion)
	return h
}

// ResultOf begins the Result of a job.
func ResultOf(j Job, conclusion Conclusion, cause Cause, message string, at time.Time) Result {
	return Result{
		Identity: j.Identity, Job: j.Job, Index: j.Index, Attempt: j.Attempt, Check: j.Check,
		Conclusion: conclusion, Cause: cause, Message: message, FinishedAt: at, Mode: j.Mode,
	}
}
