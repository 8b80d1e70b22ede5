package board

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/pkg/flow"
)

func plan(n int) flow.Plan {
	p := flow.Plan{Identity: flow.Identity{Run: "run"}}
	for i := range n {
		p.Jobs = append(p.Jobs, flow.PlannedJob{Job: fmt.Sprintf("run-%d", i), Check: fmt.Sprintf("ci.yml / job %d", i)})
	}
	return p
}

func TestEveryChangeIsALine(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	b := New(Options{Out: &out, Output: true})
	b.Plan(plan(2))
	began := time.Now()
	status := flow.Status{Job: "run-1", Check: "ci.yml / job 1", State: flow.Running, At: began}
	b.Status(status)
	status.State = flow.Started // old news
	b.Status(status)
	b.Log(flow.LogBlock{Job: "run-1", Text: "one\ntwo\n"})
	b.Log(flow.LogBlock{Job: "run-1", Text: "one\ntwo\nthree\n"}) // what another watcher sends again
	if b.Finished() {
		t.Error("finished with no result")
	}
	res := flow.Result{Job: "run-1", Check: "ci.yml / job 1", Conclusion: flow.Failure, StartedAt: began, FinishedAt: began.Add(1500 * time.Millisecond)}
	b.Result(res)
	b.Result(res) // delivered twice
	b.Result(flow.Result{Job: "run-0", Check: "ci.yml / job 0", Conclusion: flow.Success})
	if !b.Finished() {
		t.Error("not finished with all results")
	}
	b.Redraw(t.Context()) // returns at once
	b.Close()
	have := regexp.MustCompile(`(?m)^ *[0-9.]+s `).ReplaceAllString(out.String(), "")
	want := `planned 2 jobs
running   ci.yml / job 1
ci.yml / job 1 | one
ci.yml / job 1 | two
ci.yml / job 1 | three
failure   ci.yml / job 1 in 1.5s  1/2
success   ci.yml / job 0  2/2
`
	if have != want {
		t.Errorf("have\n%s\nwant\n%s", have, want)
	}
}

func TestTerminalShowsWhatRunsFirstAndABar(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	b := New(Options{Out: &out, Live: true})
	b.Plan(plan(6))
	now := time.Now()
	b.Result(flow.Result{Job: "run-0", Check: "ci.yml / job 0", Conclusion: flow.Success, StartedAt: now, FinishedAt: now.Add(time.Second)})
	b.Result(flow.Result{Job: "run-1", Check: "ci.yml / job 1", Conclusion: flow.TimedOut, StartedAt: now, FinishedAt: now.Add(65 * time.Second)})
	b.Status(flow.Status{Job: "run-5", Check: "ci.yml / job 5", State: flow.Running, At: now})
	b.Log(flow.LogBlock{Job: "run-5", Text: "compiling\n\n"})
	if out.Len() > 0 {
		t.Errorf("written before the first picture: %q", out.String())
	}
	b.draw(space{2, true, true})
	words := func(text string) string { return strings.Join(strings.Fields(text), " ") }
	have := words(regexp.MustCompile(`[0-9]+\.[0-9]s`).ReplaceAllString(out.String(), "T")) // however long this took
	want := wrapOff + `●  running         T  ci.yml / job 5  compiling
✗  timed_out       1m 05s  ci.yml / job 1
   and 4 more
████████░░░░░░░░░░░░░░░░  2 of 6 jobs, 1 running, 1 not passed  T
` + wrapOn
	if have != words(want) {
		t.Errorf("have\n%s\nwant\n%s", have, words(want))
	}
	out.Reset()
	b.draw(space{6, true, true})
	if !strings.HasPrefix(out.String(), "\x1b[4A\x1b[J") {
		t.Errorf("the picture before, of four lines, is not erased: %q", out.String())
	}
	if !strings.Contains(out.String(), "✗  timed_out     1m 05s  ci.yml / job 1") || !strings.Contains(out.String(), "✓  passed          1.0s  ci.yml / job 0") {
		t.Errorf("results are not shown:\n%s", out.String())
	}
	if strings.Contains(out.String(), "\x1b[3") {
		t.Errorf("colours although none were asked for: %q", out.String())
	}
}

// The picture that stays shows what failed, however few rows there are.
func TestFailuresStayInSight(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	b := New(Options{Out: &out, Live: true})
	b.Plan(plan(40))
	now := time.Now()
	for i := range 40 {
		conclusion := flow.Success
		if i == 7 || i == 39 {
			conclusion = flow.Failure
		}
		b.Result(flow.Result{Job: fmt.Sprintf("run-%d", i), Check: fmt.Sprintf("ci.yml / job %d", i), Conclusion: conclusion, StartedAt: now, FinishedAt: now})
	}
	b.Close()
	for _, want := range []string{"ci.yml / job 7\n", "ci.yml / job 39\n", "ci.yml / job 0\n", "and 20 more"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// A picture taller than the terminal could not be erased. The cursor has a line below.
func TestPictureFitsLowTerminals(t *testing.T) {
	t.Parallel()
	for height := 2; height <= 50; height++ {
		var out strings.Builder
		b := New(Options{Out: &out, Live: true})
		b.Plan(plan(60))
		b.draw(spaceOf(height))
		jobs := strings.Count(out.String(), "queued")
		if jobs < max(1, height-4) || b.lines+1 > height || height > 3 && !strings.Contains(out.String(), fmt.Sprintf("and %d more", 60-jobs)) {
			t.Errorf("height %d: %d jobs in a picture of %d lines:\n%s", height, jobs, b.lines, out.String())
		}
	}
}

func TestElapsed(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second: "0.0s", 40 * time.Millisecond: "0.0s", 59949 * time.Millisecond: "59.9s", 59960 * time.Millisecond: "1m 00s",
		185 * time.Second: "3m 05s", 3599600 * time.Millisecond: "1h 00m", 62 * time.Minute: "1h 02m",
	} {
		if have := Elapsed(d); have != want {
			t.Errorf("%s is %s, want %s", d, have, want)
		}
	}
}
