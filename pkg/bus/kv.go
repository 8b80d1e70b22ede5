package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// KV is a bucket of keys. Each key has one writer or is written by compare-and-set;
// decisions are made by the write and never by a Get, which may be stale in a
// cluster.
type KV struct {
	name   string
	bus    *Bus
	bucket func(context.Context) (jetstream.KeyValue, error)
}

func (b *Bus) bucket(name string) *KV {
	return &KV{name, b, kept(func(ctx context.Context) (jetstream.KeyValue, error) { return b.js.KeyValue(ctx, name) })}
}

// Runs is the bucket of what outlives a message: runs, jobs, checks, heads. Keys
// live for 14 days.
func (b *Bus) Runs() *KV { return b.runs }

// Slots is the bucket of leases: who holds a place of a repository or an
// installation, and which holders live. Its keys expire by themselves.
func (b *Bus) Slots() *KV { return b.slots }

func (kv *KV) open(ctx context.Context) (jetstream.KeyValue, error) {
	bucket, err := kv.bucket(ctx)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", kv.name, err)
	}
	return bucket, nil
}

// kept returns a function that opens something once it can be opened, and hands out
// the same from then on: opening asks the server, and every call would.
func kept[T any](open func(context.Context) (T, error)) func(context.Context) (T, error) {
	var mu sync.Mutex
	var value T
	var opened bool
	return func(ctx context.Context) (T, error) {
		mu.Lock()
		defer mu.Unlock()
		if opened {
			return value, nil
		}
		v, err := open(ctx)
		if err != nil {
			return v, err
		}
		value, opened = v, true
		return value, nil
	}
}

// Get returns a key's value and revision, or ErrNotFound.
func (kv *KV) Get(ctx context.Context, key string) (value []byte, revision uint64, err error) {
	value, revision, _, err = kv.GetStored(ctx, key)
	return value, revision, err
}

// GetStored is Get with the time at which the bus stored the value.
func (kv *KV) GetStored(ctx context.Context, key string) (value []byte, revision uint64, stored time.Time, err error) {
	ctx, cancel := withTimeout(ctx, kv.bus.patience)
	defer cancel()
	bucket, err := kv.open(ctx)
	if err != nil {
		return nil, 0, stored, err
	}
	entry, err := bucket.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, 0, stored, ErrNotFound
	}
	if err != nil {
		return nil, 0, stored, fmt.Errorf("key %s: %w", key, err)
	}
	return entry.Value(), entry.Revision(), entry.Created(), nil
}

// Put writes a key if its revision is still the given one, 0 for a key that does
// not exist. ErrConflict says that somebody was faster.
func (kv *KV) Put(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	ctx, cancel := withTimeout(ctx, kv.bus.patience)
	defer cancel()
	bucket, err := kv.open(ctx)
	if err != nil {
		return 0, err
	}
	var next uint64
	if revision == 0 {
		next, err = bucket.Create(ctx, key, value)
	} else {
		next, err = bucket.Update(ctx, key, value, revision)
	}
	if conflict(err) {
		return 0, ErrConflict
	}
	if err != nil {
		return 0, fmt.Errorf("key %s: %w", key, err)
	}
	return next, nil
}

func conflict(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, jetstream.ErrKeyExists) || (errors.As(err, &api) &&
		(api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant))
}

// Delete removes a key; removing what is not there is not an error.
func (kv *KV) Delete(ctx context.Context, key string) error {
	ctx, cancel := withTimeout(ctx, kv.bus.patience)
	defer cancel()
	bucket, err := kv.open(ctx)
	if err != nil {
		return err
	}
	if err := bucket.Delete(ctx, key); err != nil {
		return fmt.Errorf("key %s: %w", key, err)
	}
	return nil
}

// List returns the keys that match a pattern of tokens, such as "check.<run>.*",
// with their values.
func (kv *KV) List(ctx context.Context, pattern string) (map[string][]byte, error) {
	found := map[string][]byte{}
	err := kv.Each(ctx, Following{Patterns: []string{pattern}}, func(key string, value []byte) error {
		found[key] = value
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Each hands fn the keys that stand under the patterns now, one at a time, and
// returns after the last, or with the first error of fn.
func (kv *KV) Each(ctx context.Context, f Following, fn func(key string, value []byte) error) error {
	ctx, cancel := withTimeout(ctx, 4*kv.bus.patience)
	defer cancel()
	bucket, err := kv.open(ctx)
	if err != nil {
		return err
	}
	patterns := strings.Join(f.Patterns, " ")
	w, err := watch(ctx, bucket, f, jetstream.IgnoreDeletes())
	if err != nil {
		return fmt.Errorf("keys %s: %w", patterns, err)
	}
	defer w.end()
	for {
		entry, current, err := w.next(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("keys %s: %w", patterns, err)
		case current:
			return nil
		case entry != nil:
			if err := fn(entry.Key(), entry.Value()); err != nil {
				return err
			}
		}
	}
}

// Change lets fn alter the JSON value of a key and writes it back by
// compare-and-set, again whenever somebody was faster. fn sees a zero T where the
// key is absent; it may run several times; when it returns false nothing is
// written. Change returns the value that now stands.
func Change[T any](ctx context.Context, kv *KV, key string, fn func(*T) bool) (T, error) {
	for {
		var value T
		data, revision, err := kv.Get(ctx, key)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return value, err
		}
		if err == nil {
			if err := json.Unmarshal(data, &value); err != nil {
				return value, fmt.Errorf("key %s: %w", key, err)
			}
		}
		if !fn(&value) {
			return value, nil
		}
		data, err = json.Marshal(value)
		if err != nil {
			return value, fmt.Errorf("key %s: %w", key, err)
		}
		if _, err = kv.Put(ctx, key, data, revision); err == nil {
			return value, nil
		}
		if !errors.Is(err, ErrConflict) {
			return value, err
		}
	}
}
