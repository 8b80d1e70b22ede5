package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var errWatchEnded = errors.New("the watch ended early")

// Lease writes a key that expires by itself after life, in whole seconds, if its
// revision is still the given one, 0 for a key that does not exist. Renewing is
// writing again with the revision that was returned. ErrConflict says that somebody
// else holds the key, or that it has expired meanwhile.
func (kv *KV) Lease(ctx context.Context, key string, value []byte, revision uint64, life time.Duration) (uint64, error) {
	ctx, cancel := withTimeout(ctx, kv.bus.patience)
	defer cancel()
	bucket, err := kv.open(ctx)
	if err != nil {
		return 0, err
	}
	life = max(life.Round(time.Second), time.Second)
	var next uint64
	if revision == 0 {
		next, err = bucket.Create(ctx, key, value, jetstream.KeyTTL(life))
	} else {
		// The KV client has no update with a life (ADR-48): this is what it would send.
		var ack *jetstream.PubAck
		ack, err = kv.bus.js.PublishMsg(ctx, &nats.Msg{Subject: "$KV." + kv.name + "." + key, Data: value},
			jetstream.WithMsgTTL(life), jetstream.WithExpectLastSequencePerSubject(revision))
		if ack != nil {
			next = ack.Sequence
		}
	}
	if conflict(err) {
		return 0, ErrConflict
	}
	if err != nil {
		return 0, fmt.Errorf("key %s: %w", key, err)
	}
	return next, nil
}

// Release deletes a key if its revision is still the given one; ErrConflict says
// that it is not.
func (kv *KV) Release(ctx context.Context, key string, revision uint64) error {
	ctx, cancel := withTimeout(ctx, kv.bus.patience)
	defer cancel()
	bucket, err := kv.open(ctx)
	if err != nil {
		return err
	}
	err = bucket.Delete(ctx, key, jetstream.LastRevision(revision))
	if conflict(err) {
		return ErrConflict
	}
	if err != nil {
		return fmt.Errorf("key %s: %w", key, err)
	}
	return nil
}
