package planner

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/workflow"
)

// asked is what an event asks for, with facts as GitHub would add them.
func asked(t *testing.T, e flow.Event, change ...func(*ask)) ask {
	t.Helper()
	a, ignored, err := read(e, time.Date(2026, 1, 2, 3, 4, 6, 7, time.UTC))
	if err != nil || ignored != "" {
		t.Fatal(ignored, err)
	}
	for _, c := range change {
		c(&a)
	}
	return a
}

// load takes files by name, those of one word in the workflow folder.
func load(files ...string) workflow.Set {
	var all []workflow.File
	for i := 0; i < len(files); i += 2 {
		name := files[i]
		if name != workflow.SingleFile {
			name = workflow.Folder + "/" + name
		}
		all = append(all, workflow.File{Path: name, Data: []byte(files[i+1])})
	}
	return workflow.Load(all)
}

// matrix is a workflow of n jobs.
func matrix(n int) string {
	values := make([]string, n)
	for i := range values {
		values[i] = fmt.Sprint(i)
	}
	return "run: 'true'\nparametrize:\n  matrix:\n    n: [" + strings.Join(values, ", ") + "]\n"
}

const (
	onAll  = "name: tests\nrun: 'true'\n"
	onPull = "name: pulls\ntrigger: pull_request\nrun: 'true'\n"
	onMain = "name: main\ntrigger:\n  push:\n    branches: [main]\n  pull_request:\n    branches: [main]\nrun: 'true'\n"
	broken = "name: broken\nrun: 'true'\nimagine: x\n"
)

