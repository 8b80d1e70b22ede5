package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Objects is a store of large named values.
type Objects struct {
	name     string
	patience time.Duration
	store    func(context.Context) (jetstream.ObjectStore, error)
}

// Logs holds the archived logs of attempts for 14 days.
func (b *Bus) Logs() *Objects { return b.logs }

// Sources holds the source archives of commits for a day.
func (b *Bus) Sources() *Objects { return b.sources }

func (b *Bus) objects(name string) *Objects {
	return &Objects{name, 4 * b.patience, kept(func(ctx context.Context) (jetstream.ObjectStore, error) { return b.js.ObjectStore(ctx, name) })}
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
// too, from one part to the next: without a deadline in it a value may be read for as
// long as its parts keep coming. A damaged value ends with an error instead of io.EOF.
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
	value, err := o.get(ctx, store, name)
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

// get opens a value. The client would bound the whole reading of one whose context
// has no deadline as it bounds a single call; and when the context of a reading ends
// it brings no more parts, and lets who waits for one wait for the deadline. So it is
// given a context that ends with the opening or with Close, and no sooner.
func (o *Objects) get(ctx context.Context, store jetstream.ObjectStore, name string) (jetstream.ObjectResult, error) {
	own, end := context.WithCancel(context.WithoutCancel(ctx))
	opening, opened := context.WithTimeout(ctx, o.patience)
	defer opened()
	stop := context.AfterFunc(opening, end)
	value, err := store.Get(reading{own, ctx, o.patience}, name)
	if !stop() && err == nil {
		err = errors.Join(opening.Err(), value.Close())
	}
	if err != nil {
		end()
		return nil, cmp.Or(opening.Err(), err)
	}
	return &object{value, ctx, end}, nil
}

// reading is the context under which a value is read: its deadline is that of the
// part that is read next.
type reading struct {
	context.Context
	caller   context.Context
	patience time.Duration
}

func (r reading) Deadline() (time.Time, bool) {
	next := time.Now().Add(r.patience)
	if last, has := r.caller.Deadline(); has && last.Before(next) {
		next = last
	}
	return next, true
}

// object is an open value.
type object struct {
	jetstream.ObjectResult
	caller context.Context
	end    context.CancelFunc
}

func (o *object) Read(p []byte) (int, error) {
	if err := o.caller.Err(); err != nil {
		return 0, err
	}
	return o.ObjectResult.Read(p)
}

func (o *object) Close() error {
	defer o.end()
	return o.ObjectResult.Close()
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
