package flow

import (
	"encoding/json"
	"strconv"
	"time"
)

// State is how far an attempt is. A state only moves up in rank.
type State string

// The states of an attempt in rank order.
const (
	Queued   State = "queued"   // waits for a slot
	Starting State = "starting" // is being started
	Started  State = "started"  // has a handle
	Running  State = "running"  // its script runs
	Ended    State = "ended"    // has a conclusion
)

// Rank orders states; a message of a lower rank than what is known is old news.
func (s State) Rank() int {
	switch s {
	case Queued:
		return 1
	case Starting:
		return 2
	case Started:
		return 3
	case Running:
		return 4
	case Ended:
		return 5
	}
	return 0
}

// Status says that an attempt changed state. A started status carries a handle
// from which any watcher takes the job up again.
type Status struct {
	Identity
	Job     string    `json:"job"`
	Index   int       `json:"index"`
	Attempt int       `json:"attempt"`
	Check   string    `json:"check"`
	State   State     `json:"state"`
	At      time.Time `json:"at"`
	// Message says more, for people: "waits for a free slot", "pulling image".
	Message string `json:"message,omitempty"`
	// Handle finds the job at its executor (executor.Handle); set when State is started.
	Handle json.RawMessage `json:"handle,omitempty"`
	// Pool is where the job runs.
	Pool           string `json:"pool,omitempty"`
	TimeoutMinutes int    `json:"timeout_minutes,omitempty"`
	Mode           string `json:"mode,omitempty"`
	// Notes are one sentence each, for the check: "image is ignored here".
	Notes []string `json:"notes,omitempty"`
}

// StatusOf begins a Status for a job.
func StatusOf(j Job, state State, at time.Time) Status {
	return Status{
		Identity: j.Identity, Job: j.Job, Index: j.Index, Attempt: j.Attempt, Check: j.Check, State: state, At: at,
		Pool: j.Pool, TimeoutMinutes: j.TimeoutMinutes, Mode: j.Mode,
	}
}

// Key is the message's id: one message per state of an attempt. Before it has
// started, an attempt may wait for one thing after another: each is a message.
func (s Status) Key() string {
	key := "status/" + s.Job + "/" + strconv.Itoa(s.Attempt) + "/" + string(s.State)
	if s.State.Rank() < Started.Rank() {
		key += "/" + strconv.FormatInt(s.At.UnixNano(), 10)
	}
	return key
}

// Headers are the identities that go beside the payload.
func (s Status) Headers() map[string]string {
	h := jobHeaders(s.Identity, s.Job, s.Attempt)
	h["Litci-State"] = string(s.State)
	return h
}