func TestWhatADeliveryComesTo(t *testing.T) {
	fork := func(a *ask) { a.fork = "mona/hello" }
	openPull := func(a *ask) { a.facts.OpenPullRequest = true }
	toNext := func(a *ask) { a.facts.Branch = "next" }
	for _, c := range []struct {
		name    string
		event   flow.Event
		change  []func(*ask)
		set     workflow.Set
		jobs    int
		skipped int
		// cause is empty where jobs start, "elsewhere" where nothing is said.
		cause   string
		message string
	}{
		{name: "a pull request runs", event: pullEvent("opened"), set: load("a.yml", onAll, "b.yml", matrix(3)), jobs: 4},
		{name: "a filter excludes", event: pullEvent("opened"), change: []func(*ask){toNext}, set: load("a.yml", onMain), skipped: 1, cause: "not_triggered", message: "1 workflow is excluded"},
		{name: "some run and some are excluded", event: pullEvent("opened"), change: []func(*ask){toNext}, set: load("a.yml", onMain, "b.yml", onPull), jobs: 1, skipped: 1},
		{name: "nobody listens", event: pushEvent("refs/heads/main"), set: load("a.yml", onPull), cause: "not_triggered", message: "no workflow listens"},
		{name: "a broken file beside a good one", event: pullEvent("opened"), set: load("a.yml", onAll, "b.yml", broken), jobs: 1},
		{name: "a broken file alone", event: pullEvent("opened"), set: load("b.yml", broken), cause: "config", message: "1 error"},
		{name: "a broken file beside one that does not listen", event: pushEvent("refs/heads/main"), set: load("a.yml", onPull, "b.yml", broken), cause: "config"},
		{name: "a fork", event: pullEvent("opened"), change: []func(*ask){fork}, set: load("a.yml", matrix(3)), jobs: 3, cause: "gate", message: "commit " + sha + " was run. It would start 3 jobs"},
		{name: "a fork with a broken file alone", event: pullEvent("opened"), change: []func(*ask){fork}, set: load("b.yml", broken), cause: "config"},
		{name: "a fork that would start nothing", event: pullEvent("opened"), change: []func(*ask){fork, toNext}, set: load("a.yml", onMain), skipped: 1, cause: "not_triggered"},
		{name: "a push with an open pull request", event: pushEvent("refs/heads/topic"), change: []func(*ask){openPull}, set: load("a.yml", onAll), cause: "elsewhere"},
		{name: "the same with an excluded workflow", event: pushEvent("refs/heads/topic"), change: []func(*ask){openPull}, set: load("a.yml", "name: x\ntrigger:\n  push:\n    branches: [main]\nrun: 'true'\n"), skipped: 1, cause: "elsewhere"},
		{name: "the same with a workflow for pushes", event: pushEvent("refs/heads/topic"), change: []func(*ask){openPull}, set: load("a.yml", onAll, "b.yml", "name: x\ntrigger: push\nrun: 'true'\n"), jobs: 1},
		{name: "a label that nobody asked for", event: pullEvent("labeled"), set: load("a.yml", onAll, "b.yml", broken), cause: "elsewhere"},
		{name: "a label that somebody asked for", event: pullEvent("labeled"), set: load("a.yml", "name: x\ntrigger:\n  pull_request:\n    types: [labeled]\nrun: 'true'\n"), jobs: 1},
		{name: "a need that runs", event: pullEvent("opened"), set: load("a.yml", onAll, "b.yml", onAll+"needs: a.yml\n"), jobs: 2},
		{name: "a need that does not listen", event: pullEvent("opened"), set: load("a.yml", "trigger: push\nrun: 'true'\n", "b.yml", onAll+"needs: a.yml\n", "c.yml", onAll), jobs: 1, skipped: 1},
		{name: "a need that is excluded", event: pullEvent("opened"), change: []func(*ask){toNext}, set: load("a.yml", onMain, "b.yml", onAll+"needs: a.yml\n"), skipped: 2, cause: "not_triggered", message: "2 workflows are skipped, because of filters or of what they need"},
		{name: "a need that cannot start", event: pullEvent("opened"), set: load("a.yml", onAll+"pool: moon\n", "b.yml", onAll+"needs: a.yml\n"), skipped: 1, cause: "config"},
		{name: "a need of a need", event: pullEvent("opened"), set: load("a.yml", onAll+"needs: b.yml\n", "b.yml", onAll+"needs: c.yml\n", "c.yml", "trigger: push\nrun: 'true'\n"), skipped: 2, cause: "not_triggered"},
		{name: "a need that does not run, where that is no matter", event: pullEvent("opened"), set: load("a.yml", "trigger: push\nrun: 'true'\n", "b.yml", onAll+"needs: a.yml\nif: always\n"), jobs: 1},
		{name: "a merge group", event: queueEvent("checks_requested"), set: load("a.yml", onAll), jobs: 1},
		{name: "an empty matrix", event: pullEvent("opened"), set: load("a.yml", "name: x\nrun: 'true'\nparametrize:\n  matrix:\n    n: [1]\n  exclude:\n    - n: 1\n"), skipped: 1, cause: "not_triggered"},
		{name: "999 jobs", event: pullEvent("opened"), set: load("a.yml", matrix(256), "b.yml", matrix(256), "c.yml", matrix(256), "d.yml", matrix(231)), jobs: 999},
		{name: "1000 jobs", event: pullEvent("opened"), set: load("a.yml", matrix(256), "b.yml", matrix(256), "c.yml", matrix(256), "d.yml", matrix(232)), cause: "config"},
		{name: "a pool that nobody serves", event: pullEvent("opened"), set: load("a.yml", onAll+"pool: moon\n"), cause: "config"},
		{name: "the same beside a good one", event: pullEvent("opened"), set: load("a.yml", onAll+"pool: moon\n", "b.yml", onAll), jobs: 1},
		{name: "a pool that is served", event: pullEvent("opened"), set: load("a.yml", onAll+"pool: desk\n"), jobs: 1},
		{name: "a script that no message takes", event: pullEvent("opened"), set: load("a.yml", "name: x\nrun: '"+strings.Repeat("<", 200<<10)+"'\n"), cause: "config"},
		{name: "scripts that no batch takes", event: pullEvent("opened"), set: load("a.yml", matrix(256)+"env: {X: '"+strings.Repeat("<", 50<<10)+"'}\n"), cause: "config"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := asked(t, c.event, c.change...)
			d := draw(a, c.set, map[string]bool{"": true, "desk": true})
			if len(d.jobs) != c.jobs || len(d.Skipped) != c.skipped {
				t.Errorf("%d jobs and %d skipped, want %d and %d; problems %v", len(d.jobs), len(d.Skipped), c.jobs, c.skipped, d.Problems)
			}
			if elsewhere := d.elsewhere(a); elsewhere || c.cause == "elsewhere" {
				if !elsewhere || c.cause != "elsewhere" || d.reason(a) == "" {
					t.Errorf("left to another event: %t", elsewhere)
				}
				return
			}
			cause, message := d.end(a)
			if string(cause) != c.cause || !strings.Contains(message, c.message) {
				t.Errorf("cause %q, message %q, want %q and %q", cause, message, c.cause, c.message)
			}
			if cause == flow.CauseConfig && !d.broken() {
				t.Error("no problem says why")
			}
			if cause == "" {
				checkPlan(t, a, d)
			}
		})
	}
}

