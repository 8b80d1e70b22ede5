package chaos

import (
	"slices"
	"strings"
	"testing"

	"github.com/litci/litci/pkg/flow"
)

// The world of the tests: a pull request with an old and a new head, and a push.
const (
	oldHead = iota
	newHead
	pushed
)

func sound() *Evidence {
	e := &Evidence{
		Events: []Event{
			{Number: oldHead, Kind: Opened, Pull: 1, Branch: "change-1", Parent: -1, Jobs: []string{"quick-0", "fail-1"}},
			{Number: newHead, Kind: Synchronize, Pull: 1, Branch: "change-1", Parent: oldHead, Jobs: []string{"quick-0", "steady-1"}},
			{Number: pushed, Kind: Pushed, Branch: mainBranch, Parent: -1, Jobs: []string{"quick-0", "fail-1"}},
		},
		Commits:  []string{"c0", "c1", "c2"},
		Comments: []int{1},
		Marks:    map[string]int{},
	}
	for i, event := range e.Events {
		conclusion := flow.Success
		for index, value := range event.Jobs {
			job := jobOf(e, i, index, 1)
			e.Jobs = append(e.Jobs, job)
			e.Checks = append(e.Checks, Check{job.Check, job.SHA, job.AttemptID(), "completed", string(conclusionOf(value))})
			e.Marks[job.AttemptID()] = 1
			if conclusionOf(value) == flow.Failure {
				conclusion = flow.Failure
			}
		}
		e.Checks = append(e.Checks, Check{aggregateCheck, e.Commits[i], "litci-" + e.Commits[i], "completed", string(conclusion)})
	}
	return e
}

// jobOf is the message of an attempt.
func jobOf(e *Evidence, event, index, attempt int) flow.Job {
	run := flow.RunID(1, 1, "push", "", e.Commits[event], "")
	value := e.Events[event].Jobs[index]
	return flow.Job{
		Identity: flow.Identity{SHA: e.Commits[event], Run: run}, Job: flow.JobID(run, index), Index: index, Attempt: attempt,
		Check: e.Events[event].checkOf(value), Params: flow.Params{{Name: workParameter, Value: value}},
	}
}

// idOf is the attempt's id.
func idOf(e *Evidence, event, index, attempt int) string {
	return jobOf(e, event, index, attempt).AttemptID()
}

// check finds a check run by its external id.
func (e *Evidence) check(id string) *Check {
	return &e.Checks[slices.IndexFunc(e.Checks, func(c Check) bool { return c.ExternalID == id })]
}

func (e *Evidence) dropCheck(id string) {
	e.Checks = slices.DeleteFunc(e.Checks, func(c Check) bool { return c.ExternalID == id })
}

func (e *Evidence) dropEvent(event int) {
	commit := e.Commits[event]
	e.Jobs = slices.DeleteFunc(e.Jobs, func(j flow.Job) bool { return j.SHA == commit })
	e.Checks = slices.DeleteFunc(e.Checks, func(c Check) bool { return c.SHA == commit })
	for index := range e.Events[event].Jobs {
		delete(e.Marks, idOf(e, event, index, 1))
	}
}

// again adds a second attempt of a job, which went well.
func (e *Evidence) again(event, index int, earlier ...flow.Earlier) {
	job := jobOf(e, event, index, 2)
	job.Earlier = earlier
	e.Jobs = append(e.Jobs, job)
	e.Marks[job.AttemptID()] = 1
	e.Checks = append(e.Checks, Check{job.Check, job.SHA, job.AttemptID(), "completed", string(wanted(job))})
}

