package docker

import (
	"context"
	"crypto/rand"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/pkg/executor"
)

// waitLimit bounds every wait; it is only reached by what is broken.
const waitLimit = 2 * time.Minute

// until observes a job until it is in the phase.
func until(t testing.TB, e *Executor, h executor.Handle, phase executor.Phase) executor.State {
	t.Helper()
	var state executor.State
	wait(t, "job to be "+string(phase), func() bool {
		var err error
		if state, err = e.Observe(t.Context(), h); err != nil {
			t.Fatal(err)
		}
		return state.Phase == phase
	})
	return state
}

// wait polls until something has happened.
func wait(t testing.TB, what string, happened func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !happened() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited for %s: %v", what, ctx.Err())
		case <-tick.C:
		}
	}
}

// output is the log of a job from its beginning.
func output(t testing.TB, e *Executor, h executor.Handle) string {
	t.Helper()
	r, err := e.Logs(t.Context(), h, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// job is one of a script.
func job(script string) executor.Spec {
	return executor.Spec{
		ID: "litci-" + strings.ToLower(rand.Text()[:20]) + "-0-a1", Hash: "h", Image: standIn,
		Script: []byte(script), Timeout: waitLimit, Grace: waitLimit,
	}
}

// begin starts a job.
func begin(t testing.TB, e *Executor, spec executor.Spec) executor.Handle {
	t.Helper()
	h, err := e.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// run runs a job to its end.
func run(t testing.TB, e *Executor, spec executor.Spec) (executor.State, string) {
	t.Helper()
	h := begin(t, e, spec)
	state := until(t, e, h, executor.Ended)
	return state, output(t, e, h)
}
