package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/litci/litci/pkg/flow"
)

// Serves tells whether a named pool was provisioned: its launchers have a durable. It
// says nothing of whether one runs now; a pool that is switched off finds its jobs
// when it comes back. The unnamed pool is always served.
func (b *Bus) Serves(ctx context.Context, pool string) (bool, error) {
	if pool == "" {
		return true, nil
	}
	ctx, cancel := withTimeout(ctx, b.patience)
	defer cancel()
	_, err := b.js.Consumer(ctx, streamOf(string(flow.Jobs)), "launcher-"+pool)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("launchers of pool %s: %w", pool, err)
	}
	return true, nil
}
