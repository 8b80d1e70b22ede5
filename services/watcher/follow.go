package watcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/flow"
)

const (
	// absentLooks in a row make a job lost: an executor that has just started itself may
	// not know its jobs yet.
	absentLooks = 3
	// logTries is how often the rest of an ended job's log is asked for.
	logTries = 5
	// readSize is how much of a log is read at once, in bytes.
	readSize = 32 << 10
)

// follower accompanies one attempt from its start to its end. It remembers
// nothing that another one could not find again: it reads the log from the
// beginning.
type follower struct {
	*Watcher
	status   flow.Status
	handle   executor.Handle
	timeout  time.Duration
	pipeline *pipeline
	live     live
	archive  *archive
	window   window

	// offset is how much of the raw log was read; target is how much there is.
	offset, target int64
	size           int64 // of the clean log
	dropped        int64 // by the executor, before we read it
	broken         error // why the log is not kept
	announced      bool
	stopped        time.Time
	notes          []string
}

func (w *Watcher) follower(status flow.Status, handle executor.Handle) *follower {
	f := &follower{
		Watcher: w, status: status, handle: handle, timeout: time.Duration(status.TimeoutMinutes) * time.Minute,
		archive: newArchive(w.options.Dir, w.options.HeadBytes, w.options.TailBytes),
		live:    live{bus: w.bus, job: status.Job, attempt: status.Attempt, log: w.log},
	}
	if f.timeout <= 0 {
		f.timeout = defaultTimeout
	}
	return f
}

// follow returns the job's final state once its log is read. An error means that
// this watcher cannot follow the job; another may.
func (f *follower) follow(ctx context.Context) (executor.State, error) {
	f.pipeline = newPipeline(f.options.Masks, func(line string) { f.line(ctx, line) })
	began := f.status.At
	seen, absent := false, 0
	wait := f.options.Poll
	for {
		state, err := f.executor.Observe(ctx, f.handle)
		if ctx.Err() != nil {
			return executor.State{}, ctx.Err()
		}
		if !state.StartedAt.IsZero() {
			began = state.StartedAt
		}
		overdue := time.Since(began) > f.timeout+f.options.Grace+f.options.Slack
		switch {
		case err != nil && !seen && !overdue:
			return executor.State{}, fmt.Errorf("state of %s: %w", f.handle.ID, err)
		case err != nil:
			f.log.Warn("job cannot be observed", zap.String("job", f.status.Job), zap.Error(err))
			state = executor.State{}
		case state.Phase == executor.Absent:
			if absent++; absent >= absentLooks {
				return lostState("the executor knows nothing of it any more"), nil
			}
		default:
			seen, absent = true, 0
		}
		if state.Phase == executor.Ended {
			return state, f.readRest(ctx, state)
		}
		if state.Phase == executor.Running {
			f.announce(ctx, state)
		}
		news := f.readMore(ctx, state)
		if overdue {
			if given, up := f.stop(ctx, err); up {
				return given, nil
			}
		}
		if wait = min(wait+wait/4, f.options.MaxPoll); news {
			wait = min(wait, f.options.Live)
		}
		select {
		case <-ctx.Done():
			return executor.State{}, ctx.Err()
		case <-time.After(wait):
		}
	}
}

func lostState(why string) executor.State {
	return executor.State{Phase: executor.Ended, Reason: executor.ReasonLost, Message: why, FinishedAt: time.Now().UTC()}
}

// stop ends a job that is still there behind its deadline. When that does not
// help, up is true and the state is what has to be believed.
func (f *follower) stop(ctx context.Context, observed error) (state executor.State, up bool) {
	now := time.Now().UTC()
	if f.stopped.IsZero() {
		f.stopped = now
		f.log.Warn("job is over its deadline and is stopped", zap.String("job", f.status.Job))
		if err := f.executor.Stop(ctx, f.handle, f.options.Grace); err != nil {
			f.log.Warn("job cannot be stopped", zap.String("job", f.status.Job), zap.Error(err))
		}
	}
	if now.Sub(f.stopped) <= f.options.Grace+f.options.Slack {
		return executor.State{}, false
	}
	if observed != nil {
		return lostState("the executor cannot be reached"), true
	}
	f.notes = append(f.notes, "the job did not end when it was stopped, and may still run")
	return executor.State{Phase: executor.Ended, Reason: executor.ReasonTimeout, FinishedAt: now}, true
}

// announce says once that the script runs.
func (f *follower) announce(ctx context.Context, state executor.State) {
	if f.announced {
		return
	}
	running := f.status
	running.State, running.At, running.Message, running.Handle = flow.Running, state.StartedAt, state.Message, nil
	if running.At.IsZero() {
		running.At = time.Now().UTC()
	}
	if err := bus.Publish(ctx, f.bus, flow.States.OfPool(f.options.Pool), running); err != nil {
		f.log.Warn("running status will be sent later", zap.String("job", f.status.Job), zap.Error(err))
		return
	}
	f.announced = true
}

// readMore reads what the log has now, and tells whether there was anything.
func (f *follower) readMore(ctx context.Context, state executor.State) bool {
	if state.Phase != executor.Running || (state.LogSize > 0 && state.LogSize == f.offset) {
		return false
	}
	f.target = state.LogSize
	n, err := f.read(ctx)
	if err != nil && ctx.Err() == nil {
		f.log.Debug("log will be read later", zap.String("job", f.status.Job), zap.Error(err))
	}
	f.live.send(ctx, false)
	return n > 0
}

// readRest reads an ended job's log to its end. A log that cannot be read takes
// nothing from the verdict.
func (f *follower) readRest(ctx context.Context, state executor.State) error {
	f.target = state.LogSize
	wait := f.options.Poll
	for try := 1; ; {
		n, err := f.read(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && n == 0:
			f.pipeline.flush()
			return nil
		case err == nil:
			continue
		case try == logTries:
			f.log.Warn("log cannot be read", zap.String("job", f.status.Job), zap.Error(err))
			f.pipeline.note("[litci: the rest of the log could not be read]")
			f.notes = append(f.notes, "the log could not be read to its end")
			return nil
		}
		try++
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait *= 2
	}
}

// read takes what the log has now, behind what was read before; n counts dropped
// bytes too.
func (f *follower) read(ctx context.Context) (n int64, err error) {
	log, err := f.executor.Logs(ctx, f.handle, f.offset)
	var gap *executor.GapError
	if errors.As(err, &gap) && gap.Next > f.offset {
		missing := gap.Next - f.offset
		f.pipeline.note(fmt.Sprintf("[litci: %d bytes of the log were not kept]", missing))
		f.offset += missing
		f.dropped += missing
		return missing, nil
	}
	if err != nil {
		return 0, err
	}
	defer log.Close()
	buffer := f.buffers.Get().(*[readSize]byte)
	defer f.buffers.Put(buffer)
	for ctx.Err() == nil {
		got, err := log.Read(buffer[:])
		f.pipeline.write(buffer[:got])
		f.offset += int64(got)
		n += int64(got)
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
	return n, ctx.Err()
}

// line takes a finished line of the log.
func (f *follower) line(ctx context.Context, line string) {
	f.window.add(line)
	line += "\n"
	f.size += int64(len(line))
	f.live.add(ctx, line, f.target-f.offset > maxBehind)
	if f.broken == nil {
		f.broken = f.archive.write(line)
	}
}
