package launcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/litci/litci/pkg/bus"
)

// limitsKey is the key of the operator's limits in the bucket slots, where keys do
// not expire.
const limitsKey = "limits"

// Limits are the numbers of jobs at once that an operator changes while launchers
// run. They hold at once for what waits; what runs goes on. What is not set here is
// as each launcher's own settings say.
type Limits struct {
	// Slots are the slots of each launcher of a pool, by the pool's name, which is
	// empty for the unnamed one. With none, a launcher starts nothing more.
	Slots map[string]int `json:"slots,omitempty"`
	// Repository is the limit of each repository over all executors, and Repositories
	// those of single ones by owner/name; 0 is no limit.
	Repository   *int           `json:"repository,omitempty"`
	Repositories map[string]int `json:"repositories,omitempty"`
	// Installation and Installations are the same for installations, by their ids.
	Installation  *int           `json:"installation,omitempty"`
	Installations map[string]int `json:"installations,omitempty"`
}

// ReadLimits returns the operator's limits; they are empty until somebody sets one.
func ReadLimits(ctx context.Context, b *bus.Bus) (Limits, error) {
	data, _, err := b.Slots().Get(ctx, limitsKey)
	if errors.Is(err, bus.ErrNotFound) {
		return Limits{}, nil
	}
	if err != nil {
		return Limits{}, fmt.Errorf("limits: %w", err)
	}
	return parseLimits(data)
}

// ChangeLimits lets fn alter the operator's limits and returns those that now
// stand. fn may be called again when somebody else changes them meanwhile.
func ChangeLimits(ctx context.Context, b *bus.Bus, fn func(*Limits)) (Limits, error) {
	limits, err := bus.Change(ctx, b.Slots(), limitsKey, func(l *Limits) bool { fn(l); return true })
	if err != nil {
		return Limits{}, fmt.Errorf("limits: %w", err)
	}
	return limits, nil
}

func parseLimits(data []byte) (Limits, error) {
	var limits Limits
	if err := json.Unmarshal(data, &limits); err != nil {
		return Limits{}, fmt.Errorf("limits: %w", err)
	}
	return limits, nil
}

// bounds are the limits that hold for a launcher: the operator's, and below them
// its own settings.
type bounds struct {
	pool                            string
	slots, repository, installation int
	set                             Limits
}

func boundsOf(o Options) bounds {
	return bounds{pool: o.Pool, slots: max(o.Slots, 1), repository: max(o.RepositoryJobs, 0), installation: max(o.InstallationJobs, 0)}
}

// ofMachine is how many jobs run at once here.
func (b bounds) ofMachine() int {
	if n, set := b.set.Slots[b.pool]; set {
		return max(n, 0)
	}
	return b.slots
}

// ofScope is how many jobs of a scope run at once anywhere; 0 is no limit.
func (b bounds) ofScope(s scope, name string) int {
	own, all, of, key := b.repository, b.set.Repository, b.set.Repositories, name
	if s.kind == installation {
		own, all, of, key = b.installation, b.set.Installation, b.set.Installations, strconv.FormatInt(s.id, 10)
	}
	if n, set := of[key]; set {
		return max(n, 0)
	}
	if all != nil {
		return max(*all, 0)
	}
	return own
}
