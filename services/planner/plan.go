package planner

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/workflow"
)

const severityError = "error"

const (
	// maxMessage is the size of a job's message in bytes, below NATS's default of 1 MiB
	// with room for headers.
	maxMessage = 1000 << 10
	// maxPlan bounds the messages of one batch together, in bytes.
	maxPlan = 64 << 20
	// What the marker lists is bounded, since it is one message too.
	maxSkipped  = 500
	maxProblems = 200
	maxNotices  = 100
	maxWords    = 1000
)

// Asked is something to be tested that no webhook asks for, such as a working tree.
type Asked struct {
	flow.Identity
	// Actor is who asks.
	Actor string
	// At is the time of all that is planned.
	At time.Time
	// Facts are what the triggers look at.
	Facts workflow.Event
}

// Offline plans by the rules of the service without GitHub and without a bus. Every
// pool counts as served; nothing is published.
func Offline(asked Asked, set workflow.Set) (flow.Plan, []flow.Job) {
	a := ask{Identity: asked.Identity, actor: asked.Actor, received: asked.At, stored: asked.At, facts: asked.Facts}
	served := map[string]bool{"": true}
	for _, pool := range pools(a, set) {
		served[pool] = true
	}
	d := draw(a, set, served)
	if slices.ContainsFunc(d.jobs, func(j flow.Job) bool { return j.PullRequest > 0 && j.Options.Checkout == checkoutMerge }) {
		d.Notices = append(d.Notices, "checkout: merge: what is here is tested as it is, merged into nothing")
	}
	return d.plan(a), d.jobs
}

// draft is what the workflow files ask for.
type draft struct {
	flow.Outcome
	jobs []flow.Job
	// workflows are the jobs' workflows, by index, as needs names them.
	workflows []string
	// unmet counts the workflows that are skipped because of what they need.
	unmet int
	// unmerged says that a workflow has nothing to test, for want of a merge.
	unmerged bool
}

// draw decides on every workflow and expands the triggered ones. A workflow that
// cannot run as it asks is a problem and stops no other, but for those that need it;
// served are the pools that were provisioned.
func draw(a ask, set workflow.Set, served map[string]bool) draft {
	d := draft{Outcome: flow.Outcome{Problems: slices.Clone(set.Problems), Notices: slices.Clone(set.Notices)}}
	taken := map[string]string{}
	skip := func(w workflow.Workflow, reason string) {
		if check := w.Check(a.facts); taken[check] == "" {
			taken[check] = w.Path
			d.Skipped = append(d.Skipped, flow.Skipped{Check: check, Reason: reason})
		}
	}
	var chosen []choice
	for _, w := range set.Workflows {
		decision := w.Decide(a.facts)
		if !decision.Listed {
			continue
		}
		var jobs []flow.Job
		if decision.Triggered {
			decision.Reason = "the matrix came out empty"
			for _, job := range w.Jobs(a.facts) {
				jobs = append(jobs, a.job(w, job))
			}
		}
		if len(jobs) == 0 {
			skip(w, decision.Reason)
			continue
		}
		if a.unmerged != "" && jobs[0].Options.Checkout == checkoutMerge {
			d.unmerged = true
			d.Problems = append(d.Problems, flow.Problem{File: w.Path, Line: w.Line, Column: 1, Severity: severityError, Message: "checkout: merge: " + a.unmerged})
			continue
		}
		if fault := faultOf(jobs, taken, served); fault != "" {
			d.Problems = append(d.Problems, flow.Problem{File: w.Path, Line: w.Line, Column: 1, Severity: severityError, Message: fault})
			continue
		}
		for _, job := range jobs {
			taken[job.Check] = w.Path
		}
		chosen = append(chosen, choice{w, jobs})
	}
	chosen, without := needed(chosen)
	for _, w := range without {
		for _, job := range w.jobs {
			delete(taken, job.Check)
		}
		skip(w.Workflow, "it needs "+w.need+", which does not run")
	}
	d.unmet = len(without)
	for _, c := range chosen {
		for _, job := range c.jobs {
			job.Index = len(d.jobs)
			job.Job = flow.JobID(a.Run, job.Index)
			d.jobs, d.workflows = append(d.jobs, job), append(d.workflows, c.ID())
		}
	}
	if fault := tooMuch(d.jobs); fault != "" {
		d.jobs, d.workflows = nil, nil
		d.Problems = append(d.Problems, flow.Problem{Severity: severityError, Message: fault})
	}
	d.bound()
	return d
}

