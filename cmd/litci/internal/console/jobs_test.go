package console

import (
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/cmd/litci/internal/terminal"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/services/reporter"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func listed() []reporter.Job {
	id := flow.Identity{
		Repo: flow.Repo{Owner: "octo", Name: "hello"}, SHA: "fa2438de46f436a773e00516ac8ccb2e4d21cff7", Run: "abcdefghijklmnopqrst",
		PullRequest: 7,
	}
	push := id
	push.PullRequest, push.Ref, push.Run = 0, "refs/heads/main", "bbcdefghijklmnopqrst"
	return []reporter.Job{
		{
			Identity: id, Job: id.Run + "-0", Attempt: 1, Check: "tests.yml / Tests (one)", State: flow.Queued,
			Message: "no free slot: 4 of 4 taken", QueuedAt: now.Add(-90 * time.Second),
		},
		{
			Identity: id, Job: id.Run + "-1", Index: 1, Attempt: 2, Check: "tests.yml / Tests (two)\x1b[31m", State: flow.Running,
			QueuedAt: now.Add(-time.Hour), BeganAt: now.Add(-5 * time.Second),
		},
		{
			Identity: push, Job: push.Run + "-0", Attempt: 1, Check: "docs.yml / Docs", State: flow.Ended, Conclusion: flow.Failure,
			Message: "exit 3", FirstError: "error: it is bad", QueuedAt: now.Add(-3 * time.Hour), BeganAt: now.Add(-2*time.Hour - 3*time.Minute), FinishedAt: now.Add(-2 * time.Hour),
		},
	}
}

func TestFilters(t *testing.T) {
	for _, c := range []struct {
		name   string
		filter Filter
		want   string // the indices of listed
		old    string // those that are too old
	}{
		{"none", Filter{}, "012", "2"},
		{"all", Filter{All: true}, "012", ""},
		{"a repository, in any case", Filter{Repo: "Octo/Hello"}, "012", "2"},
		{"another repository", Filter{Repo: "octo/other"}, "", ""},
		{"a pull request", Filter{PR: 7}, "01", ""},
		{"a run", Filter{Run: "bbc"}, "2", ""},
		{"a commit", Filter{SHA: "fa24"}, "012", ""},
		{"a state", Filter{States: []string{"queued"}}, "0", ""},
		{"states", Filter{States: []string{"running", "failed"}}, "12", "2"},
		{"open", Filter{States: []string{"open"}}, "01", ""},
		{"ended", Filter{States: []string{"ended"}, All: true}, "2", ""},
		{"passed", Filter{States: []string{"passed"}}, "", ""},
	} {
		wanted, old := "", ""
		for i, j := range listed() {
			if !c.filter.wants(j) {
				continue
			}
			wanted += string(rune('0' + i))
			if c.filter.old(j, now) {
				old += string(rune('0' + i))
			}
		}
		if wanted != c.want || old != c.old {
			t.Errorf("%s: wanted %q, old %q; want %q, %q", c.name, wanted, old, c.want, c.old)
		}
		if err := c.filter.Check(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestListingAsTable(t *testing.T) {
	var out, words strings.Builder
	l := Listing{Jobs: listed(), LeftOut: 3, short: 7, now: now}
	if err := l.Print(&out, &words, terminal.Screen{}, false); err != nil {
		t.Fatal(err)
	}
	want := `JOB           FOR              COMMIT   CHECK                        STATE    TIME    DETAIL
abcdefg-0     octo/hello#7     fa2438d  tests.yml / Tests (one)      queued   1m 30s  no free slot: 4 of 4 taken
abcdefg-1-a2  octo/hello#7     fa2438d  tests.yml / Tests (two)[31m  running  5.0s
bbcdefg-0     octo/hello@main  fa2438d  docs.yml / Docs              failed   3m 00s  exit 3: error: it is bad
`
	if out.String() != want {
		t.Errorf("table is\n%swant\n%s", out.String(), want)
	}
	if want := "Not shown: 3 jobs that ended more than an hour ago; --all shows all.\n"; words.String() != want {
		t.Errorf("words are %q, want %q", words.String(), want)
	}
}

func TestTablesGiveWayToScreens(t *testing.T) {
	var out strings.Builder
	l := Listing{Jobs: listed(), short: 7, now: now}
	if err := l.Print(&out, &out, terminal.Screen{Width: 80, Color: true}, false); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		for _, code := range []string{"\x1b[1m", "\x1b[0m", "\x1b[31m", "\x1b[33m", "\x1b[90m"} {
			line = strings.ReplaceAll(line, code, "")
		}
		if n := len([]rune(strings.TrimRight(line, " \n"))); n > 80 {
			t.Errorf("%d wide: %s", n, line)
		}
	}
	if !strings.Contains(out.String(), "…") || !strings.Contains(out.String(), "\x1b[31mfailed\x1b[0m") {
		t.Errorf("table is\n%s", out.String())
	}
}

func TestShortIDsTellAllRunsApart(t *testing.T) {
	runs := map[string]bool{"abcdefghijklmnopqrst": true, "abcdefghijkkmnopqrst": true, "b": true}
	if distinct(runs, 11) || !distinct(runs, 12) {
		t.Error("eleven letters tell them apart, or twelve do not")
	}
}
