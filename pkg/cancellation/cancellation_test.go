package cancellation_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/cancellation"
	"github.com/litci/litci/pkg/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

var run = strings.Repeat("a", 20)

func request(id string) cancellation.Request {
	return cancellation.Request{ID: id, Reason: "Superseded by abc1234.", At: time.Unix(1, 0).UTC()}
}

func TestRequestForARunConcernsTheAttemptsBeforeIt(t *testing.T) {
	t.Parallel()
	b, ctx := bustest.New(t), t.Context()
	if err := cancellation.Run(ctx, b, run, request("one")); err != nil {
		t.Fatal(err)
	}
	concerned := func(index, attempt int, want bool) {
		t.Helper()
		r, err := cancellation.Of(ctx, b, run, index, attempt)
		if err != nil || (r != nil) != want {
			t.Errorf("attempt %d of job %d: %v, %v", attempt, index, r, err)
		}
	}
	concerned(0, 1, true)
	concerned(3, 2, true)
	if err := cancellation.Spare(ctx, b, run, 3, 2, time.Unix(2, 0)); err != nil {
		t.Fatal(err)
	}
	concerned(3, 1, true)
	concerned(3, 2, false)
	concerned(3, 3, false)
	concerned(0, 1, true)
	if err := cancellation.Run(ctx, b, run, request("one")); err != nil { // the same, delivered again
		t.Fatal(err)
	}
	concerned(3, 2, false)
	if err := cancellation.Run(ctx, b, run, request("two")); err != nil { // somebody asks anew
		t.Fatal(err)
	}
	concerned(3, 2, true)
}

func TestOnlyWhatWasAskedBeforeAWishIsSpared(t *testing.T) {
	t.Parallel()
	b, ctx := bustest.New(t), t.Context()
	spared := func(index int, wished time.Time) bool {
		t.Helper()
		if err := cancellation.Spare(ctx, b, run, index, 2, wished); err != nil {
			t.Fatal(err)
		}
		r, err := cancellation.Of(ctx, b, run, index, 2)
		if err != nil {
			t.Fatal(err)
		}
		return r == nil
	}
	if err := cancellation.Run(ctx, b, run, request("own")); err != nil {
		t.Fatal(err)
	}
	if spared(0, time.Unix(1, 0)) || !spared(0, time.Unix(2, 0)) {
		t.Error("of litci's own requests their time decides")
	}
	for id, skew := range map[string]time.Duration{"behind": -time.Hour, "ahead": time.Hour} {
		r := request(id)
		r.By, r.At = "ops", time.Now().Add(skew)
		before := time.Now()
		if err := cancellation.Run(ctx, b, run, r); err != nil {
			t.Fatal(err)
		}
		after := time.Now()
		// The first one that is spared writes the request again, at another time.
		if spared(0, before) || !spared(0, after) || !spared(1, after) || spared(2, before) {
			t.Errorf("a person's clock counts that is %s", id)
		}
	}
}

func TestRequestForAnAttemptConcernsNoOther(t *testing.T) {
	t.Parallel()
	b, ctx := bustest.New(t), t.Context()
	if err := cancellation.Job(ctx, b, run, 1, 1, request("one")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		index, attempt int
		want           bool
	}{{1, 1, true}, {1, 2, false}, {0, 1, false}} {
		r, err := cancellation.Of(ctx, b, run, c.index, c.attempt)
		if err != nil || (r != nil) != c.want {
			t.Errorf("%+v: %v, %v", c, r, err)
		}
	}
	if r, err := cancellation.OfRun(ctx, b, run); r != nil || err != nil {
		t.Errorf("the run: %v, %v", r, err)
	}
}

func TestBoardTellsHoldersOfWhatConcernsThem(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	var board cancellation.Board
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); board.Run(ctx, b) }()
	defer func() { cancel(); <-ended }()

	first, done1 := board.Watch(run, 0, 1)
	defer done1()
	second, done2 := board.Watch(run, 1, 1)
	defer done2()
	if err := cancellation.Job(t.Context(), b, run, 1, 1, request("job")); err != nil {
		t.Fatal(err)
	}
	if r := <-second; r.ID != "job" {
		t.Errorf("told %+v", r)
	}
	if err := cancellation.Run(t.Context(), b, run, request("run")); err != nil {
		t.Fatal(err)
	}
	if r := <-first; r.ID != "run" {
		t.Errorf("told %+v, which concerns another job", r)
	}
}
