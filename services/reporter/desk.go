package reporter

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

// desk sends errands to GitHub. For one thing (a check run, a comment) there is
// one flight at a time, and everybody who asked before it took off shares how
// it ends: a flight renders what is known when it starts, so it carries what all
// of them brought. Of one installation a few flights are in the air at once,
// verdicts before progress.
type desk struct {
	width int // flights of an installation at once

	mu    sync.Mutex
	lines map[string]*line
	lanes map[int64]*lane
	wait  sync.WaitGroup

	rushed chan struct{} // closed when nothing is held back any more
	once   sync.Once
}

// errand asks that one thing on GitHub be brought up to date.
type errand struct {
	key          string
	installation int64
	// verdict errands take off at once; others not sooner than every after the
	// last flight of the key, and later still where many things are under way.
	verdict bool
	every   time.Duration
	fly     func(context.Context) error
}

// line are the flights of one key.
type line struct {
	next   *batch // who asked and is not yet in the air
	busy   bool   // its runner lives
	landed time.Time
}

// batch are those who share a flight.
type batch struct {
	errand
	ctx     context.Context // ends when nobody waits any more
	cancel  context.CancelFunc
	waiting int
	hurry   chan struct{} // closed when a verdict joins
	cleared chan struct{} // closed when the lane lets it go
	done    chan struct{}
	err     error
}

// lane are the flights of one installation.
type lane struct {
	flying int
	queue  []*batch
	busy   int // lines with a runner
}

// crowd is what every line under way adds to the time between two flights of
// progress: writing costs of a budget that an installation's jobs share.
const crowd = 50 * time.Millisecond

// keptLines is how many idle keys are remembered for their last landing.
const keptLines = 4096

func newDesk(width int) *desk {
	return &desk{width: width, lines: map[string]*line{}, lanes: map[int64]*lane{}, rushed: make(chan struct{})}
}

// do waits until a flight that took off after the call has landed, and returns
// how it ended.
func (d *desk) do(ctx context.Context, e errand) error {
	d.mu.Lock()
	l := d.lines[e.key]
	if l == nil {
		d.forgetIdle()
		l = &line{}
		d.lines[e.key] = l
	}
	b := l.next
	if b == nil {
		b = &batch{errand: e, hurry: make(chan struct{}), cleared: make(chan struct{}), done: make(chan struct{})}
		// The flight lives as long as anybody waits for it, not as its first asker.
		b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
		b.verdict = false
		l.next = b
	}
	b.waiting++
	if e.verdict && !b.verdict {
		b.verdict = true
		close(b.hurry)
	}
	way := d.lanes[e.installation]
	if way == nil {
		way = &lane{}
		d.lanes[e.installation] = way
	}
	if !l.busy {
		l.busy = true
		way.busy++
		d.wait.Go(func() { d.run(l, way) })
	}
	d.mu.Unlock()

	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if b.waiting--; b.waiting == 0 {
		b.cancel()
		if l.next == b {
			l.next = nil
		}
	}
	return ctx.Err()
}

// rush sends off what is held back, now and from now on: the service stops.
func (d *desk) rush() { d.once.Do(func() { close(d.rushed) }) }

// close waits for the flights in the air; nobody may ask any more.
func (d *desk) close() { d.wait.Wait() }

// run flies the batches of a line until none is left.
func (d *desk) run(l *line, way *lane) {
	for {
		d.mu.Lock()
		b := l.next
		if b == nil {
			l.busy = false
			way.busy--
			d.mu.Unlock()
			return
		}
		hold := time.Until(l.landed.Add(spread(b.every, way.busy)))
		d.mu.Unlock()

		d.linger(b, hold)
		err := d.enter(b, way)
		d.mu.Lock()
		if l.next == b {
			l.next = nil // who asks from here on needs another flight
		}
		d.mu.Unlock()
		if err == nil {
			err = b.ctx.Err()
			if err == nil {
				err = b.flight()
			}
			d.leave(way)
		}
		d.mu.Lock()
		l.landed = time.Now()
		d.mu.Unlock()
		b.err = err
		close(b.done)
		b.cancel()
	}
}

// flight runs the errand; a panic is an error like any other, for all who share it.
func (b *batch) flight() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return b.fly(b.ctx)
}

// spread is the time between two flights of progress while busy lines of the
// installation are under way.
func spread(every time.Duration, busy int) time.Duration {
	if every <= 0 {
		return 0
	}
	return every + time.Duration(busy)*crowd
}

// linger lets progress gather until hold is over or a verdict joins.
func (d *desk) linger(b *batch, hold time.Duration) {
	if hold <= 0 {
		return
	}
	timer := time.NewTimer(hold)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-b.hurry:
	case <-d.rushed:
	case <-b.ctx.Done():
	}
}

// enter waits for a free place in the lane. Without an error, leave must follow.
func (d *desk) enter(b *batch, way *lane) error {
	d.mu.Lock()
	if way.flying < d.width {
		way.flying++
		d.mu.Unlock()
		return nil
	}
	way.queue = append(way.queue, b)
	d.mu.Unlock()
	select {
	case <-b.cleared:
	case <-b.ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if at := slices.Index(way.queue, b); at >= 0 { // gave up waiting
		way.queue = slices.Delete(way.queue, at, at+1)
		return b.ctx.Err()
	}
	return nil
}

// leave hands the place on, to a verdict if one waits.
func (d *desk) leave(way *lane) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(way.queue) == 0 {
		way.flying--
		return
	}
	at := max(0, slices.IndexFunc(way.queue, func(b *batch) bool { return b.verdict }))
	b := way.queue[at]
	way.queue = slices.Delete(way.queue, at, at+1)
	close(b.cleared)
}

// forgetIdle bounds what is remembered. The caller holds mu.
func (d *desk) forgetIdle() {
	if len(d.lines) < keptLines {
		return
	}
	for key, l := range d.lines {
		if !l.busy && l.next == nil && time.Since(l.landed) > time.Minute {
			delete(d.lines, key)
		}
	}
}
