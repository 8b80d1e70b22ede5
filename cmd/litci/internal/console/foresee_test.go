package console

import (
	"context"
	"strings"
	"testing"

	"github.com/litci/litci/cmd/litci/internal/terminal"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/services/planner"
)

// foresees is a planner that answers by the delivery.
type foresees map[string]planner.Preview

func (f foresees) Preview(_ context.Context, e flow.Event) (planner.Preview, error) {
	if e.Replay == "" {
		return planner.Preview{Ignored: "it was planned before"}, nil
	}
	return f[e.Delivery], nil
}

func TestForeseenPlans(t *testing.T) {
	outcome := flow.Outcome{
		Skipped:  []flow.Skipped{{Check: "docs.yml / docs", Reason: "no changed file is selected"}},
		Problems: []flow.Problem{{File: "a.yml", Line: 1, Column: 2, Severity: "warning", Message: "old"}},
		Notices:  []string{"A notice."},
	}
	p := foresees{
		"a": {
			Plan: &flow.Plan{Outcome: outcome}, Jobs: []flow.Job{{Check: "a.yml / A\x1b[1m", Image: "ubuntu", Machine: "CPU", TimeoutMinutes: 60, Pool: "gpu"}},
			Ends: []string{"old"},
		},
		"b": {Result: &flow.Result{Message: "No workflow wants it."}},
		"c": {Ignored: "stale"},
		"d": {Again: []string{"run-0-a2"}, Replanned: []string{"other"}},
		"e": {},
	}
	var deliveries []Stored
	for i, guid := range []string{"a", "b", "c", "d", "e"} {
		deliveries = append(deliveries, Stored{
			Sequence: uint64(i + 1),
			Event:    flow.Event{Delivery: guid, Kind: "push", Repo: flow.Repo{Owner: "octo", Name: "hello"}},
		})
	}
	all, err := Foresee(t.Context(), p, deliveries)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := PrintForeseen(all, &out, terminal.Screen{}); err != nil {
		t.Fatal(err)
	}
	want := `1  a  push of octo/hello: starts 1 job
  JOB           IMAGE   MACHINE  TIMEOUT  POOL
  a.yml / A[1m  ubuntu  CPU      60 min   gpu
  docs.yml / docs: skipped: no changed file is selected
  a.yml:1:2: warning: old
  A notice.
  ends run old
2  b  push of octo/hello: starts nothing: No workflow wants it.
3  c  push of octo/hello: ignored: stale
4  d  push of octo/hello: runs again
  begins run-0-a2
  plans run other again
5  e  push of octo/hello: starts nothing
`
	if out.String() != want {
		t.Errorf("printed\n%swant\n%s", out.String(), want)
	}
}
