package planner

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/litci/litci/pkg/flow"
)

func TestKeysThatNobodyActsOnAreNamed(t *testing.T) {
	const first = "name: first\nrun: 'true'\n"
	for _, c := range []struct{ keys, want string }{
		{"", ""},
		{"continue_on_error: true\nfail_fast: false\ncheckout: head\nif: success\nneeds: []\nresources: {}\nretry: {infra: 0}\n", ""},
		{"needs: [first.yml]\nconcurrency: deploy\n", "tests.yml: needs and concurrency are read but not acted on yet: its jobs start at once"},
		{"needs: [first.yml]\nif: always\nmax_parallel: 2\n", "tests.yml: needs, if and max_parallel are read but not acted on yet: its jobs start at once"},
		{"fail_fast: true\n", "tests.yml: fail_fast is read but not acted on yet: each job runs to its end"},
		{"retry: {infra: 1}\n", "tests.yml: retry is read but not acted on yet: no job is tried again"},
		{"retry: {on_exit: [75]}\n", "tests.yml: retry is read but not acted on yet: no job is tried again"},
		{"checkout: merge\n", "tests.yml: checkout: merge is read but not acted on yet: the head commit is tested"},
		{"resources: {gpus: 1}\n", "tests.yml: resources is read but not acted on yet: its jobs get what the machine has"},
		{
			"needs: [first.yml]\nretry: {infra: 2}\nresources: {cpu: 2}\n",
			"tests.yml: needs, retry and resources are read but not acted on yet: its jobs start at once, no job is tried again and its jobs get what the machine has",
		},
	} {
		set := load("first.yml", first, "tests.yml", "name: tests\nrun: 'true'\n"+c.keys)
		if len(set.Workflows) != 2 || len(set.Problems) > 0 {
			t.Fatalf("%q is not sound: %v", c.keys, set.Problems)
		}
		if got := unheeded(set.Workflows[1]); got != c.want {
			t.Errorf("%q gives\n%q, want\n%q", c.keys, got, c.want)
		}
	}
}

func TestPlanSaysWhatItsWorkflowsAskInVain(t *testing.T) {
	d := draw(asked(t, pullEvent("opened")), load(
		"a.yml", onAll+"max_parallel: 1\n",
		"b.yml", "trigger: push\nrun: 'true'\nfail_fast: true\n", // does not run
		"c.yml", onAll,
	), map[string]bool{"": true})
	if want := []string{"a.yml: max_parallel is read but not acted on yet: its jobs start at once"}; !slices.Equal(d.plan(ask{}).Notices, want) {
		t.Errorf("notices are %q", d.Notices)
	}
	one := load(".litci.yaml", "workflows:\n  - name: a\n    run: 'true'\n  - name: b\n    run: 'true'\n    needs: a\n")
	d = draw(asked(t, pullEvent("opened")), one, map[string]bool{"": true})
	if len(d.Notices) != 1 || !strings.HasPrefix(d.Notices[0], ".litci.yaml / b: needs is read") {
		t.Errorf("notices are %q; problems %v", d.Notices, d.Problems)
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
