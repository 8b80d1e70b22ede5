package launcher

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/litci/litci/pkg/executor"
)

func TestRemovesWhatEndedLongAgo(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	l := New(w.bus, m, w.options, zaptest.NewLogger(t))
	now := time.Now()
	for id, at := range map[string]time.Time{"old": now.Add(-25 * time.Hour), "young": now.Add(-23 * time.Hour)} {
		if _, err := m.Start(t.Context(), executor.Spec{ID: id}); err != nil {
			t.Fatal(err)
		}
		m.endAt(id, at)
	}
	if _, err := m.Start(t.Context(), executor.Spec{ID: "running"}); err != nil {
		t.Fatal(err)
	}
	if err := l.sweep(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	if _, there := m.jobs["old"]; there || len(m.jobs) != 2 {
		t.Errorf("left are %v", sortedKeys(m.jobs))
	}
}

// TestStopsBetweenTwoRemovals has a sweep that is asked to stop at its first job.
func TestStopsBetweenTwoRemovals(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	l := New(w.bus, m, w.options, zaptest.NewLogger(t))
	for i := range 10 {
		id := fmt.Sprint("job", i)
		if _, err := m.Start(t.Context(), executor.Spec{ID: id}); err != nil {
			t.Fatal(err)
		}
		m.endAt(id, time.Now().Add(-25*time.Hour))
	}
	ctx, stop := context.WithCancel(t.Context())
	m.removed = stop
	if err := l.sweep(ctx, time.Now()); !errors.Is(err, context.Canceled) {
		t.Errorf("the sweep ended with %v", err)
	}
	if len(m.jobs) != 9 {
		t.Errorf("%d of 10 jobs are left", len(m.jobs))
	}
	if m.collections != 0 {
		t.Error("it went on to collect")
	}
}
