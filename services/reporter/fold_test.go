package reporter

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/litci/litci/pkg/flow"
)

var epoch = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

func identity() flow.Identity {
	return flow.Identity{
		Delivery: "guid", Installation: 7, Repo: flow.Repo{ID: 11, Owner: "octo", Name: "repo"}, Event: "pull_request",
		SHA: strings.Repeat("a", 40), PullRequest: 3, Run: "aaaaaaaaaaaaaaaaaaaa",
	}
}

func job(attempt int) flow.Job {
	id := identity()
	return flow.Job{
		Identity: id, Job: flow.JobID(id.Run, 0), Index: 0, Attempt: attempt, Check: "ci / unit", Workflow: "unit",
		Image: "ubuntu:24.04", Machine: "cpu", TimeoutMinutes: 60, QueuedAt: epoch,
	}
}

func status(attempt int, state flow.State, message string) flow.Status {
	s := flow.StatusOf(job(attempt), state, epoch.Add(time.Duration(state.Rank())*time.Second))
	s.Message = message
	return s
}

// waits is a reason to wait, so many seconds after the job was queued.
func waits(attempt, seconds int, message string) flow.Status {
	s := status(attempt, flow.Queued, message)
	s.At = epoch.Add(time.Duration(seconds) * time.Second)
	return s
}

func tells(attempt, seconds int, message string) flow.Status {
	s := waits(attempt, seconds, message)
	s.State = flow.Starting
	return s
}

func result(attempt int, conclusion flow.Conclusion, exit int) flow.Result {
	r := flow.ResultOf(job(attempt), conclusion, flow.CauseExit, "", epoch.Add(time.Minute))
	r.StartedAt, r.ExitCode = epoch.Add(10*time.Second), &exit
	return r
}

func foldAny(s *jobState, msg any) bool {
	switch m := msg.(type) {
	case flow.Job:
		return foldJob(s, m)
	case flow.Status:
		return foldStatus(s, m)
	case flow.Result:
		return foldResult(s, m)
	}
	panic(fmt.Sprintf("no fold for %T", msg))
}

func TestFold(t *testing.T) {
	tests := []struct {
		name       string
		messages   []any
		state      flow.State
		attempt    int
		conclusion flow.Conclusion
		message    string
	}{
		{"a job is queued", []any{job(1)}, flow.Queued, 1, "", ""},
		{"a status may come before the job", []any{status(1, flow.Running, "go"), job(1)}, flow.Running, 1, "", "go"},
		{"a lower rank is old news", []any{status(1, flow.Running, "go"), status(1, flow.Starting, "pulling")}, flow.Running, 1, "", "go"},
		{"a result may come first", []any{result(1, flow.Success, 0), job(1), status(1, flow.Running, "go")}, flow.Ended, 1, flow.Success, ""},
		{"the first verdict is final", []any{result(1, flow.Failure, 1), result(1, flow.Success, 0)}, flow.Ended, 1, flow.Failure, ""},
		{"a higher attempt begins anew", []any{result(1, flow.Failure, 1), job(2)}, flow.Queued, 2, "", ""},
		{"an older attempt is old news", []any{job(2), result(1, flow.Failure, 1)}, flow.Queued, 2, "", ""},
		{"an ended status is no verdict", []any{job(1), status(1, flow.Ended, "")}, flow.Ended, 1, "", ""},
		{"an unknown state changes nothing", []any{job(1), status(1, "dancing", "la")}, flow.Queued, 1, "", ""},
		{"an unknown state of a newer attempt changes nothing", []any{job(1), status(2, "dancing", "la")}, flow.Queued, 1, "", ""},
		{"a newer reason to wait counts", []any{job(1), waits(1, 2, "repository's limit"), waits(1, 1, "no slot")}, flow.Queued, 1, "", "repository's limit"},
		{"of reasons at one time the smaller counts", []any{job(1), waits(1, 1, "b"), waits(1, 1, "a"), waits(1, 1, "")}, flow.Queued, 1, "", "a"},
		{"nothing to wait for any more", []any{job(1), waits(1, 1, "no slot"), waits(1, 2, "")}, flow.Queued, 1, "", ""},
		{"the job's message tells no reason", []any{waits(1, 1, "no slot"), job(1)}, flow.Queued, 1, "", "no slot"},
		{"what a started job waits for", []any{status(1, flow.Started, ""), tells(1, 30, "pulling image"), tells(1, 20, "no node")}, flow.Started, 1, "", "pulling image"},
		{"a reason to wait is old news", []any{status(1, flow.Starting, "pulling"), waits(1, 90, "no slot")}, flow.Starting, 1, "", "pulling"},
		{"an unknown verdict is a failure", []any{result(1, "neutral", 0)}, flow.Ended, 1, flow.Failure, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var s jobState
			for _, msg := range test.messages {
				foldAny(&s, msg)
			}
			if s.State != test.state || s.Attempt != test.attempt || s.Conclusion != test.conclusion || s.Message != test.message {
				t.Errorf("state %s, attempt %d, conclusion %q, message %q", s.State, s.Attempt, s.Conclusion, s.Message)
			}
		})
	}
}

