package verdict_test

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

func result(attempt int, message string) flow.Result {
	run := flow.RunID(1, 2, "push", "main", "sha", "")
	return flow.Result{
		Identity: flow.Identity{Run: run}, Job: flow.JobID(run, 4), Index: 4, Attempt: attempt,
		Conclusion: flow.Failure, Cause: flow.CauseExit, Message: message, FinishedAt: time.Now(), Tail: []string{"<a>"},
	}
}

func TestTheFirstVerdictStands(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	r := result(1, "")
	if v, err := verdict.Of(t.Context(), b, r.Run, r.Index, 1); v != nil || err != nil {
		t.Fatalf("before any verdict: %v, %v", v, err)
	}
	var all sync.WaitGroup
	stand := make([]flow.Result, 8)
	for i := range stand {
		all.Go(func() {
			var err error
			if stand[i], err = verdict.Settle(t.Context(), b, result(1, fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	v, err := verdict.Of(t.Context(), b, r.Run, r.Index, 1)
	if err != nil || v == nil {
		t.Fatalf("verdict %v, %v", v, err)
	}
	for _, s := range stand {
		if s.Message != v.Message || !s.FinishedAt.Equal(v.FinishedAt) {
			t.Errorf("somebody was told %+v, and %+v stands", s, v)
		}
	}
}

func TestANewerAttemptSupersedes(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	for _, attempt := range []int{1, 2} {
		if _, err := verdict.Settle(t.Context(), b, result(attempt, "")); err != nil {
			t.Fatal(err)
		}
	}
	r := result(1, "late")
	if _, err := verdict.Settle(t.Context(), b, r); !errors.Is(err, verdict.ErrSuperseded) {
		t.Errorf("a late verdict gave %v", err)
	}
	if _, err := verdict.Of(t.Context(), b, r.Run, r.Index, 1); !errors.Is(err, verdict.ErrSuperseded) {
		t.Errorf("the old attempt gave %v", err)
	}
	if v, err := verdict.Of(t.Context(), b, r.Run, r.Index, 3); v != nil || err != nil {
		t.Errorf("the next attempt has %v, %v", v, err)
	}
	if err := verdict.Publish(t.Context(), b, r); err != nil {
		t.Errorf("publishing a late verdict gave %v", err)
	}
	if _, err := bus.Latest(t.Context(), b, flow.Results); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("a late verdict was published: %v", err)
	}
}

func TestPublishesWhatStands(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	first, err := verdict.Settle(t.Context(), b, result(1, "first"))
	if err != nil {
		t.Fatal(err)
	}
	if err := verdict.Publish(t.Context(), b, result(1, "second")); err != nil {
		t.Fatal(err)
	}
	got, err := bus.Latest(t.Context(), b, flow.Results)
	if err != nil || got.Message != "first" || !got.FinishedAt.Equal(first.FinishedAt) || !reflect.DeepEqual(got.Tail, first.Tail) {
		t.Errorf("published %+v, %v", got, err)
	}
}
