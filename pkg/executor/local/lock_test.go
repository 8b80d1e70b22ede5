package local

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestAskingDoesNotTakeTheLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	ask := func(want bool) {
		t.Helper()
		if held, err := lockHeld(path); err != nil || held != want {
			t.Errorf("held is %t, %v, want %t", held, err, want)
		}
	}
	ask(false) // no file
	l, err := tryLock(path, true)
	if err != nil {
		t.Fatal(err)
	}
	ask(true)
	if _, err := tryLock(path, true); !errors.Is(err, errHeld) {
		t.Errorf("second lock: %v", err)
	}
	ask(true)
	l.release()
	ask(false)
	ask(false)
	again, err := tryLock(path, false)
	if err != nil {
		t.Fatal(err)
	}
	again.release()
}

func TestLockOfARemovedFileIsNone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	old, err := tryLock(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer old.release()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	l, err := tryLock(path, true)
	if err != nil {
		t.Fatalf("lock of the new file: %v", err)
	}
	defer l.release()
	if same, err := stillAt(path, old.file); err != nil || same {
		t.Errorf("the removed file is at its path: %t, %v", same, err)
	}
}

func TestWaitForALockEndsWithItsContext(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	l, err := tryLock(path, true)
	if err != nil {
		t.Fatal(err)
	}
	defer l.release()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := waitLock(ctx, path, true); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting: %v", err)
	}
}