// faultOf says why a workflow's jobs cannot start.
func faultOf(jobs []flow.Job, taken map[string]string, served map[string]bool) string {
	own := map[string]bool{}
	for _, job := range jobs {
		switch {
		case !served[job.Pool]:
			return fmt.Sprintf("the pool %q is not known; litci provision --pool %s makes it, or take another pool", job.Pool, job.Pool)
		case own[job.Check]:
			return fmt.Sprintf("two jobs of the matrix have the check name %q; a parameter that tells them apart must stand in the name", job.Check)
		case taken[job.Check] != "":
			return fmt.Sprintf("the check name %q is taken by a job of %s; give the workflow another name", job.Check, taken[job.Check])
		}
		own[job.Check] = true
		if size := sizeOf(job); size > maxMessage {
			return fmt.Sprintf("the job %q takes %d KiB with its script and environment; at most %d can be sent", job.Check, size>>10, maxMessage>>10)
		}
	}
	return ""
}

// tooMuch says why a plan cannot be published as one batch.
func tooMuch(jobs []flow.Job) string {
	if len(jobs) > bus.MaxBatch {
		return fmt.Sprintf("the workflows ask for %d jobs; one commit starts at most %d, so none was started", len(jobs), bus.MaxBatch)
	}
	size := 0
	for _, job := range jobs {
		size += sizeOf(job)
	}
	if size > maxPlan {
		return fmt.Sprintf("the %d jobs take %d MiB with their scripts; at most %d can be sent, so none was started", len(jobs), size>>20, maxPlan>>20)
	}
	return ""
}

func sizeOf(job flow.Job) int {
	text, err := json.Marshal(job)
	if err != nil { // parameters hold what YAML held
		return maxMessage + 1
	}
	return len(text)
}

// job is a matrix combination as the launcher takes it, but for its index.
func (a ask) job(w workflow.Workflow, job workflow.Job) flow.Job {
	source := a.SHA
	if job.Options.Checkout == checkoutMerge && a.merge != "" {
		source = a.merge
	}
	return flow.Job{
		Identity: a.Identity, Job: flow.JobID(a.Run, 0), Attempt: 1,
		Check: job.Check, File: w.Path, Workflow: w.Name, Params: job.Params,
		HeadRef: a.pullRef(a.headRef), BaseRef: a.pullRef(a.baseRef), Actor: a.actor, Fork: a.fork != "",
		Image: job.Image, Machine: job.Machine, Interruptible: job.Interruptible, Pool: job.Pool,
		TimeoutMinutes: job.TimeoutMinutes, QueueTimeoutMinutes: job.QueueTimeoutMinutes,
		Mode: job.Mode, Env: job.Env, Script: w.Script, Source: flow.SourceName(a.Repo.ID, source),
		Options: job.Options, QueuedAt: a.stored, ReceivedAt: a.received,
	}
}

// pullRef is a branch of a pull request; other events have none.
func (a ask) pullRef(branch string) string {
	if a.PullRequest == 0 {
		return ""
	}
	return branch
}

// bound keeps what the marker lists small enough for a message.
func (d *draft) bound() {
	for i := range d.Notices {
		d.Notices[i] = cut(d.Notices[i])
	}
	if more := len(d.Notices) - maxNotices; more > 0 {
		d.Notices = append(d.Notices[:maxNotices], fmt.Sprintf("%s more are not listed.", count(more, "notice")))
	}
	if more := len(d.Skipped) - maxSkipped; more > 0 {
		d.Skipped = d.Skipped[:maxSkipped]
		d.Notices = append(d.Notices, fmt.Sprintf("%s more are not listed.", count(more, "skipped workflow")))
	}
	// Errors first: a cut must not hide them.
	slices.SortStableFunc(d.Problems, func(x, y flow.Problem) int { return rank(x) - rank(y) })
	if more := len(d.Problems) - maxProblems; more > 0 {
		d.Problems = d.Problems[:maxProblems]
		d.Notices = append(d.Notices, fmt.Sprintf("%s more are not listed.", count(more, "problem")))
	}
	for i := range d.Problems {
		d.Problems[i].Message = cut(d.Problems[i].Message)
	}
	for i := range d.Skipped {
		d.Skipped[i].Reason = cut(d.Skipped[i].Reason)
	}
}

