package reporter

import (
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/pkg/flow"
)

var testLinks = newLinks("https://ci.example", []byte("key"))

func TestAggregateVerdict(t *testing.T) {
	passed, broken := stateOf(result(1, flow.Success, 0)), stateOf(result(1, flow.Failure, 1))
	late, gone := stateOf(result(1, flow.TimedOut, 1)), stateOf(result(1, flow.Cancelled, 1))
	skipped, runs := stateOf(result(1, flow.Skip, 0)), stateOf(status(1, flow.Running, ""))
	needs := stateOf(flow.ResultOf(job(1), flow.Skip, flow.CauseNeeds, "ci.yml failed.", epoch))
	again := stateOf(result(1, flow.Failure, 1), job(2))
	optional := func(v runView, i int) runView {
		v.Plan.Jobs[i].Optional = true
		return v
	}
	end := func(cause flow.Cause, c flow.Conclusion, message string) runView {
		var v runView
		foldEnd(&v.runState, flow.Result{Identity: identity(), Cause: cause, Conclusion: c, Message: message, FinishedAt: epoch})
		return v
	}
	rerun := func(v runView, after time.Duration) runView {
		p := *v.Plan
		p.Run, p.PlannedAt = strings.Repeat("b", 20), epoch.Add(after)
		v.Plan = &p
		return v
	}
	broke := viewOf(1, passed)
	broke.Plan.Problems = []flow.Problem{{File: "x.yml", Line: 1, Severity: "error", Message: "bad"}}
	warned := viewOf(1, passed)
	warned.Plan.Problems = []flow.Problem{{File: "x.yml", Line: 1, Severity: "warning", Message: "old"}}
	pushed := viewOf(1, broken)
	pushed.Plan.Event, pushed.Plan.PullRequest, pushed.Plan.Jobs[0].Check = "push", 0, "ci / unit [push]"

	tests := []struct {
		name                      string
		views                     []runView
		status, conclusion, title string
	}{
		{"nothing heard of any job", []runView{viewOf(2)}, "in_progress", "", "2 still to come"},
		{"all passed", []runView{viewOf(2, passed, passed)}, "completed", "success", "2 passed"},
		{"one is open", []runView{viewOf(2, passed, runs)}, "in_progress", "", "1 passed, 1 still to come"},
		{"fails as soon as one fails", []runView{viewOf(2, broken, runs)}, "completed", "failure", "1 failed, 1 still to come"},
		{"over time fails", []runView{viewOf(1, late)}, "completed", "failure", "1 failed"},
		{"a re-run opens it again", []runView{viewOf(2, again, passed)}, "in_progress", "", "1 passed, 1 still to come"},
		{"skipped counts as passed", []runView{viewOf(2, passed, skipped)}, "completed", "success", "1 passed, 1 skipped"},
		{"cancelled is no success", []runView{viewOf(2, passed, gone)}, "completed", "cancelled", "1 cancelled, 1 passed"},
		{"optional jobs do not count", []runView{optional(viewOf(2, broken, passed), 0)}, "completed", "success", "1 failed (optional), 1 passed"},
		{"optional jobs are not waited for", []runView{optional(viewOf(2, runs, passed), 0)}, "completed", "success", "1 passed"},
		{"bad files beside jobs", []runView{broke}, "completed", "failure", "Config error, 1 passed"},
		{"warnings do no harm", []runView{warned}, "completed", "success", "1 passed"},
		{"bad files alone", []runView{end(flow.CauseConfig, flow.Failure, "bad")}, "completed", "failure", "Config error"},
		{"nothing to do", []runView{end(flow.CauseNotTriggered, flow.Success, "No workflow wants pull_request.")}, "completed", "success", "Nothing to do"},
		{"given up", []runView{end(flow.CauseGivenUp, flow.Failure, "The planner gave up.")}, "completed", "failure", "litci could not plan this commit: The planner gave up."},
		{"given up and planned after all", []runView{end(flow.CauseGivenUp, flow.Failure, "no"), rerun(viewOf(1, passed), time.Minute)}, "completed", "success", "1 passed"},
		{"given up beside a push", []runView{pushed, end(flow.CauseGivenUp, flow.Failure, "no")}, "completed", "failure", "litci could not plan an event, 1 failed"},
		{"superseded", []runView{viewOf(2, gone, gone)}, "completed", "cancelled", "2 cancelled"},
		{"a need failed", []runView{viewOf(2, broken, needs)}, "completed", "failure", "1 failed, 1 skipped"},
		{"gate", []runView{end(flow.CauseGate, flow.ActionRequired, "A fork.")}, "completed", "action_required", "Needs approval for aaaaaaa"},
		{"a newer run of a name counts", []runView{viewOf(1, broken), rerun(viewOf(1, passed), time.Minute)}, "completed", "success", "1 passed"},
		{"an approved run lifts the gate", []runView{end(flow.CauseGate, flow.ActionRequired, "A fork."), rerun(viewOf(1, passed), time.Minute)}, "completed", "success", "1 passed"},
		{"all runs of the commit count", []runView{pushed, viewOf(1, passed)}, "completed", "failure", "1 failed, 1 passed"},
		{"nothing to do beside a push", []runView{pushed, end(flow.CauseNotTriggered, flow.Success, "no")}, "completed", "failure", "1 failed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := renderAggregate(11, identity().SHA, test.views, testLinks)
			if c.Status != test.status || c.Conclusion != test.conclusion || c.Title != test.title {
				t.Errorf("%s %q %q", c.Status, c.Conclusion, c.Title)
			}
			if c.Name != "litci" || c.ExternalID != "litci-11-"+identity().SHA {
				t.Errorf("%s %s", c.Name, c.ExternalID)
			}
			if (c.CompletedAt == nil) != (c.Conclusion == "") || c.Summary == "" {
				t.Errorf("completed at %v, summary %q", c.CompletedAt, c.Summary)
			}
		})
	}
}

