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
	return TailFrom(ctx, b, subject, From{}, fn)
}

// TailFrom is Tail from a place in the stream on.
func TailFrom[T any](ctx context.Context, b *Bus, subject flow.Subject[T], from From, fn func(T) bool) error {
	consumer, err := b.js.OrderedConsumer(ctx, streamOf(string(subject)), from.consumer(string(subject)))
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

// consumer reads a subject from the place on.
func (from From) consumer(subject string) jetstream.OrderedConsumerConfig {
	cfg := jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}, DeliverPolicy: jetstream.DeliverAllPolicy}
	switch {
	case from.Sequence > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, from.Sequence
	case !from.Time.IsZero():
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &from.Time
	}
	return cfg
}
