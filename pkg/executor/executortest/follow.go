package executortest

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/litci/litci/pkg/executor"
)

// waitLimit bounds every wait; it is only reached by what is broken.
const waitLimit = 2 * time.Minute

// Start starts a job that must not be refused.
func Start(t testing.TB, e executor.Executor, job executor.Spec) executor.Handle {
	t.Helper()
	h, err := e.Start(t.Context(), job)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// Follow observes a job until it is as wanted.
func Follow(t testing.TB, e executor.Executor, h executor.Handle, wanted func(executor.State) bool) executor.State {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		state, err := e.Observe(ctx, h)
		if err != nil {
			t.Fatal(err)
		}
		if wanted(state) {
			return state
		}
		select {
		case <-ctx.Done():
			t.Fatalf("job %s is %+v", h.ID, state)
		case <-tick.C:
		}
	}
}

// Until observes a job until it is in the phase.
func Until(t testing.TB, e executor.Executor, h executor.Handle, phase executor.Phase) executor.State {
	t.Helper()
	return Follow(t, e, h, func(s executor.State) bool { return s.Phase == phase })
}

// Output is the log of a job from its beginning.
func Output(t testing.TB, e executor.Executor, h executor.Handle) string {
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