// Any order of the messages, with any of them repeated, folds to the same record.
func TestFoldForgetsOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all []any
		attempts := rapid.IntRange(1, 3).Draw(t, "attempts")
		for attempt := 1; attempt <= attempts; attempt++ {
			j := job(attempt)
			for before := 1; before < attempt; before++ {
				j.Earlier = append(j.Earlier, flow.Earlier{Attempt: before, Cause: flow.CausePreempted, At: epoch.Add(time.Hour)})
			}
			all = append(all, j)
			for range rapid.IntRange(0, 2).Draw(t, "reasons") {
				all = append(all, waits(attempt, rapid.IntRange(1, 3).Draw(t, "second"), rapid.SampledFrom([]string{"", "one", "two"}).Draw(t, "reason")))
			}
			for _, state := range []flow.State{flow.Queued, flow.Starting, flow.Started, flow.Running, flow.Ended} {
				if rapid.Bool().Draw(t, "has "+string(state)) {
					s := status(attempt, state, rapid.SampledFrom([]string{"", "one", "two"}).Draw(t, "message"))
					s.Pool = "desk"
					s.Notes = rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 2).Draw(t, "notes")
					all = append(all, s)
				}
			}
			if rapid.Bool().Draw(t, "has result") {
				r := result(attempt, flow.Failure, 2)
				r.Notes = []string{"from the result"}
				r.Window = []string{"boom"}
				all = append(all, r)
			}
		}
		again := rapid.SliceOfN(rapid.SampledFrom(all), 0, 6).Draw(t, "repeated")
		order := rapid.Permutation(append(append([]any{}, all...), again...)).Draw(t, "order")

		var straight, shuffled jobState
		for _, msg := range all {
			foldAny(&straight, msg)
		}
		for _, msg := range order {
			before, _ := json.Marshal(shuffled)
			changed := foldAny(&shuffled, msg)
			after, _ := json.Marshal(shuffled)
			if changed != (string(before) != string(after)) {
				t.Fatalf("fold of %T says changed=%v:\n%s\n%s", msg, changed, before, after)
			}
		}
		if !reflect.DeepEqual(roundTrip(t, straight), roundTrip(t, shuffled)) {
			t.Fatalf("order shows:\n%+v\n%+v", straight, shuffled)
		}
	})
}

func roundTrip(t *rapid.T, s jobState) (out jobState) {
	data, err := json.Marshal(s)
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRunRefsForgetOrder(t *testing.T) {
	refs := []runRef{{"r1", "a", epoch}, {"r2", "b", epoch.Add(time.Second)}, {"r3", "a", epoch.Add(2 * time.Second)}}
	for _, order := range [][]int{{0, 1, 2}, {2, 1, 0}, {1, 2, 0}, {2, 2, 0, 1, 0}} {
		var all runRefs
		for _, i := range order {
			all.add(refs[i])
		}
		sha, runs := all.head()
		if sha != "a" || !reflect.DeepEqual(runs, []string{"r1", "r3"}) {
			t.Errorf("order %v: head %s %v", order, sha, runs)
		}
	}
}

func TestRunRefsKeepTheNewest(t *testing.T) {
	var all runRefs
	for i := range keptRuns + 5 {
		all.add(runRef{Run: fmt.Sprint(i), SHA: "a", At: epoch.Add(time.Duration(i) * time.Second)})
	}
	if len(all.Runs) != keptRuns || all.Runs[0].Run != "5" {
		t.Errorf("kept %d from %s", len(all.Runs), all.Runs[0].Run)
	}
	if all.add(runRef{Run: "old", SHA: "a", At: epoch.Add(-time.Second)}) {
		t.Error("a run older than all that are kept is news")
	}
}

func TestTextIsBounded(t *testing.T) {
	r := result(1, flow.Failure, 1)
	line := strings.Repeat("é", 5_000)
	for range 1_000 {
		r.Window, r.Tail = append(r.Window, line), append(r.Tail, line)
	}
	r.WindowLine = 10
	text := textOf(r)
	data, err := json.Marshal(text)
	if err != nil || len(data) > 300<<10 {
		t.Fatalf("text of %d bytes, %v", len(data), err)
	}
	if text.WindowLine+len(text.Window) != 10+1_000 {
		t.Errorf("window of %d lines begins at %d", len(text.Window), text.WindowLine)
	}
	var s jobState
	foldResult(&s, r)
	if n := len(strings.Join(s.Excerpt, "\n")); len(s.Excerpt) > excerptLines || n > excerptBytes || n == 0 {
		t.Errorf("excerpt of %d lines, %d bytes", len(s.Excerpt), n)
	}
}