// checkPlan holds for every plan with jobs.
func checkPlan(t *testing.T, a ask, d draft) {
	t.Helper()
	plan := d.plan(a)
	if len(plan.Jobs) != len(d.jobs) || plan.Run != a.Run || !plan.PlannedAt.Equal(a.stored) {
		t.Errorf("the marker is %+v", plan.Identity)
	}
	names := map[string]bool{}
	for i, job := range d.jobs {
		if job.Index != i || job.Job != flow.JobID(a.Run, i) || job.Attempt != 1 || plan.Jobs[i].Job != job.Job || plan.Jobs[i].Check != job.Check || !strings.HasSuffix(job.File, plan.Jobs[i].Workflow) {
			t.Fatalf("job %d is %s at %d, the marker lists %+v", i, job.Job, job.Index, plan.Jobs[i])
		}
		if names[job.Check] {
			t.Errorf("two checks are named %q", job.Check)
		}
		names[job.Check] = true
		if job.Identity != a.Identity || job.Source != "4711/"+sha || job.Script == "" || job.Image == "" || job.TimeoutMinutes == 0 ||
			job.File == "" || job.Workflow == "" || job.Actor != "mona" || !job.QueuedAt.Equal(a.stored) || !job.ReceivedAt.Equal(a.received) {
			t.Errorf("job lacks something: %+v", job)
		}
		if pull := a.PullRequest > 0; pull != (job.HeadRef == "topic") || pull != (job.BaseRef == "main") {
			t.Errorf("refs %q and %q on %s", job.HeadRef, job.BaseRef, a.Event)
		}
	}
}

func TestSameCheckNameTwiceIsAProblem(t *testing.T) {
	a := asked(t, pullEvent("opened"))
	set := load("a.yml", onAll)
	set.Workflows = append(set.Workflows, set.Workflows[0])
	d := draw(a, set, map[string]bool{"": true})
	if len(d.jobs) != 1 || len(d.Problems) != 1 || !strings.Contains(d.Problems[0].Message, "is taken") {
		t.Errorf("%d jobs, problems %v", len(d.jobs), d.Problems)
	}
}

func TestPlanningTwiceGivesTheSameBytes(t *testing.T) {
	files := []string{"a.yml", matrix(20) + "env: {A: 1, B: 2, C: 3, D: 4}\n", "b.yml", onMain, "c.yml", broken, "d.yml", onAll}
	bytesOf := func() []byte {
		a := asked(t, pullEvent("opened"))
		d := draw(a, load(files...), map[string]bool{"": true})
		cause, message := d.end(a)
		text, err := json.Marshal([]any{d.plan(a), d.jobs, result(a, cause, message, d.Outcome)})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	first := bytesOf()
	for range 20 {
		if again := bytesOf(); !bytes.Equal(first, again) {
			t.Fatalf("\n%s\n%s", first, again)
		}
	}
}

func TestConclusionsFollowTheCause(t *testing.T) {
	a := asked(t, pullEvent("opened"))
	for cause, want := range map[flow.Cause]flow.Conclusion{
		flow.CauseNoWorkflows: flow.Success, flow.CauseNotTriggered: flow.Success,
		flow.CauseConfig: flow.Failure, flow.CauseGate: flow.ActionRequired,
	} {
		if r := result(a, cause, "", flow.Outcome{}); r.Conclusion != want || r.Run != a.Run || r.HeadRef != "topic" || r.FinishedAt.IsZero() {
			t.Errorf("%s: %+v", cause, r)
		}
	}
}

func TestMarkerStaysSmall(t *testing.T) {
	var d draft
	for i := range 3000 {
		d.Skipped = append(d.Skipped, flow.Skipped{Check: fmt.Sprint(i), Reason: strings.Repeat("é", 2000)})
		d.Problems = append(d.Problems, flow.Problem{Severity: "warning", Message: strings.Repeat("é", 2000)})
	}
	d.Problems = append(d.Problems, flow.Problem{Severity: severityError, Message: "last"})
	d.bound()
	text, err := json.Marshal(d.Outcome)
	if err != nil {
		t.Fatal(err)
	}
	if len(text) > maxMessage || !d.broken() || len(d.Notices) != 2 || strings.ContainsRune(string(text), '\uFFFD') {
		t.Errorf("%d bytes, broken %t, notices %v", len(text), d.broken(), d.Notices)
	}
}

func TestNoticesAreBounded(t *testing.T) {
	d := draft{Outcome: flow.Outcome{}}
	for i := range 1000 {
		d.Notices = append(d.Notices, fmt.Sprint(i, strings.Repeat("x", 2000)))
	}
	d.bound()
	if len(d.Notices) != maxNotices+1 || len(d.Notices[0]) > maxWords+len("…") || d.Notices[maxNotices] != "900 notices more are not listed." {
		t.Errorf("%d notices, the last is %q", len(d.Notices), d.Notices[len(d.Notices)-1])
	}
}
