package bus_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
)

func TestKVKeepsOneWriter(t *testing.T) {
	b := bustest.New(t)
	ctx, kv := t.Context(), b.Runs()
	if _, _, err := kv.Get(ctx, "a.b"); !errors.Is(err, bus.ErrNotFound) {
		t.Fatalf("absent key: %v", err)
	}
	rev, err := kv.Put(ctx, "a.b", []byte("1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(ctx, "a.b", []byte("2"), 0); !errors.Is(err, bus.ErrConflict) {
		t.Fatalf("second create: %v", err)
	}
	if _, err := kv.Put(ctx, "a.b", []byte("2"), rev+1); !errors.Is(err, bus.ErrConflict) {
		t.Fatalf("wrong revision: %v", err)
	}
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 5 {
				if _, err := bus.Change(ctx, kv, "count", func(n *int) bool { *n++; return true }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	n, err := bus.Change(ctx, kv, "count", func(*int) bool { return false })
	if err != nil || n != 40 {
		t.Fatalf("40 increments gave %d, %v", n, err)
	}
	for i := range 3 {
		if _, err := kv.Put(ctx, fmt.Sprintf("check.run.%d", i), []byte("x"), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := kv.Delete(ctx, "check.run.1"); err != nil {
		t.Fatal(err)
	}
	found, err := kv.List(ctx, "check.run.*")
	if err != nil || len(found) != 2 {
		t.Fatalf("list gave %d keys, %v", len(found), err)
	}
	none, err := kv.List(ctx, "nothing.*")
	if err != nil || len(none) != 0 {
		t.Fatalf("empty list gave %d keys, %v", len(none), err)
	}
}

func TestObjectsAreReplacedWhole(t *testing.T) {
	b := bustest.New(t)
	ctx, logs := t.Context(), b.Logs()
	if _, err := logs.Get(ctx, "x"); !errors.Is(err, bus.ErrNotFound) {
		t.Fatalf("absent object: %v", err)
	}
	if _, err := logs.Age(ctx, "x"); !errors.Is(err, bus.ErrNotFound) {
		t.Fatalf("age of an absent object: %v", err)
	}
	for _, size := range []int{0, 5, 3 << 20} {
		want := bytes.Repeat([]byte("z"), size)
		before := time.Now()
		if err := logs.Put(ctx, "x", bytes.NewReader(want)); err != nil {
			t.Fatal(err)
		}
		// Storing again makes it young again.
		if age, err := logs.Age(ctx, "x"); err != nil || age < 0 || age > time.Since(before) {
			t.Errorf("an object of %s is %s old, %v", time.Since(before), age, err)
		}
		r, err := logs.Get(ctx, "x")
		if err != nil {
			t.Fatal(err)
		}
		have, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(have, want) {
			t.Errorf("%d bytes came back as %d, %v", len(want), len(have), err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}
