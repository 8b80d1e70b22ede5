package reporter

import (
	"strings"
	"testing"

	"github.com/litci/litci/pkg/flow"
)

func TestComment(t *testing.T) {
	r := result(1, flow.Failure, 1)
	r.FirstError, r.Window = "E: @boom", []string{"```", "E: @boom", "</details><script>"}
	c := renderComment(11, 3, identity().SHA, []runView{viewOf(2, stateOf(result(1, flow.Success, 0)), stateOf(r))}, testLinks)
	if !strings.HasPrefix(c.body, "<!-- litci:11:3 -->\n") || c.verdict != "failure" || !c.worth {
		t.Errorf("%+v", c)
	}
	for _, want := range []string{
		"❌ litci: 1 failed, 1 passed",
		"| `ci / unit (0)` | ✅ passed | 50s | [report](https://ci.example/runs/aaaaaaaaaaaaaaaaaaaa/",
		"<code>Failed: exit 1 — E: @boom</code>",
		"````text\n```\nE: @boom\n</details><script>\n````\n",
		"`" + identity().SHA + "`",
	} {
		if !strings.Contains(c.body, want) {
			t.Errorf("lacks %q:\n%s", want, c.body)
		}
	}
}

func TestCommentEscapesNames(t *testing.T) {
	v := viewOf(1, stateOf(result(1, flow.Failure, 1)))
	evil := "ci / </code></summary><img src=x> @team | `x`"
	v.Plan.Jobs[0].Check = evil
	s := v.states[0]
	s.Excerpt = []string{"x"}
	v.states[0] = s
	v.Plan.Notices = []string{"ask @team <b>"}
	c := renderComment(11, 3, identity().SHA, []runView{v}, testLinks)
	outside := c.body
	if strings.Contains(outside, "<img src=x> @team |") || strings.Contains(outside, "> ask @team") || strings.Contains(outside, "<summary><code>ci / </code>") {
		t.Errorf("markup passes:\n%s", c.body)
	}
	if !strings.Contains(c.body, "``ci / </code></summary><img src=x> @team \\| `x` ``") && !strings.Contains(c.body, "`` ci / </code></summary><img src=x> @team \\| `x` ``") {
		t.Errorf("the name is not a code span:\n%s", c.body)
	}
}

func TestCommentIsCutWithALink(t *testing.T) {
	v := viewOf(300)
	for i := range 300 {
		r := result(1, flow.Failure, 1)
		r.Window = strings.Split(strings.Repeat(strings.Repeat("é`", 50)+"\n", 30), "\n")
		s := stateOf(r)
		s.Index = i
		v.states[i] = s
	}
	c := renderComment(11, 3, identity().SHA, []runView{v}, testLinks)
	if len(c.body) > maxComment || len(c.body) < maxComment/2 {
		t.Errorf("%d bytes", len(c.body))
	}
	if !strings.Contains(c.body, "more failed jobs: [see the whole run](https://ci.example/runs/") || strings.Count(c.body, "<details>") != strings.Count(c.body, "</details>") {
		t.Errorf("cut badly: %s", c.body[len(c.body)-500:])
	}
}

func TestCommentIsBegunOnlyWithSomethingToTell(t *testing.T) {
	end := func(cause flow.Cause) runView {
		var v runView
		foldEnd(&v.runState, flow.Result{Identity: identity(), Cause: cause, FinishedAt: epoch})
		return v
	}
	for cause, worth := range map[flow.Cause]bool{flow.CauseNotTriggered: false, flow.CauseGate: true, flow.CauseConfig: true} {
		if c := renderComment(11, 3, identity().SHA, []runView{end(cause)}, testLinks); c.worth != worth {
			t.Errorf("%s: worth %v", cause, c.worth)
		}
	}
	if c := renderComment(11, 3, identity().SHA, []runView{viewOf(2, stateOf(result(1, flow.Failure, 1)))}, testLinks); c.verdict != "" {
		t.Errorf("verdict %q while a job is open", c.verdict)
	}
}

func TestCommentQuotesConfigErrors(t *testing.T) {
	v := viewOf(1, stateOf(result(1, flow.Success, 0)))
	v.Plan.Problems = []flow.Problem{{File: "ci.yml", Line: 4, Column: 1, Severity: "error", Message: "a tab indents; use <spaces>"}}
	c := renderComment(11, 3, identity().SHA, []runView{v}, testLinks)
	if !strings.Contains(c.body, "ci.yml:4:1: a tab indents; use <spaces>") || !strings.Contains(c.body, "```") {
		t.Errorf("%s", c.body)
	}
}
