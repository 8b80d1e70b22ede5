package localrun

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/cmd/litci/internal/board"
	"github.com/litci/litci/pkg/flow"
)

func TestConclusion(t *testing.T) {
	t.Parallel()
	red, green := Job{Conclusion: flow.Failure}, Job{Conclusion: flow.Success}
	may := Job{Conclusion: flow.Failure, Optional: true}
	problem := func(severity string) []flow.Problem { return []flow.Problem{{Severity: severity}} }
	for _, c := range []struct {
		name   string
		report Report
		want   flow.Conclusion
	}{
		{"nothing", Report{}, flow.Skip},
		{"all green", Report{Jobs: []Job{green, green}}, flow.Success},
		{"one red", Report{Jobs: []Job{green, red}}, flow.Failure},
		{"a red one that may", Report{Jobs: []Job{green, may}}, flow.Success},
		{"a timeout", Report{Jobs: []Job{{Conclusion: flow.TimedOut}}}, flow.Failure},
		{"a broken file", Report{Jobs: []Job{green}, Problems: problem("error")}, flow.Failure},
		{"a broken file alone", Report{Problems: problem("error")}, flow.Failure},
		{"a warning", Report{Jobs: []Job{green}, Problems: problem("warning")}, flow.Success},
		{"interrupted", Report{Jobs: []Job{green}, Interrupted: true}, flow.Cancelled},
	} {
		c.report.finish(time.Second)
		if c.report.Conclusion != c.want {
			t.Errorf("%s: %s, want %s", c.name, c.report.Conclusion, c.want)
		}
		if passed := c.want == flow.Success || c.want == flow.Skip; c.report.Passed() != passed {
			t.Errorf("%s: passed is %t", c.name, c.report.Passed())
		}
	}
}

func TestJobsThatDidNotRunAreToldFromStoppedOnes(t *testing.T) {
	t.Parallel()
	jobs := []flow.Job{{Job: "r-0", Check: "a"}, {Job: "r-1", Check: "b"}, {Job: "r-2", Check: "c"}}
	r := newReport(flow.Plan{}, jobs, nil)
	began := time.Now()
	r.take([]board.Job{
		{ID: "r-0", Result: &flow.Result{Conclusion: flow.Cancelled, Cause: flow.CauseStopped, StartedAt: began, FinishedAt: began.Add(time.Second)}},
		{ID: "r-1", State: flow.Running, Started: began},
		{ID: "r-2", State: flow.Queued},
	})
	var words []string
	for _, job := range r.Jobs {
		word, _ := job.result()
		words = append(words, word)
	}
	if have := strings.Join(words, ", "); have != "stopped, stopped, not run" {
		t.Errorf("the jobs are %s", have)
	}
}

// A job that wrote nothing says no less why it failed.
func TestEveryJobThatDidNotPassHasItsReason(t *testing.T) {
	t.Parallel()
	began := time.Now()
	r := Report{Jobs: []Job{
		{Check: "green", Conclusion: flow.Success, Cause: flow.CauseExit, Message: "exit 0", StartedAt: began},
		{Check: "quiet", Conclusion: flow.Failure, Cause: flow.CauseExit, Message: "exit 3", StartedAt: began},
		{Check: "slow", Conclusion: flow.TimedOut, Message: "timed out after 1m0s", StartedAt: began, Window: []string{"waiting"}, WindowLine: 1},
		{Check: "refused", Conclusion: flow.Failure, Cause: flow.CauseRefused, Message: "refused: no such machine"},
		{Check: "wordless", Conclusion: flow.Failure, Cause: flow.CauseInfrastructure},
		{Check: "late", Conclusion: flow.Cancelled, Cause: flow.CauseStopped, Message: "not begun"},
	}}
	var out strings.Builder
	if err := r.Print(&out, false); err != nil {
		t.Fatal(err)
	}
	reasons, _, _ := strings.Cut(out.String(), "Job ")
	want := "quiet: exit 3\n\nslow: timed out after 1m0s\n\n    1 | waiting\n\nrefused: refused: no such machine\n\nwordless: infrastructure\n\n"
	if reasons != want {
		t.Errorf("have\n%s\nwant\n%s", reasons, want)
	}
}

// A log may hold what XML may not.
func TestJUnitIsSound(t *testing.T) {
	t.Parallel()
	window := []string{"a\tb \x01 <&> ]]> \ufffe \xff", "second"}
	r := Report{
		Jobs: []Job{
			{Check: `ci.yml / "a" <b>`, File: "ci.yml", Conclusion: flow.Failure, Cause: flow.CauseExit, Message: "exit 1", Window: window, StartedAt: time.Now()},
			{Check: "late", File: "ci.yml", Conclusion: flow.Cancelled, Cause: flow.CauseStopped},
		},
		Skipped: []flow.Skipped{{Check: "docs", Reason: "no changed file"}},
	}
	var out strings.Builder
	if err := r.JUnit(&out); err != nil {
		t.Fatal(err)
	}
	for decoder := xml.NewDecoder(strings.NewReader(out.String())); ; {
		if _, err := decoder.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
	}
	for _, want := range []string{`tests="3" failures="1" skipped="2"`, "&lt;&amp;&gt; ]]&gt; \ufffd \ufffd\nsecond</failure>", `<skipped message="no changed file">`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in\n%s", want, out.String())
		}
	}
}

func TestEndingOfALog(t *testing.T) {
	t.Parallel()
	var e ending
	line := strings.Repeat("x", 99) + "\n"
	for range 2 * maxLog / len(line) {
		if _, err := io.WriteString(&e, line); err != nil {
			t.Fatal(err)
		}
	}
	text := e.text()
	if len(text) > maxLog || len(text) < maxLog-2*len(line) || strings.Trim(text, "x\n") != "" || len(text)%len(line) != 0 {
		t.Errorf("%d bytes are kept, beginning with %q", len(text), text[:20])
	}
	short := ending{}
	_, _ = io.WriteString(&short, "one\ntwo") // never fails
	if short.text() != "one\ntwo" {
		t.Errorf("a short log is kept as %q", short.text())
	}
}
