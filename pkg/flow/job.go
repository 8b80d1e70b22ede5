package flow

import (
	"strconv"
	"strings"
	"time"
)

// Job is everything needed to run one matrix combination of one workflow.
type Job struct {
	Identity
	// Job is the id, <run>-<index>; Attempt counts from 1.
	Job     string `json:"job"`
	Index   int    `json:"index"`
	Attempt int    `json:"attempt"`
	// Check is the name of the job's check run: file / name (values).
	Check string `json:"check"`
	// File and Workflow are the workflow's file and name.
	File     string `json:"file"`
	Workflow string `json:"workflow"`
	// Params are the values of the matrix combination, in order.
	Params Params `json:"params,omitempty"`
	// HeadRef and BaseRef are branch names without refs/, for pull requests.
	HeadRef string `json:"head_ref,omitempty"`
	BaseRef string `json:"base_ref,omitempty"`
	Actor   string `json:"actor,omitempty"`
	Fork    bool   `json:"fork,omitempty"`

	Image         string `json:"image"`
	Machine       string `json:"machine"`
	Interruptible bool   `json:"interruptible,omitempty"`
	// Pool is the named pool of machines, empty for the unnamed one.
	Pool string `json:"pool,omitempty"`
	// TimeoutMinutes bounds the run, QueueTimeoutMinutes the wait for a slot (0: the
	// launcher's own default).
	TimeoutMinutes      int `json:"timeout_minutes"`
	QueueTimeoutMinutes int `json:"queue_timeout_minutes,omitempty"`
	// Mode "debug" puts the log's tail into the check.
	Mode string            `json:"mode,omitempty"`
	Env  map[string]string `json:"env,omitempty"`
	// Script is at most 256 KiB.
	Script string `json:"script"`
	// Source is the name of the commit's archive in the object store sources.
	Source string `json:"source"`

	Options  Options   `json:"options,omitzero"`
	QueuedAt time.Time `json:"queued_at"`
	// Earlier are the attempts before this one, oldest first.
	Earlier []Earlier `json:"earlier,omitempty"`
	// ReceivedAt is when the webhook came: the start of every latency.
	ReceivedAt time.Time `json:"received_at,omitzero"`
}

// Earlier is an attempt that gave way to the next one.
type Earlier struct {
	Attempt int `json:"attempt"`
	// Rerun says that somebody asked for another attempt; without it litci itself
	// tried again because of Cause.
	Rerun bool `json:"rerun,omitempty"`
	// By is who asked, empty where nobody did.
	By         string     `json:"by,omitempty"`
	Conclusion Conclusion `json:"conclusion,omitempty"`
	Cause      Cause      `json:"cause,omitempty"`
	// Message is the attempt's one sentence for people.
	Message string `json:"message,omitempty"`
	// Log is the name of its archive in the object store logs.
	Log string    `json:"log,omitempty"`
	At  time.Time `json:"at"`
}

// Options are the keys of a workflow that steer its jobs beyond the script.
type Options struct {
	FailFast        bool     `json:"fail_fast,omitempty"`
	MaxParallel     int      `json:"max_parallel,omitempty"`
	ContinueOnError bool     `json:"continue_on_error,omitempty"`
	Needs           []string `json:"needs,omitempty"`
	// Always runs the job even when a need was skipped or failed.
	Always      bool         `json:"always,omitempty"`
	Concurrency *Concurrency `json:"concurrency,omitempty"`
	Retry       Retry        `json:"retry,omitzero"`
	// Checkout is "head" (default) or "merge".
	Checkout  string    `json:"checkout,omitempty"`
	Resources Resources `json:"resources,omitzero"`
}

// Concurrency is a group of which a limited number runs at a time.
type Concurrency struct {
	Group            string `json:"group"`
	CancelInProgress bool   `json:"cancel_in_progress,omitempty"`
	// Queue is "latest" (default) or "all".
	Queue string `json:"queue,omitempty"`
}

// Retry says what is tried again.
type Retry struct {
	// Infra is the number of retries after infrastructure failures; nil is the default.
	Infra *int `json:"infra,omitempty"`
	// OnExit lists exit codes of the script that are tried again, at most Limit times.
	OnExit []int `json:"on_exit,omitempty"`
	Limit  int   `json:"limit,omitempty"`
}

// Resources are what a job asks of its machine.
type Resources struct {
	CPU    string `json:"cpu,omitempty"`
	Memory string `json:"memory,omitempty"`
	GPUs   int    `json:"gpus,omitempty"`
}

// OwnVariable tells whether an environment variable of a job is litci's to set:
// workflows may set CI and everything else, but none of these names.
func OwnVariable(name string) bool {
	return name == "LITCI" || strings.HasPrefix(name, "GITHUB_") || strings.HasPrefix(name, "RUNNER_") || strings.HasPrefix(name, "LITCI_")
}

// AttemptID names this attempt.
func (j Job) AttemptID() string { return AttemptID(j.Job, j.Attempt) }

// Key is the message's id.
func (j Job) Key() string { return "start/" + j.Job + "/" + strconv.Itoa(j.Attempt) }

// Headers are the identities that go beside the payload.
func (j Job) Headers() map[string]string { return jobHeaders(j.Identity, j.Job, j.Attempt) }
