package launcher

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/executor"
)

const (
	// missedRenewals is how often a claim's renewal may fail before the claim ends: with
	// one a minute, 5 min after a crash.
	missedRenewals = 5
	// releaseTimeout bounds the release when the service stops.
	releaseTimeout = 5 * time.Second
)

// claim is the value of a pool's key in the bucket runs: the place whose launchers
// serve the pool. It keeps a second place from running the jobs of the first again.
type claim struct {
	Host   string `json:"host"`
	Folder string `json:"folder"`
	// Renewed is when each launcher of the place last claimed the pool, by the
	// launcher's own clock and random name.
	Renewed map[string]time.Time `json:"renewed"`
}

// take notes that a launcher of a place serves the pool, unless those of another
// place do.
func (c *claim) take(host, folder, id string, now time.Time, life time.Duration) bool {
	maps.DeleteFunc(c.Renewed, func(_ string, at time.Time) bool { return now.Sub(at) >= life })
	if len(c.Renewed) > 0 && (c.Host != host || c.Folder != folder) {
		return false
	}
	if c.Renewed == nil {
		c.Renewed = map[string]time.Time{}
	}
	c.Host, c.Folder = host, folder
	c.Renewed[id] = now
	return true
}

// newest is when the claim was last renewed.
func (c claim) newest() (at time.Time) {
	for _, renewed := range c.Renewed {
		if renewed.After(at) {
			at = renewed
		}
	}
	return at
}

// takenError says that another place has the pool.
type takenError struct {
	by   claim
	mine *claimant
}

func (e takenError) Error() string {
	m := e.mine
	pool := fmt.Sprintf("pool %q", m.pool)
	if m.pool == "" {
		pool = "the unnamed pool"
	}
	return fmt.Sprintf("%s is served by host %q, which keeps its jobs in %s: this launcher, on host %q with jobs in %s, cannot see them and could run one twice; "+
		"give this host's launcher and watcher a pool of their own with --pool, or stop the other launcher (its claim ends at %s unless it is renewed)",
		pool, e.by.Host, e.by.Folder, m.host, m.folder, e.by.newest().Add(m.life()).UTC().Format("15:04:05 MST"))
}

// claimant claims a pool for the place of this launcher's executor.
type claimant struct {
	bus       *bus.Bus
	bound     executor.Placed
	log       *zap.Logger
	pool, key string
	// host and folder are the place, from begin on.
	host, folder string
	// id tells this launcher from others of the place.
	id    string
	every time.Duration
}

// newClaimant returns nil for an executor that every host reaches: its pools are
// free to all.
func newClaimant(b *bus.Bus, e executor.Executor, options Options, log *zap.Logger) *claimant {
	bound, ok := e.(executor.Placed)
	if !ok {
		return nil
	}
	return &claimant{bus: b, bound: bound, log: log, pool: options.Pool, key: claimKey(options.Pool), id: rand.Text(), every: options.Renew}
}

// claimKey is a pool's key. The unnamed pool's must not be that of a pool named
// default, and no pool's name has an equals sign.
func claimKey(pool string) string {
	switch pool {
	case "":
		return "pool.default"
	case "default":
		return "pool.=default"
	}
	return "pool." + pool
}

func (c *claimant) life() time.Duration { return missedRenewals * c.every }

// renew claims the pool or fails with a takenError.
func (c *claimant) renew(ctx context.Context) error {
	taken := false
	stands, err := bus.Change(ctx, c.bus.Runs(), c.key, func(v *claim) bool {
		taken = !v.take(c.host, c.folder, c.id, time.Now().UTC(), c.life())
		return !taken
	})
	if err != nil {
		return fmt.Errorf("claim on the pool: %w", err)
	}
	if taken {
		return takenError{stands, c}
	}
	return nil
}

// begin claims the pool. It waits for a bus that is away, and fails when another
// place has the pool or ctx ends.
func (c *claimant) begin(ctx context.Context) error {
	c.host, c.folder = c.bound.Place()
	wait := 100 * time.Millisecond
	for told := false; ; {
		err := c.renew(ctx)
		var taken takenError
		if err == nil || errors.As(err, &taken) {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !told {
			told = true
			c.log.Warn("pool cannot be claimed yet", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, 5*time.Second)
	}
}

// keep renews the claim until ctx ends. It fails when another place took the pool
// because nothing was heard of this one for too long.
func (c *claimant) keep(ctx context.Context) error {
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := c.renew(ctx)
		var taken takenError
		switch {
		case errors.As(err, &taken):
			return err
		case err != nil && ctx.Err() == nil:
			c.log.Warn("pool's claim is not renewed", zap.Error(err))
		}
	}
}

// release takes back the claim of this launcher, which has stopped. The key stays:
// deleting it could delete what somebody claims meanwhile.
func (c *claimant) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	_, err := bus.Change(ctx, c.bus.Runs(), c.key, func(v *claim) bool {
		_, mine := v.Renewed[c.id]
		delete(v.Renewed, c.id)
		return mine
	})
	if err != nil {
		c.log.Warn("pool's claim is not released, it ends by itself", zap.Duration("within", c.life()), zap.Error(err))
	}
}
