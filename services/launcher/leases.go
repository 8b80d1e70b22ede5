package launcher

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

// alivePrefix begins the keys that say which launchers live.
const alivePrefix = "alive."

// leases keep the limits of repositories and installations over all launchers: a
// job that counts for one holds a key of the bucket slots. How many run is the
// number of those keys, which is never written down.
type leases struct {
	bus   *bus.Bus
	queue *queue
	log   *zap.Logger
	// holder names this launcher, for as long as its process lives.
	holder string
	// life is how long a holder is taken for alive that is not heard of, and grace how
	// long the leases of a dead one stay for whoever finds their jobs running.
	life, grace time.Duration

	// current is closed when all that stands in the bucket was heard of.
	current chan struct{}
	once    sync.Once
	// died wakes whoever looks after the leases of the dead.
	died chan struct{}

	mu sync.Mutex
	// alive are the holders that live, and dead since when others have not.
	alive map[string]bool
	dead  map[string]time.Time
	// told are the keys that were told since all were told for the last time.
	told map[string]struct{}
}

func newLeases(b *bus.Bus, q *queue, options Options, log *zap.Logger) *leases {
	return &leases{
		bus: b, queue: q, log: log, holder: rand.Text(), life: options.HolderLife, grace: options.HolderLife / 6,
		current: make(chan struct{}), died: make(chan struct{}, 1),
		alive: map[string]bool{}, dead: map[string]time.Time{}, told: map[string]struct{}{},
	}
}

