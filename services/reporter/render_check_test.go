package reporter

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/litci/litci/pkg/flow"
)

func stateOf(messages ...any) jobState {
	var s jobState
	for _, m := range messages {
		foldAny(&s, m)
	}
	return s
}

// The table of behaviours.md §5.4.
func TestJobCheck(t *testing.T) {
	exit := func(c flow.Conclusion, cause flow.Cause, message, firstError string, code int) flow.Result {
		r := result(1, c, code)
		r.Cause, r.Message, r.FirstError = cause, message, firstError
		if cause != flow.CauseExit {
			r.ExitCode = nil
		}
		return r
	}
	gone := func(attempt int, cause flow.Cause) flow.Earlier {
		return flow.Earlier{Attempt: attempt, Cause: cause, At: epoch.Add(4*time.Minute + 10*time.Second)}
	}
	rerun := func(attempt int) flow.Earlier {
		return flow.Earlier{Attempt: attempt, Rerun: true, By: "alice", Conclusion: flow.Failure, Cause: flow.CauseExit, At: epoch.Add(time.Minute)}
	}
	next := func(attempt int, earlier ...flow.Earlier) flow.Job {
		j := job(attempt)
		j.Earlier = earlier
		return j
	}
	desk := status(1, flow.Starting, "")
	desk.Pool = "gpu-desk"
	tests := []struct {
		name                      string
		messages                  []any
		status, conclusion, title string
	}{
		{"waits for a slot", []any{job(1), status(1, flow.Queued, "3rd in line for pool gpu-l4")}, "queued", "", "Queued: 3rd in line for pool gpu-l4"},
		{"is being started", []any{desk}, "in_progress", "", "Starting on gpu-desk"},
		{"is started again", []any{status(2, flow.Started, "pulling the image")}, "in_progress", "", "Starting (attempt 2): pulling the image"},
		{"runs", []any{status(1, flow.Running, "")}, "in_progress", "", "Running"},
		{"ended without a verdict yet", []any{status(1, flow.Ended, "")}, "in_progress", "", "Ended: collecting the log"},
		{"passed", []any{result(1, flow.Success, 0)}, "completed", "success", "Passed in 50s"},
		{"failed", []any{exit(flow.Failure, flow.CauseExit, "", "E: boom", 1)}, "completed", "failure", "Failed: exit 1 — E: boom"},
		{"failed without a word", []any{exit(flow.Failure, flow.CauseExit, "exit 141", "", 141)}, "completed", "failure", "Failed: exit 141"},
		{"over time", []any{job(1), exit(flow.TimedOut, flow.CauseDeadline, "", "", 0)}, "completed", "timed_out", "Timed out after 60m"},
		{"superseded", []any{exit(flow.Cancelled, flow.CauseStopped, "Superseded by abc1234.", "", 0)}, "completed", "cancelled", "Cancelled: Superseded by abc1234."},
		{"cancelled by somebody", []any{exit(flow.Cancelled, flow.CauseStopped, "Cancelled by alice.", "", 0)}, "completed", "cancelled", "Cancelled by alice."},
		{"what it needs failed", []any{exit(flow.Skip, flow.CauseNeeds, "build.yml failed.", "", 0)}, "completed", "skipped", "Skipped: build.yml failed."},
		{"a service gave up", []any{exit(flow.Failure, flow.CauseGivenUp, "The launcher gave up: bad handle.", "", 0)}, "completed", "failure", "Given up: The launcher gave up: bad handle."},
		{"preempted for good", []any{exit(flow.Failure, flow.CausePreempted, "The provider took the machine back.", "", 0)}, "completed", "failure", "Preempted: The provider took the machine back."},
		{"preempted, tried again", []any{status(1, flow.Running, ""), next(2, gone(1, flow.CausePreempted))}, "in_progress", "", "Preempted after 4m: attempt 2 of 3 is starting"},
		{"preempted before it ran", []any{next(2, gone(1, flow.CausePreempted))}, "in_progress", "", "Preempted: attempt 2 of 3 is starting"},
		{"tried again, waits", []any{status(2, flow.Queued, "no free slot"), next(2, gone(1, flow.CauseInfrastructure))}, "in_progress", "", "Machine failed: attempt 2 of 3 waits: no free slot"},
		{"tried again, starts", []any{status(2, flow.Starting, "pulling image"), next(2, gone(1, flow.CauseInfrastructure))}, "in_progress", "", "Starting (attempt 2 of 3): pulling image"},
		{"the last try", []any{next(3, gone(1, flow.CauseInfrastructure), gone(2, flow.CausePreempted))}, "in_progress", "", "Preempted: attempt 3 of 3 is starting"},
		{"tried again after a re-run", []any{next(3, rerun(1), gone(2, flow.CausePreempted)), status(3, flow.Running, "")}, "in_progress", "", "Running (attempt 3 of 4)"},
		{"run again by somebody", []any{next(2, rerun(1))}, "queued", "", "Queued (attempt 2)"},
		{"skipped", []any{exit(flow.Skip, flow.CauseStopped, "no file matched paths", "", 0)}, "completed", "skipped", "Skipped: no file matched paths"},
		{"infrastructure", []any{exit(flow.Failure, flow.CauseInfrastructure, "image pull failed 3×", "", 0)}, "completed", "failure", "Infrastructure: image pull failed 3×"},
		{"no capacity", []any{exit(flow.Failure, flow.CauseNoCapacity, "no slot within 60 minutes", "", 0)}, "completed", "failure", "No capacity: no slot within 60 minutes"},
		{"out of memory", []any{exit(flow.Failure, flow.CauseMemory, "out of memory at 4 GiB", "", 0)}, "completed", "failure", "out of memory at 4 GiB"},
		{"refused", []any{exit(flow.Failure, flow.CauseRefused, "the script is too long", "", 0)}, "completed", "failure", "Cannot be started: the script is too long"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := renderJob(stateOf(test.messages...), jobText{}, "http://pages/job")
			if c.Status != test.status || c.Conclusion != test.conclusion || c.Title != test.title {
				t.Errorf("%s %q %q", c.Status, c.Conclusion, c.Title)
			}
			if c.Name != "ci / unit" || !strings.HasPrefix(c.ExternalID, "aaaaaaaaaaaaaaaaaaaa-0-a") || c.DetailsURL != "http://pages/job" {
				t.Errorf("%s %s %s", c.Name, c.ExternalID, c.DetailsURL)
			}
			if (c.CompletedAt == nil) != (c.Conclusion == "") || c.Summary == "" {
				t.Errorf("completed at %v, summary %q", c.CompletedAt, c.Summary)
			}
		})
	}
}

