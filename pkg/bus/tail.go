package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/litci/litci/pkg/flow"
)

// Tail hands fn every stored message of a subject, then every new one, until ctx
// ends or fn returns false. It has no durable and acks nothing: it is for
// viewers, who may miss what the stream no longer holds. Messages that cannot be
// decoded are passed over.
func Tail[T any](ctx context.Context, b *Bus, subject flow.Subject[T], fn func(T) bool) error {
	consumer, err := b.js.OrderedConsumer(ctx, streamOf(string(subject)), jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{string(subject)}, DeliverPolicy: jetstream.DeliverAllPolicy,
	})
	if err != nil {
		return fmt.Errorf("tail of %s: %w", subject, err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("tail of %s: %w", subject, err)
	}
	defer messages.Stop()
	for {
		raw, err := messages.Next(jetstream.NextContext(ctx))
		if ctx.Err() != nil || errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("tail of %s: %w", subject, err)
		}
		var msg T
		if json.Unmarshal(raw.Data(), &msg) == nil && !fn(msg) {
			return nil
		}
	}
}
