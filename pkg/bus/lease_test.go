package bus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
)

func TestLeasesExpireUnlessRenewed(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	ctx := t.Context()
	slots := b.Slots()
	entries := follow(t, slots, bus.Following{Patterns: []string{"repo.>"}})
	if e := receive(t, entries); !e.Current {
		t.Fatalf("first entry is %+v", e)
	}
	rev, err := slots.Lease(ctx, "repo.1.0", []byte("a"), 0, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if e := receive(t, entries); e.Key != "repo.1.0" || e.Gone {
		t.Errorf("told %+v", e)
	}
	if _, err := slots.Lease(ctx, "repo.1.0", []byte("b"), 0, time.Minute); !errors.Is(err, bus.ErrConflict) {
		t.Fatalf("a held lease: %v", err)
	}
	if rev, err = slots.Lease(ctx, "repo.1.0", []byte("a"), rev, time.Second); err != nil {
		t.Fatal(err)
	}
	// Whoever is slow is told how a key is, and not how it was.
	for gone := false; !gone; {
		e := receive(t, entries)
		if gone = e.Gone; e.Key != "repo.1.0" {
			t.Errorf("told %+v", e)
		}
	}
	if _, err := slots.Lease(ctx, "repo.1.0", []byte("a"), rev, time.Minute); !errors.Is(err, bus.ErrConflict) {
		t.Errorf("renewal of an expired lease: %v", err)
	}
	if rev, err = slots.Lease(ctx, "repo.1.0", []byte("b"), 0, time.Minute); err != nil {
		t.Fatalf("a lease that expired is free: %v", err)
	}
	if err := slots.Release(ctx, "repo.1.0", rev-1); !errors.Is(err, bus.ErrConflict) {
		t.Errorf("release of somebody else's lease: %v", err)
	}
	if err := slots.Release(ctx, "repo.1.0", rev); err != nil {
		t.Error(err)
	}
	if _, err := slots.Lease(ctx, "repo.1.0", []byte("c"), 0, time.Minute); err != nil {
		t.Errorf("a released lease is free: %v", err)
	}
}

func TestFollowingSurvivesAnInterruption(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	ctx := t.Context()
	f := bus.Following{Patterns: []string{"cancel.>"}}
	for range 2 { // the same Following again, as after an interruption
		entries := follow(t, b.Runs(), f)
		for !receive(t, entries).Current {
			continue
		}
		if _, err := bus.Change(ctx, b.Runs(), "cancel.x", func(n *int) bool { *n++; return true }); err != nil {
			t.Fatal(err)
		}
		if e := receive(t, entries); e.Key != "cancel.x" {
			t.Errorf("told %+v", e)
		}
	}
}

// Who stops reading a bucket in the middle leaves nothing behind; TestMain looks.
func TestStoppedFollowingLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	for i := range 2000 {
		if _, err := b.Runs().Put(t.Context(), fmt.Sprintf("many.%d", i), []byte("x"), 0); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	b.Runs().Follow(ctx, bus.Following{Patterns: []string{"many.*"}}, func(bus.Entry) { cancel() })
}

// follow hands over what Follow tells until the test ends.
func follow(t *testing.T, kv *bus.KV, f bus.Following) <-chan bus.Entry {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	entries, ended := make(chan bus.Entry, 64), make(chan struct{})
	go func() { defer close(ended); kv.Follow(ctx, f, func(e bus.Entry) { entries <- e }) }()
	t.Cleanup(func() { cancel(); <-ended })
	return entries
}
