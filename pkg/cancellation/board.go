package cancellation

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/litci/litci/pkg/bus"
)

// Board tells the holders of jobs that the end of one was asked for. It is safe
// for concurrent use; the zero Board is ready.
type Board struct {
	mu    sync.Mutex
	holds map[string]map[*hold]struct{} // by run
}

// hold is one attempt in somebody's hand.
type hold struct {
	index, attempt int
	asked          chan Request
}

// Run follows the requests until ctx ends. Those that stand there already are told
// too, and again after the server was away.
func (b *Board) Run(ctx context.Context, source *bus.Bus) {
	source.Runs().Follow(ctx, bus.Following{Patterns: []string{everyKey}}, b.tell)
}

func (b *Board) tell(e bus.Entry) {
	if e.Current || e.Gone {
		return
	}
	run, index, attempt, ok := parse(e.Key)
	var r Request
	if !ok || json.Unmarshal(e.Value, &r) != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for h := range b.holds[run] {
		whole := index < 0 && r.concerns(h.index, h.attempt)
		if !whole && (h.index != index || h.attempt != attempt) {
			continue
		}
		select {
		case h.asked <- r:
		default: // told already
		}
	}
}

// Watch returns a channel that receives the request that concerns an attempt, once
// somebody asks. done must be called when the attempt is out of hand. What was asked
// before the call is found by Of: call Watch first, then Of.
func (b *Board) Watch(run string, index, attempt int) (asked <-chan Request, done func()) {
	h := &hold{index: index, attempt: attempt, asked: make(chan Request, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.holds == nil {
		b.holds = map[string]map[*hold]struct{}{}
	}
	if b.holds[run] == nil {
		b.holds[run] = map[*hold]struct{}{}
	}
	b.holds[run][h] = struct{}{}
	return h.asked, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.holds[run], h)
		if len(b.holds[run]) == 0 {
			delete(b.holds, run)
		}
	}
}
