package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/litci/litci/pkg/flow"
)

// Lag is how far behind a durable is.
type Lag struct {
	Stream  string
	Durable string
	// Waiting messages were not delivered yet; InHand ones were and are not settled,
	// Redelivered of them more than once.
	Waiting     uint64
	InHand      uint64
	Redelivered uint64
	// Delivered is how far in its stream the consumer has come. A message that was stored
	// just now may be counted nowhere yet, and is behind it.
	Delivered uint64
	// Asking is how many processes wait for a message; those that have no free place do
	// not, and between two questions of a process is a moment without.
	Asking int
}

// Lags tells how far behind every durable of the topology is; a mesh in which all
// are zero has nothing left to do.
func (b *Bus) Lags(ctx context.Context) ([]Lag, error) {
	ctx, cancel := withTimeout(ctx, b.patience)
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
			lags = append(lags, Lag{
				Stream: info.Stream, Durable: info.Config.Durable, Waiting: info.NumPending, InHand: uint64(info.NumAckPending),
				Redelivered: uint64(info.NumRedelivered), Delivered: info.Delivered.Stream, Asking: info.NumWaiting,
			})
		}
		if err := consumers.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
			return nil, fmt.Errorf("consumers of %s: %w", s.config.Name, err)
		}
	}
	return lags, nil
}

// CountLetters is how many dead letters are stored.
func (b *Bus) CountLetters(ctx context.Context) (uint64, error) {
	info, err := b.info(ctx, streamOf(flow.DeadLetters))
	if err != nil {
		return 0, err
	}
	return info.State.Msgs, nil
}