func TestJobCheckNeverEndsBeforeItBegan(t *testing.T) {
	r := result(1, flow.Failure, 1)
	r.StartedAt, r.FinishedAt = epoch.Add(time.Minute), epoch
	c := renderJob(stateOf(r), jobText{}, "")
	if c.CompletedAt.Before(*c.StartedAt) {
		t.Errorf("%s before %s", c.CompletedAt, c.StartedAt)
	}
}

func TestJobWithoutOutputSaysSo(t *testing.T) {
	quiet := result(1, flow.Failure, 3)
	quiet.Log = "log"
	said := quiet
	said.LogBytes, said.Tail = 6, []string{"hello"}
	debug := said
	debug.Mode, debug.Window = "debug", debug.Tail
	lost := quiet
	lost.Cause, lost.ExitCode = flow.CauseInfrastructure, nil
	for name, test := range map[string]struct {
		result flow.Result
		text   string
	}{
		"nothing":       {quiet, "It wrote nothing.\n"},
		"a line":        {said, "### Last lines\n\n```text\nhello\n```\n\n[The full log](http://pages/job) (6 bytes)\n"},
		"a debug line":  {debug, "### Last lines\n\n```text\nhello\n```\n\n[The full log](http://pages/job) (6 bytes)\n"},
		"an end unseen": {lost, "[The full log](http://pages/job) (0 bytes)\n"},
	} {
		if c := renderJob(stateOf(test.result), textOf(test.result), "http://pages/job"); c.Text != test.text {
			t.Errorf("%s: %q", name, c.Text)
		}
	}
}

