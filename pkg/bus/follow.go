package bus

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// Following says what of a bucket is followed.
type Following struct {
	// Patterns are keys with wildcards: "cancel.>", "attempt.*.*".
	Patterns []string
	// NewOnly leaves out what stands there at the start.
	NewOnly bool
	// KeysOnly leaves out the values.
	KeysOnly bool
}

// Entry is a key that changed.
type Entry struct {
	Key   string
	Value []byte
	// Gone says that the key was deleted or has expired.
	Gone bool
	// Current says that everything that stood there at the start has been told; the
	// other fields are empty. It comes again after every interruption.
	Current bool
}

// Follow tells fn every key that stands under the patterns and every change of
// one, one at a time, until ctx ends. It survives the server's restarts: then it
// tells again what stands there. What follows is a hint; decisions are made by
// compare-and-set.
func (kv *KV) Follow(ctx context.Context, f Following, fn func(Entry)) {
	for wait := 100 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, 5*time.Second) {
		began := time.Now()
		err := kv.followOnce(ctx, f, fn)
		if ctx.Err() != nil {
			return
		}
		kv.bus.log.Debug("keys are followed anew", zap.Strings("patterns", f.Patterns), zap.Error(err))
		if time.Since(began) > time.Minute {
			wait = 100 * time.Millisecond
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		f.NewOnly = false // what changed in between must be told
	}
}

func (kv *KV) followOnce(ctx context.Context, f Following, fn func(Entry)) error {
	bucket, err := kv.open(ctx)
	if err != nil {
		return err
	}
	w, err := watch(ctx, bucket, f)
	if err != nil {
		return err
	}
	defer w.end()
	if f.NewOnly {
		fn(Entry{Current: true})
	}
	for {
		entry, current, err := w.next(ctx)
		switch {
		case err != nil:
			return err
		case current:
			fn(Entry{Current: true})
		case entry != nil:
			fn(Entry{Key: entry.Key(), Value: entry.Value(), Gone: entry.Operation() != jetstream.KeyValuePut})
		}
	}
}

// watches are a watch for each pattern: the server's permissions tell one pattern from
// another by the subject that the watch is asked for on, and one for several patterns
// has none in it.
type watches struct {
	entries chan jetstream.KeyValueEntry
	ended   chan struct{}
	stop    func()
	wait    sync.WaitGroup
	// behind is how many of the watches have not told yet what stood there.
	behind int
}

// watch begins to follow the patterns. Its end must be called.
func watch(ctx context.Context, bucket jetstream.KeyValue, f Following, options ...jetstream.WatchOpt) (*watches, error) {
	if f.NewOnly {
		options = append(options, jetstream.UpdatesOnly())
	}
	if f.KeysOnly {
		options = append(options, jetstream.MetaOnly())
	}
	var watchers []jetstream.KeyWatcher
	stopped := make(chan struct{})
	w := &watches{entries: make(chan jetstream.KeyValueEntry), ended: make(chan struct{}, len(f.Patterns)), behind: len(f.Patterns)}
	w.stop = func() {
		close(stopped)
		for _, one := range watchers {
			_ = one.Stop() // of a connection that is closed, which ends the watch too
		}
	}
	for _, pattern := range f.Patterns {
		one, err := bucket.Watch(ctx, pattern, options...)
		if err != nil {
			w.end()
			return nil, err
		}
		watchers = append(watchers, one)
		w.wait.Go(func() { w.forward(one, stopped) })
	}
	return w, nil
}

// forward hands on what one watch tells. After the end it reads what is left: the
// client's goroutine would otherwise wait for a reader for ever. It gives up when
// nothing has come for a while: a connection that is closed may not end the watch.
func (w *watches) forward(one jetstream.KeyWatcher, stopped <-chan struct{}) {
	var patience <-chan time.Time
	hand, over := w.entries, stopped
	for {
		select {
		case entry, open := <-one.Updates():
			if !open {
				w.ended <- struct{}{}
				return
			}
			if hand == nil {
				patience = time.After(publishTimeout)
				continue
			}
			select {
			case hand <- entry:
			case <-over:
			}
		case <-over:
			hand, over, patience = nil, nil, time.After(publishTimeout)
		case <-patience:
			if len(one.Updates()) == 0 {
				return
			}
			patience = time.After(publishTimeout)
		}
	}
}

// next waits for an entry, or tells that all that stood there has been told; both are
// empty in between.
func (w *watches) next(ctx context.Context) (entry jetstream.KeyValueEntry, current bool, err error) {
	select {
	case <-ctx.Done():
		return nil, false, ctx.Err()
	case <-w.ended:
		return nil, false, errWatchEnded
	case entry = <-w.entries:
	}
	if entry == nil {
		w.behind--
		return nil, w.behind == 0, nil
	}
	return entry, false, nil
}

// end stops the watches and waits for them.
func (w *watches) end() {
	w.stop()
	w.wait.Wait()
}
