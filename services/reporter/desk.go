package reporter

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/litci/litci/pkg/ghapp"
)

// desk sends errands to GitHub. For one thing (a check run, a comment) there is
// one flight at a time, and everybody who asked before it took off shares how
// it ends: a flight renders what is known when it starts, so it carries what all
// of them brought. Of one installation a few flights are in the air at once, and
// none takes off for which its budget has no room: verdicts before progress,
// creations first among them, since those are what GitHub grants least of.
//
// What waits for the budget stays in line, where others may join it, as long as the
// wait is short; its messages are in hand and tell the bus so. Longer waits go back
// to the bus.
type desk struct {
	width int // flights of an installation at once
	// reserve takes a part of an installation's budget or says when to ask again; nil
	// where nothing is spent.
	reserve func(installation int64, cost ghapp.Cost, urgent bool) (*ghapp.Reservation, error)
	// patience is how long progress stays in line, and how far off the next room in the
	// budget may be for anything to.
	patience time.Duration
	// crowd is what every line under way adds to the time between two flights of
	// progress: writing costs of a budget that an installation's jobs share.
	crowd time.Duration

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
	// sum errands are of many jobs, and their progress goes before that of one.
	sum bool
	// price is what a flight will ask of GitHub, as far as is known before; nil is
	// nothing.
	price func(context.Context) (ghapp.Cost, error)
	fly   func(context.Context) error
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
	cost    ghapp.Cost
	queued  time.Time
	cleared chan error // receives nil when the lane lets it go
	reserve *ghapp.Reservation
	done    chan struct{}
	err     error
}

// order is who goes first, the smallest.
func (b *batch) order() int {
	switch {
	case b.verdict && b.cost.Creations > 0:
		return 0
	case b.verdict:
		return 1
	case b.sum:
		return 2
	}
	return 3
}

// lane are the flights of one installation.
type lane struct {
	flying int
	queue  []*batch
	busy   int // lines with a runner
	again  *time.Timer
}

const (
	// patience is the desk's, crowd too; see there.
	patience = time.Minute
	crowd    = 50 * time.Millisecond
	// keptWaiting bounds what of one installation waits for its budget, so that the
	// messages of others have places in hand.
	keptWaiting = places / 2
)

// keptLines is how many idle keys are remembered for their last landing.
const keptLines = 4096

func newDesk(width int) *desk {
	return &desk{
		width: width, patience: patience, crowd: crowd,
		lines: map[string]*line{}, lanes: map[int64]*lane{}, rushed: make(chan struct{}),
	}
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
		b = &batch{errand: e, hurry: make(chan struct{}), cleared: make(chan error, 1), done: make(chan struct{})}
		// The flight lives as long as anybody waits for it, not as its first asker.
		b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
		b.verdict = false
		l.next = b
	}
	b.waiting++
	way := d.lanes[e.installation]
	if way == nil {
		way = &lane{}
		d.lanes[e.installation] = way
	}
	if e.verdict && !b.verdict {
		b.verdict = true
		close(b.hurry)
		if slices.Contains(way.queue, b) { // it stands in another place now
			d.dispatch(way)
		}
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

// rush sends off what is held back, now and from now on, as far as the budget
// allows: the service stops, and what must wait goes back to the bus.
func (d *desk) rush() {
	d.once.Do(func() { close(d.rushed) })
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, way := range d.lanes {
		d.dispatch(way)
	}
}

func (d *desk) rushing() bool {
	select {
	case <-d.rushed:
		return true
	default:
		return false
	}
}

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
		hold := time.Until(l.landed.Add(d.spread(b.every, way.busy)))
		d.mu.Unlock()

		d.linger(b, hold)
		err := guarded(b.ask)
		if err == nil {
			err = d.enter(b, way)
		}
		d.mu.Lock()
		if l.next == b {
			l.next = nil // who asks from here on needs another flight
		}
		d.mu.Unlock()
		if err == nil {
			err = b.ctx.Err()
			if err == nil {
				err = guarded(b.flight)
			}
			d.leave(b, way)
		}
		d.mu.Lock()
		l.landed = time.Now()
		d.mu.Unlock()
		b.err = err
		close(b.done)
		b.cancel()
	}
}

