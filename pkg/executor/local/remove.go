package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/executor"
)

// trashPrefix begins the names of folders that are being deleted; no job's id
// begins so.
const trashPrefix = ".trash-"

// Remove deletes everything of an ended job but its final state, which stays as a
// tombstone: a Start that comes late finds it and does not run the job again, and
// Observe goes on to tell how it ended. Collect removes the tombstone. A removal
// that has begun does not stop when ctx ends: nobody would finish it.
func (e *Executor) Remove(ctx context.Context, h executor.Handle) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("job %s: %w", h.ID, err)
	}
	e.reap()
	f, err := e.find(h)
	if err != nil {
		return err
	}
	l, err := waitLock(ctx, f.at(launchLock), false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("job %s: %w", h.ID, err)
	}
	defer l.release()
	state, err := e.observe(f)
	if err != nil {
		return err
	}
	if state.Phase == executor.Running {
		return fmt.Errorf("job %s: %w", h.ID, executor.ErrRunning)
	}
	// A supervisor that is just starting holds this lock, or will find the tombstone;
	// one that has recorded the end holds it for a moment more.
	var run *lock
	if state.Phase == executor.Ended {
		run, err = waitLock(ctx, f.at(runLock), true)
	} else {
		run, err = tryLock(f.at(runLock), true)
	}
	if errors.Is(err, errHeld) {
		return fmt.Errorf("job %s: %w", h.ID, executor.ErrRunning)
	}
	if err != nil {
		return fmt.Errorf("job %s: %w", h.ID, err)
	}
	defer run.release()
	if err := e.bury(f); err != nil {
		return err
	}
	e.log.Debug("job removed", zap.String("job", h.ID))
	return nil
}

// bury leaves the tombstone first and deletes then, so that a crash in between
// leaves no job that could run again. Both locks are held.
func (e *Executor) bury(f folder) error {
	s, err := f.status()
	if err != nil {
		return err
	}
	if s == nil {
		prepared, err := f.record()
		if err != nil {
			return err
		}
		if prepared == nil {
			return f.clear(launchLock, runLock)
		}
		// Prepared and never begun: it is over all the same.
		s = &status{ID: prepared.ID, Hash: prepared.Hash, Boot: e.boot, State: executor.State{
			Phase: executor.Ended, Reason: executor.ReasonLost,
			Message: "the job was removed before it began", FinishedAt: time.Now().UTC(),
		}}
	}
	if !s.Removed {
		s.Removed = true
		if err := f.write(stateFile, s); err != nil {
			return err
		}
	}
	return f.clear(launchLock, runLock, stateFile)
}

// Collect deletes the jobs that ended before a time, tombstones too, and
// preparations that a launcher left unfinished before it. It returns how many
// jobs it deleted. What runs, what is younger, and what is not a job's folder stays.
// The time must be longer ago than any message that starts a job can live, or the
// job could run again.
func (e *Executor) Collect(ctx context.Context, before time.Time) (int, error) {
	e.reap()
	entries, err := os.ReadDir(e.dir)
	if err != nil {
		return 0, fmt.Errorf("state directory: %w", err)
	}
	collected := 0
	var failed []error
	for _, entry := range entries {
		if ctx.Err() != nil {
			return collected, errors.Join(append(failed, ctx.Err())...)
		}
		if !entry.IsDir() {
			continue
		}
		path := filepath.Join(e.dir, entry.Name())
		if strings.HasPrefix(entry.Name(), trashPrefix) {
			if err := removeTree(path); err != nil {
				failed = append(failed, err)
			}
			continue
		}
		if !ValidID(entry.Name()) {
			continue
		}
		done, err := e.collect(folder{path}, before)
		if err != nil {
			failed = append(failed, err)
		}
		if done {
			collected++
		}
	}
	return collected, errors.Join(failed...)
}

// collect deletes one job if it is over for long enough. A folder that somebody
// works on is left for the next time.
func (e *Executor) collect(f folder, before time.Time) (bool, error) {
	l, err := tryLock(f.at(launchLock), false)
	if errors.Is(err, errHeld) || errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("job %s: %w", f.id(), err)
	}
	defer l.release()
	if over, err := e.overBefore(f, before); err != nil || !over {
		return false, err
	}
	run, err := tryLock(f.at(runLock), true)
	if errors.Is(err, errHeld) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("job %s: %w", f.id(), err)
	}
	defer run.release()
	// It may have begun, and ended, before we had the lock.
	if over, err := e.overBefore(f, before); err != nil || !over {
		return false, err
	}
	// Out of the way in one step: half a folder would be a job without its record.
	trash := filepath.Join(e.dir, trashPrefix+f.id())
	if err := removeTree(trash); err != nil {
		return false, fmt.Errorf("job %s: %w", f.id(), err)
	}
	if err := os.Rename(f.path, trash); err != nil {
		return false, fmt.Errorf("job %s: %w", f.id(), err)
	}
	e.log.Debug("job collected", zap.String("job", f.id()))
	return true, removeTree(trash)
}

func (e *Executor) overBefore(f folder, before time.Time) (bool, error) {
	s, err := f.status()
	if err != nil {
		return false, err
	}
	if s != nil {
		state, err := e.observe(f)
		return err == nil && state.Phase == executor.Ended && state.FinishedAt.Before(before), err
	}
	info, err := os.Stat(f.path)
	if err != nil {
		return false, fmt.Errorf("job %s: %w", f.id(), err)
	}
	return info.ModTime().Before(before), nil
}