// A service gave up, and somebody had the event tried again: what came then counts.
func TestGivenUpIsNotTheLastWord(t *testing.T) {
	lost := flow.Result{Identity: identity(), Cause: flow.CauseGivenUp, Conclusion: flow.Failure, Message: "The planner gave up.", FinishedAt: epoch}
	real := flow.Result{Identity: identity(), Cause: flow.CauseNotTriggered, Conclusion: flow.Success, FinishedAt: epoch.Add(time.Hour)}
	for _, order := range [][]flow.Result{{lost, real}, {real, lost}, {lost, real, lost}} {
		var v runView
		for _, r := range order {
			foldEnd(&v.runState, r)
		}
		if v.End.Cause != flow.CauseNotTriggered || v.lost() != "" {
			t.Errorf("%+v", v.End)
		}
	}
	planned := viewOf(1)
	foldEnd(&planned.runState, lost)
	if planned.lost() != "" {
		t.Error("a planned run is lost")
	}
	var v runView
	foldEnd(&v.runState, lost)
	for _, text := range []string{
		renderAggregate(11, identity().SHA, []runView{v}, testLinks).Summary, renderComment(11, 3, identity().SHA, []runView{v}, testLinks).body,
	} {
		if !strings.Contains(text, "The planner gave up.") || !strings.Contains(text, planAgain) {
			t.Errorf("%s", text)
		}
	}
}

func TestAggregateOf999Jobs(t *testing.T) {
	v := viewOf(999)
	for i := range 999 {
		c := flow.Success
		if i == 998 {
			c = flow.Failure
		}
		s := stateOf(result(1, c, 0))
		s.Index = i
		v.states[i] = s
		v.Plan.Jobs[i].Check = strings.Repeat("é|`", 25) + v.Plan.Jobs[i].Check
	}
	c := renderAggregate(11, identity().SHA, []runView{v}, testLinks)
	if len(c.Summary) > maxSummary || len(c.Summary) < maxSummary/2 {
		t.Errorf("summary of %d bytes", len(c.Summary))
	}
	if !strings.Contains(c.Summary, "❌ failed") || !strings.Contains(c.Summary, "more jobs: [see the whole run](https://ci.example/runs/") {
		t.Errorf("the failure or the link is cut: %.300s", c.Summary)
	}
	comment := renderComment(11, 3, identity().SHA, []runView{v}, testLinks)
	if len(comment.body) > maxComment {
		t.Errorf("comment of %d bytes", len(comment.body))
	}
}
