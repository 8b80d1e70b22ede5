package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lock is an open file description lock: it belongs to the open file, so the
// kernel drops it when the process dies, it holds between goroutines too, and it
// can be asked about without being taken.
type lock struct{ file *os.File }

// errHeld says that somebody else has the lock.
var errHeld = errors.New("lock is held")

// lockPoll is how often a waiter asks again. The kernel can wait by itself, but
// then nothing could interrupt it.
const lockPoll = 10 * time.Millisecond

func wholeFile() *unix.Flock_t { return &unix.Flock_t{Type: unix.F_WRLCK} }

// tryLock takes the lock at path or returns errHeld. With create the file is made
// when it is missing.
func tryLock(path string, create bool) (*lock, error) {
	flags := os.O_RDWR
	if create {
		flags |= os.O_CREATE
	}
	for {
		file, err := os.OpenFile(path, flags, 0o600)
		if err != nil {
			return nil, err
		}
		err = setLock(file)
		if err == nil {
			var same bool
			if same, err = stillAt(path, file); err == nil && same {
				return &lock{file}, nil
			}
		}
		file.Close()
		if err != nil {
			return nil, err
		}
		// The folder was removed while we opened the file: look at the new one.
	}
}

func setLock(file *os.File) error {
	for {
		err := unix.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, wholeFile())
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
			return errHeld
		case err != nil:
			return fmt.Errorf("lock %s: %w", file.Name(), err)
		default:
			return nil
		}
	}
}

// stillAt says whether the open file is the one that path names.
func stillAt(path string, file *os.File) (bool, error) {
	opened, err := file.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return os.SameFile(opened, named), nil
}

// waitLock takes the lock at path, waiting for it as long as ctx allows.
func waitLock(ctx context.Context, path string, create bool) (*lock, error) {
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		l, err := tryLock(path, create)
		if !errors.Is(err, errHeld) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("lock %s: %w", path, ctx.Err())
		case <-tick.C:
		}
	}
}

// lockHeld asks whether anybody holds the lock at path, without taking it: a
// probe that took it could make a supervisor that just starts fail.
func lockHeld(path string) (bool, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	query := wholeFile()
	for {
		err := unix.FcntlFlock(file.Fd(), unix.F_OFD_GETLK, query)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("lock %s: %w", path, err)
		}
		return query.Type != unix.F_UNLCK, nil
	}
}

// release gives the lock up.
func (l *lock) release() { l.file.Close() }
