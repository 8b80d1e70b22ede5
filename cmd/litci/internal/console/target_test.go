package console

import (
	"strings"
	"testing"

	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
	"github.com/litci/litci/services/reporter"
)

func TestIDsAreTakenApart(t *testing.T) {
	const run = "abcdefghijklmnopqrst"
	for arg, want := range map[string]Target{
		run: {run, -1, 0}, "abc": {"abc", -1, 0}, run + "-0": {run, 0, 0}, "abc-12": {"abc", 12, 0},
		"abc-1-a3": {"abc", 1, 3}, "litci-abc-1-a3": {"abc", 1, 3},
	} {
		if have, err := Parse(arg); err != nil || have != want {
			t.Errorf("%s: %+v, %v; want %+v", arg, have, err, want)
		}
	}
	for _, arg := range []string{"", "-", "-1", "ABC", "abc1", "abc-", "abc-01", "abc--1", "abc-1-", "abc-1-a", "abc-1-a0", "abc-1-2", "abc-1-a1-b", run + "a"} {
		if have, err := Parse(arg); err == nil {
			t.Errorf("%s was taken for %+v", arg, have)
		}
	}
}

func TestTargetsPrintAsTheirIDs(t *testing.T) {
	for _, arg := range []string{"abc", "abc-1", "abc-1-a2"} {
		if target, err := Parse(arg); err != nil || target.String() != arg {
			t.Errorf("%s prints as %s, %v", arg, target, err)
		}
	}
}

// job is the first job of a run, with what the reporter and the record say.
func job(attempt int, seen flow.Conclusion, record verdict.Record) Job {
	return Job{Job: reporter.Job{Identity: flow.Identity{Run: "abc"}, Job: "abc-0", Attempt: attempt, Conclusion: seen, Check: "a.yml / A"}, Record: record}
}

func TestTheRecordDecidesWhetherAJobHasEnded(t *testing.T) {
	passed, failed := &flow.Result{Conclusion: flow.Success}, &flow.Result{Conclusion: flow.Failure}
	for name, c := range map[string]struct {
		job     Job
		attempt int
		want    flow.Conclusion
	}{
		"nothing is known":                     {job(1, "", verdict.Record{}), 1, ""},
		"the reporter is behind":               {job(1, "", verdict.Record{Attempt: 1, Result: passed}), 1, flow.Success},
		"the reporter is an attempt behind":    {job(1, flow.Failure, verdict.Record{Attempt: 2}), 2, ""},
		"the newest attempt failed":            {job(1, flow.Success, verdict.Record{Attempt: 2, Result: failed}), 2, flow.Failure},
		"the record is gone":                   {job(2, flow.TimedOut, verdict.Record{}), 2, flow.TimedOut},
		"the reporter ended what nobody ended": {job(1, flow.Failure, verdict.Record{Attempt: 1}), 1, flow.Failure},
	} {
		if have := c.job.verdict(); have != c.want || c.job.Newest() != c.attempt {
			t.Errorf("%s: attempt %d %q, want %d %q", name, c.job.Newest(), have, c.attempt, c.want)
		}
	}
}

func TestWhatIsRunAgain(t *testing.T) {
	ended := func(index int, c flow.Conclusion) Job {
		j := job(1, c, verdict.Record{Attempt: 1, Result: &flow.Result{Conclusion: c}})
		j.Index, j.Job.Job = index, flow.JobID("abc", index)
		return j
	}
	mixed := Run{"abc", []Job{ended(0, flow.Success), ended(1, flow.Failure), ended(2, flow.Cancelled), ended(3, flow.Skip)}}
	open := Run{"abc", []Job{ended(0, flow.Failure), job(1, "", verdict.Record{})}}
	open.Jobs[1].Index, open.Jobs[1].Job.Job = 1, "abc-1"
	green := Run{"abc", []Job{ended(0, flow.Success)}}
	for _, c := range []struct {
		name   string
		arg    string
		run    Run
		failed bool
		want   string // ids, or the reason
	}{
		{"a whole run", "abc", mixed, false, "abc-0 abc-1 abc-2 abc-3"},
		{"what did not pass", "abc", mixed, true, "abc-1 abc-2"},
		{"a job that passed", "abc-0", mixed, false, "abc-0"},
		{"a job that passed, if it failed", "abc-0", mixed, true, "abc-0-a1 did not fail: success."},
		{"an ended job of an open run", "abc-0", open, false, "abc-0"},
		{"a job that runs", "abc-1", open, false, "abc-1-a1 has not ended; litci cancel ends it."},
		{"an open run", "abc", open, true, "Run abc is not over: 1 job has not ended; litci cancel ends it."},
		{"a run of which nothing failed", "abc", green, true, "Nothing of run abc failed."},
	} {
		target, err := Parse(c.arg)
		if err != nil {
			t.Fatal(err)
		}
		wanted, have := again(target, c.run, c.failed)
		if have == "" {
			var ids []string
			for _, j := range wanted {
				ids = append(ids, j.Job.Job)
			}
			have = strings.Join(ids, " ")
		}
		if have != c.want {
			t.Errorf("%s: %s, want %s", c.name, have, c.want)
		}
	}
}
