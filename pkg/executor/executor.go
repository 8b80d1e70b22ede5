// Package executor is the seam between litci and the places where jobs run.
//
// An Executor starts a job, tells how it is, hands out its log, stops it and
// forgets it. The seam belongs to this package because four implementations
// stand behind it (local, docker, kubernetes, lightning); executortest is the
// suite that all of them pass.
//
// The order of calls is Start, then any number of Observe, Logs and Stop, then
// Remove. Every method may be called again after a crash, by another process,
// and from several goroutines at once.
package executor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Executor runs jobs somewhere.
type Executor interface {
	// Name is the executor's kind as handles and logs carry it: "local", "docker".
	Name() string

	// Start begins the job, or adopts what an earlier Start with the same
	// Spec.ID began: the same id gives the same Handle and never a second run.
	// It returns ErrConflict when the id is taken by another Spec.Hash, a
	// StartError when no retry can help, and any other error when the same call
	// may succeed later.
	Start(ctx context.Context, job Spec) (Handle, error)

	// Observe tells the job's present state. A job that the executor does not
	// know is Absent, which is a state and not an error.
	Observe(ctx context.Context, h Handle) (State, error)

	// Logs reads the job's log, stdout and stderr together, from a byte offset to
	// what is there now; it does not wait for more. A reader ends where a part was
	// dropped; from inside that part Logs returns a GapError that names where the log
	// goes on.
	Logs(ctx context.Context, h Handle, from int64) (io.ReadCloser, error)

	// Stop asks the job to end, and ends its whole process tree when grace is over.
	// It returns once the request is recorded; Observe tells when the job is gone.
	// The job's final state has ReasonStopped. Stopping an ended job does nothing.
	Stop(ctx context.Context, h Handle, grace time.Duration) error

	// Remove forgets an ended job and frees what it holds. It refuses a running
	// one. Removing what is not there is not an error.
	Remove(ctx context.Context, h Handle) error
}

// Lister is an executor that can tell which jobs it has. A launcher counts the
// slots in use by what is there and not by what it remembers.
type Lister interface {
	// List returns the handles of the jobs that were not removed, running and ended,
	// in no order.
	List(ctx context.Context) ([]Handle, error)
}

// Collector is an executor whose ended jobs leave something behind after Remove.
type Collector interface {
	// Collect deletes what is left of jobs that ended before a time, and returns how
	// many there were. The time must be longer ago than any message that starts a job
	// can live.
	Collect(ctx context.Context, before time.Time) (int, error)
}

// Checker is an executor that can tell whether it would take a job: that its service
// answers and accepts the credentials.
type Checker interface {
	// Check's error says, in one line, what an operator can do about it.
	Check(ctx context.Context) error
}

// Teller is an executor whose Start may take long.
type Teller interface {
	// Starting says what the Start of a job is doing that runs in this process now:
	// "pulling image debian:12: 45 %". Empty is nothing to tell.
	Starting(id string) string
}

// Tidier is an executor on which something may be left that costs while it is there.
type Tidier interface {
	// Tidy removes it, and returns how much it removed. It never touches a job that was
	// asked for.
	Tidy(ctx context.Context) (int, error)
}

// Placed is an executor that knows the jobs of one place alone: a folder of one
// machine. Launchers of two places must not share a pool, or a job whose message is
// delivered again could run in both.
type Placed interface {
	// Place names the machine and the folder. Executors of the same place see the same
	// jobs. A Checker knows its place once a Check went well.
	Place() (host, folder string)
}

// Spec is everything that an executor needs to run one attempt of a job.
type Spec struct {
	// ID names the attempt outside litci: "litci-" and the attempt's id, lower case
	// letters, digits and dashes, at most 63 bytes.
	ID string
	// Hash identifies the content; an existing job of the same ID with another
	// Hash is refused.
	Hash string
	// Script is run by bash -eo pipefail from a file.
	Script []byte
	// Env is the whole environment that the workflow asks for; an executor adds only
	// what the place needs (PATH, HOME, workspace and temporary directory).
	Env map[string]string
	// Source opens the gzip-compressed tar of the commit, whose single top folder
	// is stripped. It is called only when the job is really to be started. Nil means
	// an empty workspace.
	Source func(ctx context.Context) (io.ReadCloser, error)
	// SourceName is the archive's name in the store that Source reads, for executors
	// whose machines fetch it by a link.
	SourceName string
	// Image is the container image, for executors that have images.
	Image string
	// Machine is the kind of machine, for executors that have several.
	Machine string
	// Resources are what the job asks of the machine, for executors that can give them.
	Resources Resources
	// Interruptible allows a machine that its provider may take back.
	Interruptible bool
	// Timeout bounds the run from the script's start; it holds with every service
	// of litci down. Zero means no bound.
	Timeout time.Duration
	// Grace is the time between TERM and KILL when the job times out.
	Grace time.Duration
	// Fork says that the code comes from a fork.
	Fork bool
}

