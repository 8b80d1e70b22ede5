package watcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/cancellation"
	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/failpoint"
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
	// callTimeout bounds a call of the executor, and each read of a log: a connection
	// that hangs must not keep a job from being stopped.
	callTimeout = 15 * time.Second
	// readTurn is how long a running job's log is read before the job is looked at again.
	readTurn = time.Second
)

// follower accompanies one attempt from its start to its end. It remembers
// nothing that another one could not find again: it reads the log from the
// beginning.
type follower struct {
	*Watcher
	circumstances
	status   flow.Status
	handle   executor.Handle
	pipeline *pipeline
	live     live
	archive  *archive
	window   window
	// asked brings the request for the job's end, once somebody asks.
	asked <-chan cancellation.Request
	cut   cut
	told  telling

	// seen says that the executor knew the job; absent counts the looks in a row that
	// did not find it, the first of them at missedAt.
	seen     bool
	absent   int
	missedAt time.Time
	// counted is the state under which the job is counted.
	counted string
	// startedAt is when the script began; began the same, or the time of the start as
	// long as that is not known.
	startedAt, began time.Time
	// offset is how much of the raw log was read; target is how much there is.
	offset, target int64
	size           int64 // of the clean log
	dropped        int64 // by the executor, before we read it
	broken         error // why the log is not kept
	unsure         bool  // the job may still run
	notes          []string
	imaged         bool // the image is among the notes
}

func (w *Watcher) follower(status *flow.Status, handle executor.Handle, asked <-chan cancellation.Request) *follower {
	f := &follower{
		Watcher: w, status: *status, handle: handle, asked: asked, began: status.At,
		circumstances: circumstances{timeout: time.Duration(status.TimeoutMinutes) * time.Minute},
		archive:       newArchive(w.options.Dir, w.options.HeadBytes, w.options.TailBytes),
		live:          live{bus: w.bus, job: status.Job, attempt: status.Attempt, timeout: w.blockTimeout, log: w.log},
	}
	if f.timeout <= 0 {
		f.timeout = defaultTimeout
	}
	return f
}

// follow returns the job's final state once its log is read. An error means that
// this watcher cannot follow the job; another may.
func (f *follower) follow(ctx context.Context) (*executor.State, error) {
	f.pipeline = newPipeline(f.masks.fork(), func(line string) { f.line(ctx, line) })
	wait := f.options.Poll
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		ended, news, err := f.look(ctx)
		if ended != nil || err != nil {
			return ended, err
		}
		if wait = min(wait+wait/4, f.options.MaxPoll); news || !f.cut.since.IsZero() {
			wait = min(wait, f.options.Live)
		}
		// Jobs that were taken up together are not looked at together for ever.
		timer.Reset(wait - rand.N(wait/8+1))
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case request := <-f.asked:
			f.ask(request)
		case <-timer.C:
		}
	}
}

// look does once what there is to do for a job. ended is its final state; news says
// that its log has grown.
func (f *follower) look(ctx context.Context) (ended *executor.State, news bool, err error) {
	state, err := f.observe(ctx)
	if ctx.Err() != nil {
		return nil, false, ctx.Err()
	}
	late := f.overdue(ctx, state.Phase)
	switch {
	case err != nil && !f.seen && !late && !f.hopeless():
		return nil, false, fmt.Errorf("state of %s: %w", f.handle.ID, err)
	case err != nil:
		f.log.Warn("job cannot be observed", zap.String("job", f.status.Job), zap.Error(err))
	case state.Phase == executor.Absent:
		if f.absent++; f.absent == 1 {
			f.missedAt = time.Now()
		}
		if f.absent >= absentLooks && time.Since(f.missedAt) >= f.options.Lost {
			return lostState("the executor knows nothing of it any more"), false, nil
		}
	case state.Phase == executor.Ended:
		return &state, false, f.readRest(ctx, state.LogSize)
	default:
		if !f.seen {
			failpoint.Hit("watcher.holding")
		}
		f.seen, f.absent = true, 0
	}
	f.late = f.late || late && f.request == nil
	if f.request != nil || f.late {
		if given := f.press(ctx, err); given != nil {
			return given, false, nil
		}
	}
	switch {
	case f.request != nil || f.late:
		f.count(jobStopping)
	case state.Phase == executor.Running:
		f.count(jobRunning)
	}
	f.tell(ctx, &state)
	return nil, f.readMore(ctx, &state), nil
}

// observe asks the executor how the job is.
func (f *follower) observe(ctx context.Context) (executor.State, error) {
	looking, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	state, err := f.executor.Observe(looking, f.handle)
	if err != nil {
		return executor.State{}, err
	}
	if state.Image != "" && !f.imaged {
		f.imaged = true
		f.notes = append(f.notes, "it ran in "+cutText(clean([]byte(state.Image)), maxExcerpt))
	}
	if !state.StartedAt.IsZero() {
		f.startedAt, f.began = state.StartedAt, state.StartedAt
	}
	return state, nil
}

// The states under which jobs are counted while they are followed.
const (
	jobStarting = "starting"
	jobRunning  = "running"
	jobStopping = "stopping"
)

// count counts the job under a state, and no longer under the one before; under none
// for "".
func (f *follower) count(state string) {
	if state == f.counted {
		return
	}
	if f.counted != "" {
		f.jobs.WithLabelValues(f.counted).Dec()
	}
	if f.counted = state; state != "" {
		f.jobs.WithLabelValues(state).Inc()
	}
}

// ask takes a request for the job's end; the first one counts.
func (f *follower) ask(request cancellation.Request) {
	if f.request == nil {
		f.request = &request
	}
}

func lostState(why string) *executor.State {
	return &executor.State{Phase: executor.Ended, Reason: executor.ReasonLost, Message: why, FinishedAt: time.Now().UTC()}
}

// readMore reads what the log has now, and tells whether there was anything.
func (f *follower) readMore(ctx context.Context, state *executor.State) bool {
	if state.Phase != executor.Running || (state.LogSize > 0 && state.LogSize == f.offset) {
		return false
	}
	f.target = state.LogSize
	n, err := f.read(ctx, true)
	if err != nil && ctx.Err() == nil {
		f.log.Debug("log will be read later", zap.String("job", f.status.Job), zap.Error(err))
	}
	f.live.send(ctx, false)
	return n > 0
}

// readRest reads an ended job's log to its end. A log that cannot be read takes
// nothing from the verdict.
func (f *follower) readRest(ctx context.Context, size int64) error {
	f.target = size
	wait := f.options.Poll
	for try := 1; ; {
		n, err := f.read(ctx, false)
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
// bytes too. While the job runs it breaks off in between: a job may write faster
// than anybody reads.
func (f *follower) read(ctx context.Context, running bool) (n int64, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	hanging := time.AfterFunc(callTimeout, cancel)
	defer hanging.Stop()
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
	for began := time.Now(); ctx.Err() == nil; {
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
		hanging.Reset(callTimeout)
		if running && (time.Since(began) > readTurn || f.toStop()) {
			return n, nil
		}
	}
	return n, ctx.Err()
}

// toStop tells whether somebody asked for the job's end and nothing was done yet.
func (f *follower) toStop() bool {
	select {
	case request := <-f.asked:
		f.ask(request)
	default:
	}
	return f.request != nil && f.cut.since.IsZero()
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
