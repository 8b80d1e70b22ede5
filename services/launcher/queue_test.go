package launcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

// served waits until every goroutine of the bubble is idle and returns the ids in
// the order in which they were served since the last call.
type order struct {
	q    *queue
	done chan string
}

func (o *order) join(ctx context.Context, repo int64, id string) {
	go func() {
		if o.q.acquire(ctx, repo, id) == nil {
			o.done <- id
		}
	}()
	synctest.Wait()
}

func (o *order) served() []string {
	synctest.Wait()
	var ids []string
	for {
		select {
		case id := <-o.done:
			ids = append(ids, id)
		default:
			return ids
		}
	}
}

func newOrder(slots int) *order { return &order{newQueue(slots), make(chan string, 10_000)} }

func TestQueueServesRepositoriesInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrder(1)
		o.q.take("running")
		for _, id := range []string{"a1", "a2", "a3"} {
			o.join(t.Context(), 1, id)
		}
		o.join(t.Context(), 2, "b1")
		o.join(t.Context(), 3, "c1")
		o.join(t.Context(), 2, "b2")
		var got []string
		for last := "running"; len(got) < 6; {
			o.q.release(last)
			next := o.served()
			if len(next) != 1 {
				t.Fatalf("one slot was given to %v", next)
			}
			got, last = append(got, next[0]), next[0]
		}
		if want := []string{"a1", "b1", "c1", "a2", "b2", "a3"}; !slices.Equal(got, want) {
			t.Errorf("served %v, want %v", got, want)
		}
	})
}

func TestQueueDoesNotLetALargeRepositoryDelayASmallOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrder(2)
		for i := range 500 {
			o.join(t.Context(), 1, fmt.Sprintf("a%d", i))
		}
		running := o.served()
		o.join(t.Context(), 2, "b")
		o.q.release(running[0])
		first := o.served()
		o.q.release(running[1])
		if second := o.served(); !slices.Contains(append(first, second...), "b") {
			t.Errorf("b still waits after %v and %v", first, second)
		}
	})
}

func TestQueueForgetsWhoLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrder(1)
		o.q.take("running")
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() { left <- o.q.acquire(ctx, 1, "gone") }()
		synctest.Wait()
		o.join(t.Context(), 1, "stays")
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Fatalf("leaving gave %v", err)
		}
		o.q.release("running")
		if got := o.served(); !slices.Equal(got, []string{"stays"}) {
			t.Errorf("served %v", got)
		}
	})
}

func TestQueueGivesAHolderOneSlotHoweverOftenItAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrder(2)
		o.join(t.Context(), 1, "a")
		o.join(t.Context(), 1, "a")
		o.q.take("a")
		if used, waiting := o.q.load(); used != 1 || waiting != 0 {
			t.Errorf("%d slots in use, %d wait", used, waiting)
		}
		o.q.release("a")
		o.q.release("a")
		if used, _ := o.q.load(); used != 0 {
			t.Errorf("%d slots in use after the release", used)
		}
	})
}

// TestQueueKeepsItsPromises does random things to a queue: never more slots than
// there are unless they were taken by force, never a free slot while somebody
// waits, everybody served once.
func TestQueueKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slots := rapid.IntRange(1, 4).Draw(t, "slots")
		q := newQueue(slots)
		waiting := map[string]*ticket{}
		repos := map[string]int64{}
		holding := map[string]bool{}
		next := 0
		collect := func() {
			for id, ticket := range waiting {
				select {
				case <-ticket.served:
					holding[id] = true
					delete(waiting, id)
				default:
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"join": func(t *rapid.T) {
				id := fmt.Sprint(next)
				next++
				repos[id] = rapid.Int64Range(1, 4).Draw(t, "repo")
				waiting[id] = q.join(repos[id], id)
				collect()
			},
			"leave": func(t *rapid.T) {
				if len(waiting) == 0 {
					return
				}
				id := rapid.SampledFrom(sortedKeys(waiting)).Draw(t, "id")
				if !q.leave(repos[id], waiting[id]) {
					t.Fatalf("%s was served and did not know", id)
				}
				delete(waiting, id)
			},
			"release": func(t *rapid.T) {
				if len(holding) == 0 {
					return
				}
				id := rapid.SampledFrom(sortedKeys(holding)).Draw(t, "id")
				delete(holding, id)
				q.release(id)
				collect()
			},
			"": func(t *rapid.T) {
				used, line := q.load()
				if used != len(holding) || line != len(waiting) {
					t.Fatalf("queue has %d and %d, want %d holding and %d waiting", used, line, len(holding), len(waiting))
				}
				if used > slots || (used < slots && line > 0) {
					t.Fatalf("%d of %d slots in use, %d wait", used, slots, line)
				}
				if len(q.turn) != len(q.lines) {
					t.Fatalf("%d repositories in turn, %d lines", len(q.turn), len(q.lines))
				}
			},
		})
	})
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
