package launcher

import (
	"testing"
	"time"

	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

// The plan of these tests: build.yml has jobs 0 and 1, of which 1 may fail; test.yml
// has 2, 3 and 4; deploy.yml has 5.
func aPlan() []flow.PlannedJob {
	return []flow.PlannedJob{
		{Workflow: "build.yml"},
		{Workflow: "build.yml", Optional: true},
		{File: "test.yml"},
		{File: "test.yml"},
		{File: "test.yml"},
		{Workflow: "deploy.yml"},
	}
}

func TestNeeds(t *testing.T) {
	const ok, failed, lost, skipped, late = flow.Success, flow.Failure, flow.Cancelled, flow.Skip, flow.TimedOut
	for name, test := range map[string]struct {
		needs       []string
		always      bool
		conclusions map[int]flow.Conclusion
		wait, never string
	}{
		"nothing":                     {nil, false, nil, "", ""},
		"what has not ended":          {[]string{"build.yml"}, false, map[int]flow.Conclusion{0: ok}, "waits for build.yml", ""},
		"what succeeded":              {[]string{"build.yml"}, false, map[int]flow.Conclusion{0: ok, 1: ok}, "", ""},
		"what may fail":               {[]string{"build.yml"}, false, map[int]flow.Conclusion{0: ok, 1: failed}, "", ""},
		"what may fail and was late":  {[]string{"build.yml"}, false, map[int]flow.Conclusion{0: ok, 1: late}, "", ""},
		"what may fail and was ended": {[]string{"build.yml"}, false, map[int]flow.Conclusion{0: ok, 1: lost}, "", "Not run because build.yml was cancelled."},
		"what failed":                 {[]string{"build.yml"}, false, map[int]flow.Conclusion{0: failed, 1: ok}, "", "Not run because build.yml failed."},
		"what was skipped":            {[]string{"build.yml"}, false, map[int]flow.Conclusion{0: skipped, 1: ok}, "", "Not run because build.yml was skipped."},
		"what was late":               {[]string{"build.yml"}, false, map[int]flow.Conclusion{0: late, 1: ok}, "", "Not run because build.yml ran out of time."},
		"the second of two": {
			[]string{"build.yml", "test.yml"}, false, map[int]flow.Conclusion{0: ok, 1: ok, 2: ok, 3: ok}, "waits for test.yml", "",
		},
		"a failure waits for the rest": {
			[]string{"build.yml", "test.yml"}, false, map[int]flow.Conclusion{0: failed, 1: ok}, "waits for test.yml", "",
		},
		"what is not planned":                     {[]string{"other.yml"}, false, nil, "", "Not run because other.yml did not run."},
		"always, after a failure":                 {[]string{"build.yml"}, true, map[int]flow.Conclusion{0: failed, 1: lost}, "", ""},
		"always, before the end":                  {[]string{"build.yml"}, true, map[int]flow.Conclusion{0: failed}, "waits for build.yml", ""},
		"always, where nothing is planned before": {[]string{"other.yml"}, true, nil, "", ""},
	} {
		named := func(workflow string) []int { return byWorkflow(aPlan())[workflow] }
		of := func(i int) outcome { return outcome{conclusion: test.conclusions[i]} }
		got := needsStep(aPlan(), named, of, flow.Options{Needs: test.needs, Always: test.always})
		if got.wait.text != test.wait || got.never != test.never {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestMaxParallel(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	over := outcome{conclusion: flow.Failure}
	for name, test := range map[string]struct {
		outcomes    map[int]outcome
		index, most int
		wait        bool
	}{
		"the first":                            {nil, 2, 1, false},
		"the second of one":                    {nil, 3, 1, true},
		"the second of two":                    {nil, 3, 2, false},
		"the third of two":                     {nil, 4, 2, true},
		"after the first has ended":            {map[int]outcome{2: over}, 3, 1, false},
		"after the second has":                 {map[int]outcome{3: over}, 4, 2, false},
		"other workflows do not count":         {nil, 5, 1, false},
		"run again, while the others wait":     {map[int]outcome{2: {again: at}}, 2, 2, true},
		"run again, after the others":          {map[int]outcome{2: {again: at}, 3: over, 4: over}, 2, 1, false},
		"before one that is run again":         {map[int]outcome{2: {again: at}}, 3, 1, false},
		"run again behind one run again":       {map[int]outcome{2: {again: at.Add(1)}, 3: {again: at}, 4: over}, 2, 1, true},
		"run again at the same moment, before": {map[int]outcome{2: {again: at}, 3: {again: at}, 4: over}, 2, 1, false},
	} {
		of := func(i int) outcome { return test.outcomes[i] }
		workflow := workflowOf(aPlan()[test.index])
		got := parallelStep(workflow, byWorkflow(aPlan())[workflow], of, test.index, test.most)
		if (got.wait.text != "") != test.wait || got.never != "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestOutcomeOfARecord(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, test := range map[string]struct {
		record verdict.Record
		want   outcome
	}{
		"nothing":     {verdict.Record{}, outcome{}},
		"ended":       {verdict.Record{Attempt: 1, Result: &flow.Result{Conclusion: flow.Success}}, outcome{conclusion: flow.Success}},
		"tried again": {verdict.Record{Attempt: 2, Earlier: []flow.Earlier{{Attempt: 1, At: at}}}, outcome{}},
		"run again":   {verdict.Record{Attempt: 3, Earlier: []flow.Earlier{{Attempt: 1, Rerun: true, At: at}, {Attempt: 2, At: at.Add(1)}}}, outcome{again: at}},
	} {
		if got := outcomeOf(test.record); got != test.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