// keepAlive says that this launcher lives until ctx ends. The key then stays for
// its life: jobs go on, and a launcher that starts again takes them over.
func (l *leases) keepAlive(ctx context.Context) {
	tick := time.NewTicker(l.life / 3)
	defer tick.Stop()
	var revision uint64
	for {
		next, err := l.bus.Slots().Lease(ctx, alivePrefix+l.holder, []byte("{}"), revision, l.life)
		switch {
		case err == nil:
			revision = next
		case errors.Is(err, bus.ErrConflict) && revision > 0:
			revision = 0 // expired while the bus was away, or the answer to a renewal was lost
			continue
		case errors.Is(err, bus.ErrConflict):
			// The answer to the first write was lost.
			if _, revision, err = l.bus.Slots().Get(ctx, alivePrefix+l.holder); err == nil {
				continue
			}
			fallthrough
		default:
			if ctx.Err() == nil {
				l.log.Warn("launcher cannot say that it lives", zap.Error(err))
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// follow hears of leases and holders until ctx ends.
func (l *leases) follow(ctx context.Context) {
	patterns := []string{repository + ".>", installation + ".>", alivePrefix + ">"}
	l.bus.Slots().Follow(ctx, bus.Following{Patterns: patterns}, l.hear)
}

func (l *leases) hear(e bus.Entry) {
	if e.Current {
		l.forgetUntold()
		l.once.Do(func() { close(l.current) })
		return
	}
	l.mu.Lock()
	l.told[e.Key] = struct{}{}
	l.mu.Unlock()
	if holder, is := strings.CutPrefix(e.Key, alivePrefix); is {
		l.mu.Lock()
		if e.Gone {
			l.mourn(holder)
		} else {
			l.alive[holder] = true
			delete(l.dead, holder)
		}
		l.mu.Unlock()
		return
	}
	s, n, ok := parseLeaseKey(e.Key)
	if !ok {
		return
	}
	var held lease
	if e.Gone || json.Unmarshal(e.Value, &held) != nil {
		l.queue.note(func(c *caps) { c.drop(s, n) })
		return
	}
	l.queue.note(func(c *caps) { c.set(s, n, held) })
}

// mourn notes that a holder died and wakes who looks after its leases.
func (l *leases) mourn(holder string) {
	delete(l.alive, holder)
	if _, known := l.dead[holder]; !known {
		l.dead[holder] = time.Now()
	}
	select {
	case l.died <- struct{}{}:
	default:
	}
}

// forgetUntold drops what was not told again after an interruption: it is gone.
func (l *leases) forgetUntold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	told := l.told
	l.told = map[string]struct{}{}
	for holder := range l.alive {
		if _, again := told[alivePrefix+holder]; !again {
			l.mourn(holder)
		}
	}
	l.queue.note(func(c *caps) {
		for s, held := range c.leases {
			for n := range held {
				if _, again := told[s.key(n)]; !again {
					c.drop(s, n)
				}
			}
		}
	})
}

// acquire takes the leases that a job counts for. Where one is not to be had it takes
// none, and names the scope that is crowded.
func (l *leases) acquire(ctx context.Context, p party, holder string) (crowded *crowd, err error) {
	attempt := attemptOf(holder)
	for _, s := range p.scopes() {
		found := crowd{scope: s}
		l.queue.look(func(c *caps) { found.age = c.age(s) })
		limit := l.queue.limitOf(s, p)
		if limit <= 0 {
			continue
		}
		got, err := l.take(ctx, s, limit, attempt)
		if err != nil || !got {
			l.release(ctx, holder)
			return &found, err
		}
	}
	return nil, nil
}

// take takes one lease of a scope: the attempt's own from before, or a free one.
func (l *leases) take(ctx context.Context, s scope, limit int, attempt string) (bool, error) {
	held := l.of(s)
	for n, other := range held {
		if other.Attempt != attempt {
			continue
		}
		if mine, err := l.takeOver(ctx, s, n, attempt); mine || err != nil {
			return mine, err
		}
	}
	value := l.value(attempt)
	for n := range limit {
		if _, taken := held[n]; taken {
			continue
		}
		_, err := l.bus.Slots().Put(ctx, s.key(n), value, 0)
		if err == nil {
			l.queue.note(func(c *caps) { c.set(s, n, lease{attempt, l.holder}) })
			return true, nil
		}
		if !errors.Is(err, bus.ErrConflict) {
			return false, fmt.Errorf("lease %s: %w", s.key(n), err)
		}
		// Somebody was faster, or the answer to this very write was lost.
		if other, _, err := l.read(ctx, s, n); err != nil {
			return false, err
		} else if other.Attempt == attempt && other.Holder == l.holder {
			return true, nil
		}
	}
	return false, nil
}

func (l *leases) value(attempt string) []byte {
	value, err := json.Marshal(lease{attempt, l.holder})
	if err != nil { // two strings always encode
		panic(err)
	}
	return value
}

// takeOver makes this launcher answer for an attempt's lease; false means that the
// attempt does not have it any more.
func (l *leases) takeOver(ctx context.Context, s scope, n int, attempt string) (bool, error) {
	for {
		held, revision, err := l.read(ctx, s, n)
		if err != nil || held.Attempt != attempt {
			return false, err
		}
		if held.Holder == l.holder {
			return true, nil
		}
		_, err = l.bus.Slots().Put(ctx, s.key(n), l.value(attempt), revision)
		if err == nil {
			l.queue.note(func(c *caps) { c.set(s, n, lease{attempt, l.holder}) })
			return true, nil
		}
		if !errors.Is(err, bus.ErrConflict) {
			return false, fmt.Errorf("lease %s: %w", s.key(n), err)
		}
	}
}

// read returns a lease as it stands, zero where there is none, and notes it.
func (l *leases) read(ctx context.Context, s scope, n int) (held lease, revision uint64, err error) {
	data, revision, err := l.bus.Slots().Get(ctx, s.key(n))
	if errors.Is(err, bus.ErrNotFound) {
		l.queue.note(func(c *caps) { c.drop(s, n) })
		return lease{}, 0, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &held)
	}
	if err != nil {
		return lease{}, 0, fmt.Errorf("lease %s: %w", s.key(n), err)
	}
	// Only what is news: every note serves the queue.
	if known := l.of(s)[n]; known != held {
		l.queue.note(func(c *caps) { c.set(s, n, held) })
	}
	return held, revision, nil
}

// of is a copy of what is known of a scope's leases.
func (l *leases) of(s scope) map[int]lease {
	held := map[int]lease{}
	l.queue.look(func(c *caps) {
		for n, one := range c.leases[s] {
			held[n] = one
		}
	})
	return held
}

// release gives back the leases of a job that has ended or will not start. What
// cannot be given back now is found by keepOrder.
func (l *leases) release(ctx context.Context, holder string) {
	attempt := attemptOf(holder)
	type place struct {
		scope
		n int
	}
	var places []place
	l.queue.look(func(c *caps) {
		for s, held := range c.leases {
			for n, one := range held {
				if one.Attempt == attempt {
					places = append(places, place{s, n})
				}
			}
		}
	})
	if len(places) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	for _, p := range places {
		if err := l.drop(ctx, p.scope, p.n, attempt); err != nil {
			l.log.Warn("lease is kept too long", zap.String("attempt", attempt), zap.Error(err))
		}
	}
}

// drop deletes the lease of an attempt.
func (l *leases) drop(ctx context.Context, s scope, n int, attempt string) error {
	held, revision, err := l.read(ctx, s, n)
	if err != nil || held.Attempt != attempt {
		return err
	}
	err = l.bus.Slots().Release(ctx, s.key(n), revision)
	if errors.Is(err, bus.ErrConflict) {
		return nil // somebody did something about it
	}
	if err != nil {
		return fmt.Errorf("lease %s: %w", s.key(n), err)
	}
	l.queue.note(func(c *caps) { c.drop(s, n) })
	return nil
}

// fate is what becomes of a lease.
type fate int

const (
	keep fate = iota
	takeover
	void
)

// circumstances are what the fate of a lease depends on.
type circumstances struct {
	// mine: this launcher answers for it; here: the job has a slot here.
	mine, here bool
	// holderDead is how long the holder has been dead, 0 while it lives.
	holderDead time.Duration
	// ended: the attempt has its verdict or gave way to another.
	ended bool
}

// fateOf decides: a lease is void when its attempt has ended, or when its holder is
// dead and nobody took it over, or when its holder, this launcher, does not know it.
func fateOf(c circumstances, grace time.Duration) fate {
	switch {
	case c.mine && !c.here, c.ended:
		return void
	case c.mine || c.holderDead <= 0:
		return keep
	case c.here:
		return takeover
	case c.holderDead >= grace:
		return void
	}
	return keep
}

// keepOrder takes over the leases of jobs that run here and whose holder is dead, and
// removes void ones, until ctx ends.
func (l *leases) keepOrder(ctx context.Context) {
	tick := time.NewTicker(max(l.grace/3, time.Millisecond))
	defer tick.Stop()
	for round := 0; ; round++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-l.died:
		}
		// Verdicts cost a look each, and matter only where somebody else forgot a lease.
		if err := l.order(ctx, round%verdictRounds == 0); err != nil && ctx.Err() == nil {
			l.log.Warn("leases", zap.Error(err))
		}
	}
}

