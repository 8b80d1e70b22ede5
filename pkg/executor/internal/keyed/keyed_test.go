package keyed

import (
	"context"
	"errors"
	"sync"
	"testing"
)

func TestOneAtATimeUnderAKey(t *testing.T) {
	t.Parallel()
	var l Lock
	var all sync.WaitGroup
	inside := 0 // the lock alone guards it; the race detector watches
	for range 50 {
		all.Go(func() {
			give, err := l.Take(t.Context(), "a")
			if err != nil {
				t.Error(err)
				return
			}
			defer give()
			if inside++; inside != 1 {
				t.Errorf("%d work under one key", inside)
			}
			inside--
		})
	}
	all.Wait()
	if l.Held("a") {
		t.Error("the key is still held")
	}
}

func TestKeysDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	var l Lock
	give, err := l.Take(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	other, err := l.Take(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	other()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Take(ended, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("a held key with an ended context: %v", err)
	}
	if !l.Held("a") {
		t.Error("the key is not held")
	}
	give()
}
