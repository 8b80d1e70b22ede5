package flow

import "time"

// Plan is the marker of a run: the whole of what one delivery asks for. It is
// stored in one batch with its jobs, all or none, so nobody can see one workflow
// green before the next is planned.
type Plan struct {
	Identity
	PlannedAt time.Time `json:"planned_at"`
	HeadRef   string    `json:"head_ref,omitempty"`
	BaseRef   string    `json:"base_ref,omitempty"`
	Actor     string    `json:"actor,omitempty"`
	// Jobs are the run's jobs by index.
	Jobs []PlannedJob `json:"jobs"`
	Outcome
}

// PlannedJob is a job as the plan lists it.
type PlannedJob struct {
	Job   string `json:"job"`
	Check string `json:"check"`
	File  string `json:"file"`
	// Workflow names the workflow among those of the commit, as needs does: the file,
	// or the name where one file holds several.
	Workflow string `json:"workflow,omitempty"`
	// Optional jobs may fail without turning the verdict red.
	Optional bool   `json:"optional,omitempty"`
	Pool     string `json:"pool,omitempty"`
}

// Outcome is what planning found beside jobs.
type Outcome struct {
	// Skipped are the workflows that listen to the event and were excluded by a filter.
	Skipped []Skipped `json:"skipped,omitempty"`
	// Problems are the errors and warnings of the workflow files.
	Problems []Problem `json:"problems,omitempty"`
	// Notices are one sentence each, for people.
	Notices []string `json:"notices,omitempty"`
}

// Skipped is a workflow that did not run, and why.
type Skipped struct {
	Check  string `json:"check"`
	Reason string `json:"reason"`
}

// Problem is something wrong in a workflow file.
type Problem struct {
	File string `json:"file"`
	// Line and Column count from 1; 0 means the whole file.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Severity is "error" or "warning".
	Severity string `json:"severity"`
	Message  string `json:"message"`
}

// Key is the marker's id: one plan per run.
func (p Plan) Key() string { return "plan/" + p.Run }
