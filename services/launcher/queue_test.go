package launcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"github.com/litci/litci/pkg/flow"
)

// served waits until every goroutine of the bubble is idle and returns the ids in
// the order in which they were served since the last call.
type order struct {
	q    *queue
	done chan string
}

func (o *order) join(ctx context.Context, repo int64, id string) {
	go func() {
		if o.q.acquire(ctx, of(repo), id) == nil {
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

func newOrder(slots int) *order {
	return &order{newQueue(bounds{slots: slots}), make(chan string, 10_000)}
}

// of is the party of a repository; all are of one installation.
func of(repo int64) party {
	return party{flow.Repo{ID: repo, Owner: "octo", Name: fmt.Sprint(repo)}, 1}
}

// inLine is how many tickets wait.
func (q *queue) inLine() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range q.lines {
		n += l.Len()
	}
	return n
}

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

func TestQueueGivesAMessageThatCameTwiceOneSlot(t *testing.T) {
	q := newQueue(bounds{slots: 2})
	q.take("a")
	q.take("b")
	q.join(of(1), "twice", 1, false)
	q.join(of(1), "twice", 1, false)
	q.release("a")
	q.release("b")
	if len(q.holders) != 1 || q.inLine() != 0 || q.running[1] != 1 {
		t.Errorf("%d holders, %d wait, %d run", len(q.holders), q.inLine(), q.running[1])
	}
	q.release("twice")
	if len(q.running) != 0 || len(q.caps.passed) != 0 {
		t.Errorf("left are %v, %v", q.running, q.caps.passed)
	}
}

func TestQueueKeepsTheOrderOfTheStream(t *testing.T) {
	q := newQueue(bounds{slots: 1})
	q.take("running")
	for _, order := range []uint64{5, 3, 9, 4, 9, 1} {
		q.join(of(1), fmt.Sprint(order), order, false)
	}
	q.join(of(1), "first", 0, true)
	var got []string
	for e := q.lines[1].Front(); e != nil; e = e.Next() {
		got = append(got, e.Value.(*ticket).holder)
	}
	if want := []string{"first", "1", "3", "4", "5", "9", "9"}; !slices.Equal(got, want) {
		t.Errorf("in line are %v, want %v", got, want)
	}
}

// TestQueuePassesOverWhoIsAtALimit has a repository at its limit, one whose
// installation is, and one that may run.
func TestQueuePassesOverWhoIsAtALimit(t *testing.T) {
	one := 1
	q := newQueue(bounds{slots: 9, set: Limits{Repositories: map[string]int{"octo/1": 1}, Installations: map[string]int{"2": one}}})
	other := party{of(3).repo, 2}
	q.note(func(c *caps) {
		c.set(scope{repository, 1}, 0, lease{"a", "x"})
		c.set(scope{installation, 2}, 0, lease{"b", "x"})
	})
	capped, crowded, free := q.join(of(1), "c", 1, false), q.join(other, "d", 2, false), q.join(of(2), "e", 3, false)
	<-free.served
	if q.inLine() != 2 || q.why(capped).kind != waitsRepository || q.why(crowded).kind != waitsInstallation {
		t.Errorf("%d wait, for %+v and %+v", q.inLine(), q.why(capped), q.why(crowded))
	}
	q.note(func(c *caps) { c.drop(scope{repository, 1}, 0) })
	<-capped.served
	q.limit(Limits{})
	<-crowded.served
}

func TestQueueForgetsWhoLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOrder(1)
		o.q.take("running")
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() { left <- o.q.acquire(ctx, of(1), "gone") }()
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
		if used, waiting := len(o.q.holders), o.q.inLine(); used != 1 || waiting != 0 {
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
		q := newQueue(bounds{slots: slots})
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
				waiting[id] = q.join(of(repos[id]), id, rapid.Uint64Range(0, 9).Draw(t, "order"), false)
				collect()
			},
			"leave": func(t *rapid.T) {
				if len(waiting) == 0 {
					return
				}
				id := rapid.SampledFrom(sortedKeys(waiting)).Draw(t, "id")
				if !q.leave(waiting[id]) {
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
				used, line := len(q.holders), q.inLine()
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

// BenchmarkQueue serves and refills a queue in which 10,000 jobs wait.
func BenchmarkQueue(b *testing.B) {
	for _, repos := range []int{1, 100, 10_000} {
		for name, set := range map[string]Limits{"no limit": {}, "at a limit": {Repositories: map[string]int{"octo/0": 1}}} {
			b.Run(fmt.Sprintf("%d repositories, %s", repos, name), func(b *testing.B) {
				q := newQueue(bounds{slots: 64, set: set})
				join := func(i int) { q.join(of(int64(i%repos)), fmt.Sprint(i), uint64(i), false) }
				for i := range 10_064 {
					join(i)
				}
				b.ResetTimer()
				for i := range b.N {
					for id := range q.holders {
						q.release(id)
						break
					}
					join(10_064 + i)
				}
			})
		}
	}
}
