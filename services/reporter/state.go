package reporter

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/litci/litci/pkg/flow"
)

// The families of keys in the bucket runs that this service owns.
//
//	run.<run>                     what planning a delivery came to          runState
//	check.<run>.<index>           how far a job is, and its verdict         jobState
//	text.<run>.<index>            the parts of its log that checks quote    jobText
//	commit.<repo>.<sha>           the runs of a commit                      runRefs
//	pull.<repo>.<n>               the runs of a pull request                runRefs
//	wait.<run>.<index>.<attempt>  by when somebody must speak of it         expected
//	post.<…>                      what GitHub has: a check run, a comment   post
func runKey(run string) string                { return "run." + run }
func jobKey(run string, index int) string     { return fmt.Sprintf("check.%s.%d", run, index) }
func jobsPattern(run string) string           { return "check." + run + ".*" }
func textKey(run string, index int) string    { return fmt.Sprintf("text.%s.%d", run, index) }
func commitKey(repo int64, sha string) string { return fmt.Sprintf("commit.%d.%s", repo, sha) }
func pullKey(repo int64, number int) string   { return fmt.Sprintf("pull.%d.%d", repo, number) }

// runState is what is known of a run as a whole: its plan, or the result that
// ended it without a job, or both.
type runState struct {
	Plan *flow.Plan   `json:"plan,omitempty"`
	End  *flow.Result `json:"end,omitempty"`
	// Page is the address of the run's page: only the reporter can sign it.
	Page string `json:"page,omitempty"`
}

func (r runState) known() bool { return r.Plan != nil || r.End != nil }

func (r runState) identity() flow.Identity {
	switch {
	case r.Plan != nil:
		return r.Plan.Identity
	case r.End != nil:
		return r.End.Identity
	}
	return flow.Identity{}
}

// at orders the runs of a commit or a pull request.
func (r runState) at() time.Time {
	switch {
	case r.Plan != nil:
		return r.Plan.PlannedAt
	case r.End != nil:
		return r.End.FinishedAt
	}
	return time.Time{}
}

func (r runState) jobs() []flow.PlannedJob {
	if r.Plan == nil {
		return nil
	}
	return r.Plan.Jobs
}

// outcome is what planning found beside jobs; the plan's word counts where both spoke.
func (r runState) outcome() flow.Outcome {
	var o flow.Outcome
	if r.End != nil {
		o = r.End.Outcome
	}
	if r.Plan != nil {
		if len(r.Plan.Skipped) > 0 {
			o.Skipped = r.Plan.Skipped
		}
		if len(r.Plan.Problems) > 0 {
			o.Problems = r.Plan.Problems
		}
		if len(r.Plan.Notices) > 0 {
			o.Notices = r.Plan.Notices
		}
	}
	return o
}

// errors are the problems that make a run fail. A run that ended by its
// configuration fails even when it names no place.
func (r runState) errors() []flow.Problem {
	var found []flow.Problem
	for _, p := range r.outcome().Problems {
		if p.Severity != "warning" {
			found = append(found, p)
		}
	}
	if len(found) == 0 && r.End != nil && r.End.Cause == flow.CauseConfig {
		found = append(found, flow.Problem{Severity: "error", Message: orElse(r.End.Message, "The workflow files cannot be read.")})
	}
	return found
}

func (r runState) warnings() []flow.Problem {
	var found []flow.Problem
	for _, p := range r.outcome().Problems {
		if p.Severity == "warning" {
			found = append(found, p)
		}
	}
	return found
}

// lost says why the run was never planned: a service gave up.
func (r runState) lost() string {
	if r.Plan != nil || r.End == nil || r.End.Cause != flow.CauseGivenUp {
		return ""
	}
	return orElse(r.End.Message, "a service gave up")
}

// gated says that the run waits for somebody's approval.
func (r runState) gated() bool { return r.End != nil && r.End.Cause == flow.CauseGate }

// silent says that nothing is posted for the run: the commit has no workflow files.
func (r runState) silent() bool {
	return r.End != nil && r.End.Cause == flow.CauseNoWorkflows && r.Plan == nil
}

