// Package keyed is a lock for each key.
package keyed

import (
	"context"
	"sync"
)

// Lock lets one goroutine at a time work under a key. The zero Lock is ready.
type Lock struct {
	mu   sync.Mutex
	held map[string]chan struct{}
}

// Take waits for the key; the returned function gives it back. It fails only when
// ctx ends.
func (l *Lock) Take(ctx context.Context, key string) (give func(), err error) {
	for {
		l.mu.Lock()
		busy, taken := l.held[key]
		if !taken {
			if l.held == nil {
				l.held = map[string]chan struct{}{}
			}
			free := make(chan struct{})
			l.held[key] = free
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				delete(l.held, key)
				l.mu.Unlock()
				close(free)
			}, nil
		}
		l.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-busy:
		}
	}
}

// Held says whether anybody works under the key.
func (l *Lock) Held(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, taken := l.held[key]
	return taken
}
