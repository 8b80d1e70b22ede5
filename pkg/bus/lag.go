package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Lag is how far behind a durable is.
type Lag struct {
	Stream  string
	Durable string
	// Waiting messages were not delivered yet; InHand ones were and are not settled.
	Waiting uint64
	InHand  uint64
}

// Lags tells how far behind every durable of the topology is; a mesh in which all
// are zero has nothing left to do.
func (b *Bus) Lags(ctx context.Context) ([]Lag, error) {
	ctx, cancel := withTimeout(ctx, publishTimeout)
	defer cancel()
	var lags []Lag
	for _, s := range wanted() {
		if len(s.consumers) == 0 {
			continue
		}
		stream, err := b.js.Stream(ctx, s.config.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("stream %s: %w", s.config.Name, err)
		}
		consumers := stream.ListConsumers(ctx)
		for info := range consumers.Info() {
			if info.Config.Durable == "" {
				continue // a viewer
			}
			lags = append(lags, Lag{Stream: info.Stream, Durable: info.Config.Durable, Waiting: info.NumPending, InHand: uint64(info.NumAckPending)})
		}
		if err := consumers.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
			return nil, fmt.Errorf("consumers of %s: %w", s.config.Name, err)
		}
	}
	return lags, nil
}