// jobState is what is known of the newest attempt of a job.
type jobState struct {
	flow.Identity
	Job     string `json:"job,omitempty"`
	Index   int    `json:"index"`
	Attempt int    `json:"attempt"`
	Check   string `json:"check,omitempty"`
	// Workflow, Image, Machine and Optional are known once the job's own message came.
	Workflow string `json:"workflow,omitempty"`
	Image    string `json:"image,omitempty"`
	Machine  string `json:"machine,omitempty"`
	// Optional jobs may fail.
	Optional bool `json:"optional,omitempty"`
	// Earlier are the attempts that gave way to this one, oldest first, and Retry what
	// the workflow has tried again; nil until the attempt's own message came.
	Earlier []flow.Earlier `json:"earlier,omitzero"`
	Retry   flow.Retry     `json:"retry,omitzero"`
	// Ran is when attempts were first seen running, those that gave way too.
	Ran map[int]time.Time `json:"ran,omitempty"`
	// Executor and Host are where it was started.
	Executor string `json:"executor,omitempty"`
	Host     string `json:"host,omitempty"`

	Pool           string     `json:"pool,omitempty"`
	Mode           string     `json:"mode,omitempty"`
	TimeoutMinutes int        `json:"timeout_minutes,omitempty"`
	State          flow.State `json:"state,omitempty"`
	// Message is what the newest message of the highest rank said, at MessageAt.
	Message   string    `json:"message,omitempty"`
	MessageAt time.Time `json:"message_at,omitzero"`
	// Notes are kept sorted, so that the order of messages does not show.
	Notes    []string  `json:"notes,omitempty"`
	QueuedAt time.Time `json:"queued_at,omitzero"`
	// ReceivedAt is when the webhook came; known once the job's own message came.
	ReceivedAt time.Time `json:"received_at,omitzero"`
	// BeganAt is when the result says that the script began.
	BeganAt time.Time `json:"began_at,omitzero"`

	// Conclusion is empty until the attempt's result came; then it is final.
	Conclusion flow.Conclusion `json:"conclusion,omitempty"`
	Cause      flow.Cause      `json:"cause,omitempty"`
	ExitCode   *int            `json:"exit_code,omitempty"`
	FinishedAt time.Time       `json:"finished_at,omitzero"`
	FirstError string          `json:"first_error,omitempty"`
	// Excerpt are at most 20 lines for the comment; empty unless the job failed.
	Excerpt    []string `json:"excerpt,omitempty"`
	Log        string   `json:"log,omitempty"`
	LogBytes   int64    `json:"log_bytes,omitempty"`
	LogDropped int64    `json:"log_dropped,omitempty"`
}

// Machined says that the job was started where the workflow's machine and image
// count: not yet anywhere, or as a process of a host, they do not.
func (j jobState) Machined() bool { return j.Executor != "" && j.Executor != "local" }

// concluded says that the attempt has its verdict.
func (j jobState) concluded() bool { return j.Conclusion != "" }

// began is when the script began, zero when it did not.
func (j jobState) began() time.Time {
	if !j.BeganAt.IsZero() {
		return j.BeganAt
	}
	return j.Ran[j.Attempt]
}

// took is how long the script ran; false where it did not run or is not done.
func (j jobState) took() (time.Duration, bool) {
	if j.began().IsZero() || j.FinishedAt.IsZero() || j.FinishedAt.Before(j.began()) {
		return 0, false
	}
	return j.FinishedAt.Sub(j.began()), true
}

// jobText is what checks quote of an attempt's log. It stands beside jobState
// because the aggregate and the comment read every job and need none of it.
type jobText struct {
	Attempt    int      `json:"attempt"`
	Window     []string `json:"window,omitempty"`
	WindowLine int      `json:"window_line,omitempty"`
	Tail       []string `json:"tail,omitempty"`
}

// runRef is a run as commits and pull requests remember it.
type runRef struct {
	Run string    `json:"run"`
	SHA string    `json:"sha"`
	At  time.Time `json:"at"`
}

// runRefs are runs from old to new.
type runRefs struct {
	Runs []runRef `json:"runs"`
}

// keptRuns bounds the runs that a commit or a pull request remembers.
const keptRuns = 64

// add remembers a run once and keeps the newest keptRuns.
func (r *runRefs) add(ref runRef) bool {
	if slices.ContainsFunc(r.Runs, func(have runRef) bool { return have.Run == ref.Run }) {
		return false
	}
	r.Runs = append(r.Runs, ref)
	slices.SortFunc(r.Runs, func(a, b runRef) int {
		if c := a.At.Compare(b.At); c != 0 {
			return c
		}
		return strings.Compare(a.Run, b.Run)
	})
	if drop := len(r.Runs) - keptRuns; drop > 0 {
		r.Runs = slices.Delete(r.Runs, 0, drop)
		return slices.ContainsFunc(r.Runs, func(have runRef) bool { return have.Run == ref.Run })
	}
	return true
}

// head is the commit of the newest run, with its runs. The planner plans a
// pull request's commit only after it asked GitHub whether it is the head, so
// the newest plan tells the newest head, whatever order the messages came in.
func (r runRefs) head() (sha string, runs []string) {
	if len(r.Runs) == 0 {
		return "", nil
	}
	sha = r.Runs[len(r.Runs)-1].SHA
	for _, ref := range r.Runs {
		if ref.SHA == sha {
			runs = append(runs, ref.Run)
		}
	}
	return sha, runs
}

// all are the ids of the runs from old to new.
func (r runRefs) all() []string {
	ids := make([]string, len(r.Runs))
	for i, ref := range r.Runs {
		ids[i] = ref.Run
	}
	return ids
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
