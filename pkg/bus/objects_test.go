package bus_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
)

// Whoever reads a value may be a slow one: an archive goes to a machine far away.
func TestAValueIsReadForLongerThanACallMayTake(t *testing.T) {
	t.Parallel()
	const patience = 5 * time.Second
	want := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	b := bustest.Connect(t, bustest.Server(t), bus.Config{Name: "test", Patience: patience})
	if err := b.Sources().Put(t.Context(), "11/sha", bytes.NewReader(want)); err != nil {
		t.Fatal(err)
	}
	value, err := b.Sources().Get(t.Context(), "11/sha")
	if err != nil {
		t.Fatal(err)
	}
	defer value.Close()
	got := make([]byte, 100_000)
	if _, err := io.ReadFull(value, got); err != nil {
		t.Fatal(err)
	}
	<-time.After(patience + 500*time.Millisecond)
	rest, err := io.ReadAll(value)
	if got = append(got, rest...); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
	}
}

func TestAReadingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	if err := b.Logs().Put(t.Context(), "x", bytes.NewReader(make([]byte, 1<<20))); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	value, err := b.Logs().Get(ctx, "x")
	if err != nil {
		t.Fatal(err)
	}
	defer value.Close()
	if _, err := io.ReadFull(value, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if n, err := io.Copy(io.Discard, value); !errors.Is(err, context.Canceled) {
		t.Errorf("%d bytes more, %v", n, err)
	}
	if _, err := b.Logs().Get(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("opened: %v", err)
	}
}