// Handle finds a started job again. It is data: any process that can reach
// the executor takes the job up with it.
type Handle struct {
	// Executor is the Name of the executor that made the handle.
	Executor string `json:"executor"`
	// ID is the Spec's ID.
	ID string `json:"id"`
	// Host is the machine, for executors bound to one.
	Host string `json:"host,omitempty"`
	// Ref is the executor's own name for the job (a container id, a uid).
	Ref string `json:"ref,omitempty"`
	// URL is a page about the job at the executor, if it has one.
	URL string `json:"url,omitempty"`
}

// Phase is how far a job is.
type Phase string

// The phases, in the order in which a job passes them.
const (
	// Absent means that the executor knows no such job. After a Start that was
	// recorded it means the job is lost, never that it may be started again.
	Absent Phase = "absent"
	// Pending means created, but its script has not begun.
	Pending Phase = "pending"
	// Running means that the script has begun.
	Running Phase = "running"
	// Ended is final.
	Ended Phase = "ended"
)

// Reason is why a job ended.
type Reason string

// The reasons of ended jobs.
const (
	// ReasonExit: the script ended by itself; ExitCode is its own.
	ReasonExit Reason = "exit"
	// ReasonTimeout: Spec.Timeout was over.
	ReasonTimeout Reason = "timeout"
	// ReasonStopped: Stop was called.
	ReasonStopped Reason = "stopped"
	// ReasonMemory: the memory limit ended it.
	ReasonMemory Reason = "out of memory"
	// ReasonPreempted: the provider took the machine back.
	ReasonPreempted Reason = "preempted"
	// ReasonLost: it was started, and how it ended cannot be known any more.
	ReasonLost Reason = "lost"
	// ReasonInfrastructure: the executor could not run it (image, node, disk).
	ReasonInfrastructure Reason = "infrastructure"
)

// State is a job as Observe sees it.
type State struct {
	Phase Phase `json:"phase"`
	// Reason is set when Phase is Ended.
	Reason Reason `json:"reason,omitempty"`
	// ExitCode is the script's exit status; nil where there is none to know.
	ExitCode *int `json:"exit_code,omitempty"`
	// Message says more, for people: "pulling image", "no space left on device".
	Message string `json:"message,omitempty"`
	// Image is the image that the job runs in by its digest, where the executor knows it.
	Image string `json:"image,omitempty"`
	// StartedAt is when the script began, FinishedAt when it ended; UTC.
	StartedAt  time.Time `json:"started_at,omitzero"`
	FinishedAt time.Time `json:"finished_at,omitzero"`
	// LogSize is the number of bytes that the job has written so far, dropped ones
	// included.
	LogSize int64 `json:"log_size,omitempty"`
}

// ErrConflict says that the id is in use for a different Spec.
var ErrConflict = errors.New("job id is in use for a different job")

// ErrRunning says that the job has not ended.
var ErrRunning = errors.New("job is running")

// StartError is a Start that no retry can help: a bad image, a refused fork.
type StartError struct {
	// Message is for the people who wrote the workflow.
	Message string
	Err     error
}

// Error gives the message and its cause.
func (e *StartError) Error() string {
	if e.Err == nil {
		return e.Message
	}
	return e.Message + ": " + e.Err.Error()
}

// Unwrap gives the cause.
func (e *StartError) Unwrap() error { return e.Err }

// FaultError is a Start that failed although nothing is known to be wrong with the
// job: a retry may help.
type FaultError struct {
	// Message is for the people who wait: "no Docker engine answers".
	Message string
	Err     error
}

// Error gives the message and its cause.
func (e *FaultError) Error() string { return e.Message + ": " + e.Err.Error() }

// Unwrap gives the cause.
func (e *FaultError) Unwrap() error { return e.Err }

// GapError says that a part of a log was dropped because the log is too large.
type GapError struct {
	// Next is the offset at which the log goes on.
	Next int64
}

// Error says how much is missing up to where.
func (e *GapError) Error() string {
	return fmt.Sprintf("log was dropped up to offset %d", e.Next)
}