func TestCheckStaysWithinGitHubsLimits(t *testing.T) {
	hostile := []string{strings.Repeat("é", 65_535), "``````", strings.Repeat("`", 2_000), "@team <script>alert(1)</script> | x"}
	for _, mode := range []string{"", "debug"} {
		r := result(1, flow.Failure, 1)
		r.Mode = mode
		r.Message, r.FirstError, r.Log = hostile[0], hostile[0], "log"
		for range 200 {
			r.Notes = append(r.Notes, hostile[0])
			r.Window = append(r.Window, hostile...)
			r.Tail = append(r.Tail, hostile...)
		}
		// The text is rendered within the limits even if what is kept were not bounded.
		for _, text := range []jobText{textOf(r), {Attempt: 1, Window: r.Window, Tail: r.Tail}} {
			c := renderJob(stateOf(r), text, "http://pages/job")
			if len(c.Summary) > maxSummary || len(c.Text) > maxText || len(c.Title) > maxTitle {
				t.Errorf("summary %d, text %d, title %d bytes", len(c.Summary), len(c.Text), len(c.Title))
			}
			for _, s := range []string{c.Title, c.Summary, c.Text} {
				if !utf8.ValidString(s) {
					t.Error("a character was split")
				}
			}
			if strings.Contains(c.Summary, "@team") || strings.Contains(c.Summary, "<script>") {
				t.Error("the summary lets markup through")
			}
			if strings.Contains(c.Text, "Where it failed") == (mode == "debug") {
				t.Errorf("mode %q shows the wrong part", mode)
			}
			if !strings.Contains(c.Text, "[The full log](http://pages/job)") {
				t.Error("no link to the full log")
			}
		}
	}
}

func TestConfigCheck(t *testing.T) {
	end := flow.Result{Identity: identity(), Conclusion: flow.Failure, Cause: flow.CauseConfig, FinishedAt: epoch}
	end.Problems = []flow.Problem{
		{File: ".lightning/workflows/pr.yml", Line: 12, Column: 3, Severity: "error", Message: "unknown key"},
		{File: ".lightning/workflows/pr.yml", Line: 14, Severity: "warning", Message: "old key"},
		{File: "../outside.yml", Line: 1, Severity: "error", Message: "outside"},
	}
	var run runState
	foldEnd(&run, end)
	c := renderConfig(run, "http://pages/run")
	if c.Name != "litci / config" || c.Conclusion != "failure" || c.Title != "Config error in pr.yml:12 and 1 more" {
		t.Errorf("%s %s %q", c.Name, c.Conclusion, c.Title)
	}
	if len(c.Annotations) != 2 {
		t.Fatalf("annotations %+v", c.Annotations)
	}
	first := c.Annotations[0]
	if first.StartLine != 12 || first.EndLine != 12 || first.StartColumn != 3 || first.EndColumn != 3 || first.Level != "failure" {
		t.Errorf("%+v", first)
	}
	if second := c.Annotations[1]; second.Level != "warning" || second.StartColumn != 0 {
		t.Errorf("%+v", second)
	}
	if !strings.Contains(c.Summary, "`../outside.yml:1`") {
		t.Errorf("summary %s", c.Summary)
	}
}

func TestMinimalCheckKeepsTheVerdict(t *testing.T) {
	c := renderJob(stateOf(result(1, flow.Failure, 1)), jobText{Attempt: 1, Tail: []string{"x"}}, "http://pages/job")
	m := c.minimal()
	if m.Conclusion != c.Conclusion || m.ExternalID != c.ExternalID || m.Text != "" || !strings.Contains(m.Summary, "http://pages/job") {
		t.Errorf("%+v", m)
	}
}

// viewOf is a run with n jobs, the given states by index.
func viewOf(n int, states ...jobState) runView {
	v := runView{states: map[int]jobState{}}
	plan := flow.Plan{Identity: identity(), PlannedAt: epoch}
	for i := range n {
		plan.Jobs = append(plan.Jobs, flow.PlannedJob{Job: flow.JobID(plan.Run, i), Check: fmt.Sprintf("ci / unit (%d)", i), File: "ci.yml"})
	}
	v.Plan = &plan
	for i, s := range states {
		s.Index, s.Check = i, fmt.Sprintf("ci / unit (%d)", i)
		v.states[i] = s
	}
	return v
}

func TestCheckNamesImageAndMachineOnlyWhereTheyCount(t *testing.T) {
	started := func(handle string) flow.Status {
		s := status(1, flow.Started, "")
		s.Handle = []byte(handle)
		return s
	}
	for _, test := range []struct{ name, handle, want, not string }{
		{"on this machine", `{"executor":"local","id":"x","host":"desk-7"}`, "host `desk-7`", "ubuntu"},
		{"in a container", `{"executor":"docker","id":"x"}`, "machine `cpu`, image `ubuntu:24.04`", "host"},
		{"a handle of the future", `[1]`, "", "ubuntu"},
	} {
		summary := renderJob(stateOf(job(1), started(test.handle), result(1, flow.Success, 0)), jobText{}, "").Summary
		if !strings.Contains(summary, test.want) || strings.Contains(summary, test.not) {
			t.Errorf("%s: %s", test.name, summary)
		}
	}
}
