package docker

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// networkCache remembers which network jobs are in.
type networkCache struct {
	mu sync.Mutex
	id string
}

func (n *networkCache) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.id = ""
}

// jobNetwork is what containers are created with. Their own network is made when it
// is missing. Engines before API 1.44 take one name twice, so it is used by its id:
// of several, that of the oldest.
func (e *Executor) jobNetwork(ctx context.Context) (string, error) {
	if e.options.Network != "" {
		return e.options.Network, nil
	}
	e.network.mu.Lock()
	defer e.network.mu.Unlock()
	if e.network.id != "" {
		return e.network.id, nil
	}
	id, err := e.oldestNetwork(ctx)
	if err == nil && id == "" {
		if err = e.makeNetwork(ctx); err == nil {
			id, err = e.oldestNetwork(ctx)
		}
	}
	if err != nil {
		return "", fmt.Errorf("network of the jobs: %w", err)
	}
	if id == "" {
		return "", fmt.Errorf("network of the jobs: the engine does not have %s, which it has just made", e.networkName())
	}
	e.network.id = id
	return id, nil
}

func (e *Executor) networkName() string { return "litci-" + e.options.Instance }

func (e *Executor) makeNetwork(ctx context.Context) error {
	ctx, cancel := e.call(ctx)
	defer cancel()
	_, err := e.engine.NetworkCreate(ctx, e.networkName(), client.NetworkCreateOptions{
		Driver: "bridge",
		// Jobs do not talk to each other.
		Options: map[string]string{"com.docker.network.bridge.enable_icc": "false"},
		Labels:  e.labels(),
	})
	if isConflict(err) {
		return nil // somebody was faster
	}
	return err
}

func (e *Executor) oldestNetwork(ctx context.Context) (string, error) {
	ctx, cancel := e.call(ctx)
	defer cancel()
	found, err := e.engine.NetworkList(ctx, client.NetworkListOptions{Filters: e.ours()})
	if err != nil {
		return "", err
	}
	// The engine's filter by name would take parts of names too.
	list := slices.DeleteFunc(found.Items, func(n network.Summary) bool { return n.Name != e.networkName() })
	if len(list) == 0 {
		return "", nil
	}
	oldest := slices.MinFunc(list, func(a, b network.Summary) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return oldest.ID, nil
}