func TestCompareFindsWhatWasBroken(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*Evidence)
		// want are the kinds of findings in order, such as "lost lost"; empty is all well.
		want string
	}{
		{"all is well", func(*Evidence) {}, ""},
		{"a job never ran and has no verdict", func(e *Evidence) {
			delete(e.Marks, idOf(e, pushed, 0, 1))
			e.dropCheck(idOf(e, pushed, 0, 1))
		}, "lost missing"},
		{"a job has a verdict and never ran", func(e *Evidence) { delete(e.Marks, idOf(e, pushed, 0, 1)) }, "lost"},
		{"a job ran and has no verdict", func(e *Evidence) { e.dropCheck(idOf(e, newHead, 1, 1)) }, "missing"},
		{"half a plan was stored", func(e *Evidence) {
			e.Jobs = slices.DeleteFunc(e.Jobs, func(j flow.Job) bool { return j.AttemptID() == idOf(e, pushed, 1, 1) })
			delete(e.Marks, idOf(e, pushed, 1, 1))
			e.dropCheck(idOf(e, pushed, 1, 1))
		}, "lost"},
		{"an attempt ran twice", func(e *Evidence) { e.Marks[idOf(e, pushed, 0, 1)] = 2 }, "twice"},
		{"an old head's attempt ran twice", func(e *Evidence) { e.Marks[idOf(e, oldHead, 0, 1)] = 2 }, "twice"},
		{"a message is stored twice", func(e *Evidence) { e.Jobs = append(e.Jobs, e.Jobs[0]) }, ""},
		{"a second attempt after a failure of the machine", func(e *Evidence) {
			e.again(pushed, 0, flow.Earlier{Attempt: 1, Cause: flow.CauseInfrastructure})
		}, ""},
		{"a second attempt for nothing", func(e *Evidence) { e.again(pushed, 0) }, "twice"},
		{"a second attempt of what failed by itself", func(e *Evidence) {
			e.again(pushed, 1, flow.Earlier{Attempt: 1, Cause: flow.CauseExit})
		}, "twice"},
		{"the second attempt never ran", func(e *Evidence) {
			e.again(pushed, 0, flow.Earlier{Attempt: 1, Cause: flow.CausePreempted})
			delete(e.Marks, idOf(e, pushed, 0, 2))
		}, "lost"},
		{"a commit was planned as two runs", func(e *Evidence) {
			for index := range e.Events[pushed].Jobs {
				job := jobOf(e, pushed, index, 1)
				job.Run = flow.RunID(1, 1, "push", "", "c2", "again")
				job.Job = flow.JobID(job.Run, index)
				e.Jobs = append(e.Jobs, job)
				e.Marks[job.AttemptID()] = 1
				e.Checks = append(e.Checks, Check{job.Check, job.SHA, job.AttemptID(), "completed", string(wanted(job))})
			}
		}, "twice doubled doubled"},
		{"something ran that nobody asked for", func(e *Evidence) { e.Marks["stranger-a1"] = 1 }, "wrong"},
		{"a job that fails is green", func(e *Evidence) { e.check(idOf(e, pushed, 1, 1)).Conclusion = "success" }, "wrong"},
		{"a job that passes is red", func(e *Evidence) { e.check(idOf(e, pushed, 0, 1)).Conclusion = "failure" }, "wrong"},
		{"a job of a push is cancelled", func(e *Evidence) { e.check(idOf(e, pushed, 0, 1)).Conclusion = "cancelled" }, "wrong"},
		{"a job of the newest head is cancelled", func(e *Evidence) { e.check(idOf(e, newHead, 0, 1)).Conclusion = "cancelled" }, "wrong"},
		{"a job of an old head is cancelled", func(e *Evidence) { e.check(idOf(e, oldHead, 0, 1)).Conclusion = "cancelled" }, ""},
		{"a job of an old head is cancelled before it ran", func(e *Evidence) {
			e.check(idOf(e, oldHead, 0, 1)).Conclusion = "cancelled"
			delete(e.Marks, idOf(e, oldHead, 0, 1))
		}, ""},
		{"an old head's aggregate is cancelled", func(e *Evidence) { e.check("litci-c0").Conclusion = "cancelled" }, ""},
		{"the aggregate is missing", func(e *Evidence) { e.dropCheck("litci-c1") }, "aggregate"},
		{"the aggregate is green over a red job", func(e *Evidence) { e.check("litci-c2").Conclusion = "success" }, "wrong"},
		{"the aggregate is open", func(e *Evidence) { e.check("litci-c2").Status = "in_progress" }, "stuck"},
		{"a check is open", func(e *Evidence) { e.check(idOf(e, newHead, 0, 1)).Status = "in_progress" }, "stuck"},
		{"an open check hides a completed one", func(e *Evidence) {
			double := *e.check(idOf(e, newHead, 0, 1))
			double.Status, double.Conclusion = "queued", ""
			e.Checks = slices.Insert(e.Checks, 0, double)
		}, "doubled"},
		{"a check run is there twice", func(e *Evidence) { e.Checks = append(e.Checks, e.Checks[0]) }, "doubled"},
		{"a name has two check runs of one attempt", func(e *Evidence) {
			double := *e.check(idOf(e, newHead, 0, 1))
			double.ExternalID = ""
			e.Checks = append(e.Checks, double, double)
		}, "doubled"},
		{"two aggregates", func(e *Evidence) { e.Checks = append(e.Checks, *e.check("litci-c1")) }, "doubled"},
		{"a check of nothing", func(e *Evidence) {
			e.Checks = append(e.Checks, Check{"litci / config", "c1", "x", "completed", "failure"})
		}, "wrong"},
		{"a check on a strange commit", func(e *Evidence) {
			e.Checks = append(e.Checks, Check{aggregateCheck, "c9", "x", "completed", "success"})
		}, "wrong"},
		{"two comments", func(e *Evidence) { e.Comments = append(e.Comments, 1) }, "comments"},
		{"no comment", func(e *Evidence) { e.Comments = nil }, "missing"},
		{"a push was never planned", func(e *Evidence) { e.dropEvent(pushed) }, "unhealed"},
		{"the newest head was never planned", func(e *Evidence) {
			e.dropEvent(newHead)
			e.Comments = nil
		}, "unhealed"},
		{"an old head was never planned", func(e *Evidence) { e.dropEvent(oldHead) }, ""},
		{"a message is in hand", func(e *Evidence) { e.Lags = []string{"consumer reporter"} }, "stuck"},
		{"a dead letter", func(e *Evidence) { e.Letters = []string{"planner gave up"} }, "dead"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := sound()
			c.spoil(e)
			f := Compare(*e)
			if have := kinds(f); have != c.want {
				t.Errorf("found %q, want %q: %+v", have, c.want, f)
			}
		})
	}
}

// kinds names a kind once for each finding of it.
func kinds(f Findings) string {
	var all []string
	for _, list := range []struct {
		kind  string
		found []string
	}{
		{"lost", f.Lost},
		{"twice", f.Twice},
		{"missing", f.Missing},
		{"wrong", f.Wrong},
		{"aggregate", f.Aggregates},
		{"doubled", f.DuplicateChecks},
		{"comments", f.DuplicateComments},
		{"stuck", f.Stuck},
		{"dead", f.DeadLetters},
		{"unhealed", f.Unhealed},
	} {
		for range list.found {
			all = append(all, list.kind)
		}
	}
	return strings.Join(all, " ")
}

func TestCompareCounts(t *testing.T) {
	e := sound()
	e.check(idOf(e, oldHead, 0, 1)).Conclusion = "cancelled"
	e.again(pushed, 0, flow.Earlier{Attempt: 1, Cause: flow.CauseInfrastructure})
	if f := Compare(*e); f.Jobs != 6 || f.Cancelled != 1 || f.Retried != 1 {
		t.Errorf("%d jobs, %d cancelled, %d retried", f.Jobs, f.Cancelled, f.Retried)
	}
}