// verdictRounds is how many rounds of keepOrder pass between two looks at verdicts.
const verdictRounds = 12

func (l *leases) order(ctx context.Context, verdicts bool) error {
	all := map[scope]map[int]lease{}
	l.queue.look(func(c *caps) {
		for s, held := range c.leases {
			all[s] = map[int]lease{}
			for n, one := range held {
				all[s][n] = one
			}
		}
	})
	l.bury(all)
	var failed []error
	for s, held := range all {
		for n, one := range held {
			c, err := l.circumstances(ctx, one, verdicts)
			if err == nil {
				switch fateOf(c, l.grace) {
				case takeover:
					_, err = l.takeOver(ctx, s, n, one.Attempt)
				case void:
					err = l.drop(ctx, s, n, one.Attempt)
				}
			}
			if err != nil {
				failed = append(failed, err)
			}
		}
	}
	return errors.Join(failed...)
}

// bury forgets the dead that hold nothing.
func (l *leases) bury(all map[scope]map[int]lease) {
	holders := map[string]bool{}
	for _, held := range all {
		for _, one := range held {
			holders[one.Holder] = true
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.dead, func(holder string, _ time.Time) bool { return !holders[holder] })
}

func (l *leases) circumstances(ctx context.Context, one lease, verdicts bool) (c circumstances, err error) {
	c.mine = one.Holder == l.holder
	c.here = l.queue.holds(holderOf(one.Attempt))
	if verdicts {
		if c.ended, err = l.ended(ctx, one.Attempt); err != nil {
			return c, err
		}
	}
	if c.mine {
		return c, nil
	}
	l.mu.Lock()
	alive := l.alive[one.Holder]
	since, dead := l.dead[one.Holder]
	if !alive && !dead {
		since = time.Now()
		l.dead[one.Holder] = since
	}
	l.mu.Unlock()
	if alive {
		return c, nil
	}
	// What was heard may be late: the key decides.
	_, _, err = l.bus.Slots().Get(ctx, alivePrefix+one.Holder)
	if err == nil {
		return c, nil
	}
	if !errors.Is(err, bus.ErrNotFound) {
		return c, fmt.Errorf("life of launcher %s: %w", one.Holder, err)
	}
	c.holderDead = max(time.Since(since), 1)
	return c, nil
}

// ended tells whether an attempt has its verdict or gave way to another.
func (l *leases) ended(ctx context.Context, attempt string) (bool, error) {
	run, index, number, ok := flow.ParseAttemptID(attempt)
	if !ok {
		return true, nil // nobody wrote that who counts
	}
	result, err := verdict.Of(ctx, l.bus, run, index, number)
	if errors.Is(err, verdict.ErrSuperseded) {
		return true, nil
	}
	return result != nil, err
}