// ask learns what the flight will cost.
func (b *batch) ask() (err error) {
	if b.price != nil {
		b.cost, err = b.price(b.ctx)
	}
	return err
}

// flight runs the errand at the cost of its reservation.
func (b *batch) flight() error {
	ctx := b.ctx
	if b.reserve != nil {
		ctx = b.reserve.Context(ctx)
	}
	return b.fly(ctx)
}

// guarded makes a panic an error like any other, for all who share the flight.
func guarded(do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return do()
}

// spread is the time between two flights of progress while busy lines of the
// installation are under way.
func (d *desk) spread(every time.Duration, busy int) time.Duration {
	if every <= 0 {
		return 0
	}
	return every + time.Duration(busy)*d.crowd
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

// enter waits for a free place in the lane and for the budget. Without an error,
// leave must follow.
func (d *desk) enter(b *batch, way *lane) error {
	d.mu.Lock()
	b.queued = time.Now()
	way.queue = append(way.queue, b)
	d.dispatch(way)
	d.mu.Unlock()
	select {
	case err := <-b.cleared:
		return err
	case <-b.ctx.Done():
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if at := slices.Index(way.queue, b); at >= 0 { // gave up waiting
		way.queue = slices.Delete(way.queue, at, at+1)
		return b.ctx.Err()
	}
	return <-b.cleared
}

// leave gives the place back with what was not spent.
func (d *desk) leave(b *batch, way *lane) {
	if b.reserve != nil {
		b.reserve.Release()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	way.flying--
	d.dispatch(way)
}

// room is a kind of demand on a budget: where one batch found none, its like finds
// none at the same moment.
type room struct{ urgent, creates bool }

// dispatch lets go what there are places and a budget for, in order, sends back what
// would wait too long, and comes again when there may be more. The caller holds mu.
func (d *desk) dispatch(way *lane) {
	if way.again != nil {
		way.again.Stop()
		way.again = nil
	}
	slices.SortStableFunc(way.queue, func(a, b *batch) int { return a.order() - b.order() })
	full := map[room]*ghapp.LimitError{}
	now, next := time.Now(), time.Time{}
	var stay []*batch
	for _, b := range way.queue {
		if way.flying >= d.width {
			stay = append(stay, b)
			continue
		}
		limit, err := d.take(b, full)
		switch {
		case err != nil:
			b.cleared <- err
		case limit == nil:
			way.flying++
			b.cleared <- nil
		case d.tooLong(b, limit.Until, now), len(stay) >= keptWaiting, d.rushing():
			b.cleared <- limit
		default:
			stay = append(stay, b)
			if next.IsZero() || limit.Until.Before(next) {
				next = limit.Until
			}
		}
	}
	way.queue = stay
	if !next.IsZero() {
		way.again = time.AfterFunc(max(next.Sub(now), time.Millisecond), func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.dispatch(way)
		})
	}
}

// take reserves what a batch costs, or returns the limit that stands against it.
func (d *desk) take(b *batch, full map[room]*ghapp.LimitError) (*ghapp.LimitError, error) {
	if d.reserve == nil || b.cost == (ghapp.Cost{}) {
		return nil, nil
	}
	like := room{b.verdict, b.cost.Creations > 0}
	if limit := full[like]; limit != nil {
		return limit, nil
	}
	var err error
	b.reserve, err = d.reserve(b.installation, b.cost, b.verdict)
	var limit *ghapp.LimitError
	if errors.As(err, &limit) {
		full[like] = limit
		return limit, nil
	}
	return nil, err
}

// tooLong says that a batch must not stay in line until a time. Progress must not
// stay for long at all, since its messages take places that others need.
func (d *desk) tooLong(b *batch, until, now time.Time) bool {
	if until.Sub(now) > d.patience {
		return true
	}
	return !b.verdict && until.Sub(b.queued) > d.patience
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