func rank(p flow.Problem) int {
	if p.Severity == severityError {
		return 0
	}
	return 1
}

func cut(text string) string {
	if len(text) <= maxWords {
		return text
	}
	end := maxWords
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

func (d draft) broken() bool {
	return slices.ContainsFunc(d.Problems, func(p flow.Problem) bool { return p.Severity == severityError })
}

// elsewhere tells whether another event speaks for the commit, so that this one
// must not: saying "nothing to do" would let a required check pass before the
// other event is planned. A label or a draft's end, too, says nothing where no
// workflow asked for it; broken files were reported when they came.
func (d draft) elsewhere(a ask) bool {
	if len(d.jobs) > 0 {
		return false
	}
	return a.facts.OpenPullRequest || len(d.Skipped) == 0 && !a.fresh()
}

// reason says why an event is left to another.
func (d draft) reason(a ask) string {
	if a.facts.OpenPullRequest {
		return "the branch has an open pull request, whose event runs the workflows"
	}
	return fmt.Sprintf("no workflow listens to %s %s", a.Event, a.facts.Action)
}

// end is why a run ends without a job, empty where it has jobs that may start.
func (d draft) end(a ask) (flow.Cause, string) {
	switch {
	case len(d.jobs) > 0 && a.fork != "":
		return flow.CauseGate, fmt.Sprintf("This pull request comes from a fork (%s), and litci does not run the code of forks yet: nothing of commit %s was run. It would start %s. "+
			"Somebody with write permission who has read the changes can push this commit to a branch of %s, where it is tested.",
			a.fork, a.SHA, count(len(d.jobs), "job"), a.Repo.FullName())
	case len(d.jobs) > 0:
		return "", ""
	case d.unmerged:
		return flow.CauseConfig, "Nothing was started: " + a.unmerged + "."
	case d.broken():
		errors := 0
		for _, p := range d.Problems {
			errors += 1 - rank(p)
		}
		return flow.CauseConfig, fmt.Sprintf("Nothing was started: the workflow files have %s.", count(errors, "error"))
	case d.unmet > 0:
		return flow.CauseNotTriggered, fmt.Sprintf("Nothing to do: %s skipped, because of filters or of what they need.", counted(len(d.Skipped), "workflow is", "workflows are"))
	case len(d.Skipped) > 0:
		return flow.CauseNotTriggered, fmt.Sprintf("Nothing to do: %s excluded by filters.", counted(len(d.Skipped), "workflow is", "workflows are"))
	}
	return flow.CauseNotTriggered, fmt.Sprintf("Nothing to do: no workflow listens to this %s.", a.Event)
}

// plan is the marker.
func (d draft) plan(a ask) flow.Plan {
	plan := flow.Plan{
		Identity: a.Identity, PlannedAt: a.stored, HeadRef: a.pullRef(a.headRef), BaseRef: a.pullRef(a.baseRef),
		Actor: a.actor, Outcome: d.Outcome, Jobs: make([]flow.PlannedJob, 0, len(d.jobs)),
	}
	for i, job := range d.jobs {
		plan.Jobs = append(plan.Jobs, flow.PlannedJob{
			Job: job.Job, Check: job.Check, File: job.File, Workflow: d.workflows[i], Optional: job.Options.ContinueOnError, Pool: job.Pool,
		})
	}
	return plan
}

// result says that a run ended without a job.
func result(a ask, cause flow.Cause, message string, outcome flow.Outcome) flow.Result {
	conclusion := flow.Success
	switch cause {
	case flow.CauseConfig, flow.CauseGivenUp:
		conclusion = flow.Failure
	case flow.CauseGate:
		conclusion = flow.ActionRequired
	}
	return flow.Result{
		Identity: a.Identity, Conclusion: conclusion, Cause: cause, Message: message, FinishedAt: a.stored,
		HeadRef: a.pullRef(a.headRef), BaseRef: a.pullRef(a.baseRef), Outcome: outcome,
	}
}

func count(n int, noun string) string { return counted(n, noun, noun+"s") }

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
