package bus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Objects is a store of large named values.
type Objects struct {
	name  string
	store func(context.Context) (jetstream.ObjectStore, error)
}

// Logs holds the archived logs of attempts for 14 days.
func (b *Bus) Logs() *Objects { return b.logs }

// Sources holds the source archives of commits for a day.
func (b *Bus) Sources() *Objects { return b.sources }

func (b *Bus) objects(name string) *Objects {
	return &Objects{name, kept(func(ctx context.Context) (jetstream.ObjectStore, error) { return b.js.ObjectStore(ctx, name) })}
}

func (o *Objects) open(ctx context.Context) (jetstream.ObjectStore, error) {
	store, err := o.store(ctx)
	if err != nil {
		return nil, fmt.Errorf("object store %s: %w", o.name, err)
	}
	return store, nil
}

// Put stores what r holds under a name, in place of what the name held; readers
// see the old or the new value, never a part.
func (o *Objects) Put(ctx context.Context, name string, r io.Reader) error {
	store, err := o.open(ctx)
	if err != nil {
		return err
	}
	if _, err := store.Put(ctx, jetstream.ObjectMeta{Name: name}, r); err != nil {
		return fmt.Errorf("object %s/%s: %w", o.name, name, err)
	}
	return nil
}

// Get opens the value of a name, or returns ErrNotFound. ctx bounds the reading
// too; a damaged value ends with an error instead of io.EOF.
func (o *Objects) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	value, _, err := o.GetSized(ctx, name)
	return value, err
}

// GetSized is Get with the value's length in bytes.
func (o *Objects) GetSized(ctx context.Context, name string) (io.ReadCloser, int64, error) {
	store, err := o.open(ctx)
	if err != nil {
		return nil, 0, err
	}
	value, err := store.Get(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, 0, ErrNotFound
	}
	if err != nil {
		return nil, 0, fmt.Errorf("object %s/%s: %w", o.name, name, err)
	}
	info, err := value.Info()
	if err != nil {
		_ = value.Close()
		return nil, 0, fmt.Errorf("object %s/%s: %w", o.name, name, err)
	}
	return value, int64(info.Size), nil
}

// Age tells how long ago the value of a name was stored, or returns ErrNotFound.
// The time of storing is the server's.
func (o *Objects) Age(ctx context.Context, name string) (time.Duration, error) {
	store, err := o.open(ctx)
	if err != nil {
		return 0, err
	}
	info, err := store.GetInfo(ctx, name)
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return 0, ErrNotFound
	}
	if err != nil {
		return 0, fmt.Errorf("object %s/%s: %w", o.name, name, err)
	}
	return time.Since(info.ModTime), nil
}
