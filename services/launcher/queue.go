package launcher

import (
	"container/list"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// queue hands out the machine's slots, fairly: what waits stands in one line per
// repository. The next slot is for the repository that has the fewest here, and
// among equals for the one that was served longest ago. A repository that is at its
// limit, or whose installation is, is passed over and keeps its place.
//
// A slot belongs to a named holder and not to a count, so taking or giving back
// twice does no harm.
type queue struct {
	mu     sync.Mutex
	bounds bounds
	caps   caps
	// holders have a slot; the party is nil for jobs that were found running.
	holders map[string]*party
	// running are the holders by repository.
	running map[int64]int
	// lines hold tickets in their order, by repository; none is empty.
	lines map[int64]*list.List
	// turn are the repositories that wait, the one served longest ago first.
	turn []int64
}

// ticket is one that waits; its channel is closed when it holds a slot.
type ticket struct {
	party  party
	holder string
	// order is the message's place in the stream: lines keep it, whatever the order in
	// which messages are looked at.
	order  uint64
	served chan struct{}
	place  *list.Element
}

func newQueue(b bounds) *queue {
	return &queue{bounds: b, caps: newCaps(), holders: map[string]*party{}, running: map[int64]int{}, lines: map[int64]*list.List{}}
}

// acquire waits until the holder has a slot, or leaves the line when ctx ends. A
// holder that has one already returns at once.
func (q *queue) acquire(ctx context.Context, p party, holder string) error {
	t := q.join(p, holder, 0, false)
	select {
	case <-t.served:
		return nil
	case <-ctx.Done():
	}
	if q.leave(t) {
		return ctx.Err()
	}
	return nil // served at the last moment
}

// take gives the holder a slot without waiting, beyond the limit if need be: its
// job runs already.
func (q *queue) take(holder string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, has := q.holders[holder]; !has {
		q.holders[holder] = nil
	}
}

// release gives the holder's slot to whose turn it is.
func (q *queue) release(holder string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.free(holder)
	q.serve()
}

func (q *queue) free(holder string) {
	p := q.holders[holder]
	delete(q.holders, holder)
	if p == nil {
		return
	}
	q.caps.leave(*p, attemptOf(holder))
	if q.running[p.repo.ID]--; q.running[p.repo.ID] == 0 {
		delete(q.running, p.repo.ID)
	}
}

// holds tells whether the holder has a slot.
func (q *queue) holds(holder string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, has := q.holders[holder]
	return has
}

// load tells how many slots are in use, which is above the limit when more jobs
// than that were found running, and how many there are.
func (q *queue) load() (used, slots int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.holders), q.bounds.ofMachine()
}

// limit sets the operator's limits, which hold at once.
func (q *queue) limit(l Limits) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bounds.set = l
	q.caps.relimit()
	q.serve()
}

// note lets fn change what is known of the leases and serves who may pass now.
func (q *queue) note(fn func(*caps)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	fn(&q.caps)
	q.serve()
}

// look lets fn read what is known of the leases.
func (q *queue) look(fn func(*caps)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	fn(&q.caps)
}

// limitOf is the limit of a scope of a party; 0 is none.
func (q *queue) limitOf(s scope, p party) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bounds.ofScope(s, p.repo.FullName())
}

// join puts a holder into the line of its repository, by its order, or in front where
// it has been served before.
func (q *queue) join(p party, holder string, order uint64, front bool) *ticket {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := &ticket{party: p, holder: holder, order: order, served: make(chan struct{})}
	if _, has := q.holders[holder]; has {
		close(t.served)
		return t
	}
	l := q.lines[p.repo.ID]
	if l == nil {
		l = list.New()
		q.lines[p.repo.ID] = l
		q.turn = append(q.turn, p.repo.ID)
	}
	// Who has its lease from before must not stand behind those that wait for it.
	if front || q.caps.has(p.scopes()[0], attemptOf(holder)) || q.caps.has(p.scopes()[1], attemptOf(holder)) {
		t.order = 0
		t.place = l.PushFront(t)
	} else {
		before := l.Back()
		for before != nil && before.Value.(*ticket).order > order {
			before = before.Prev()
		}
		if before == nil {
			t.place = l.PushFront(t)
		} else {
			t.place = l.InsertAfter(t, before)
		}
	}
	q.serve()
	return t
}

// leave takes a ticket out of its line; false means that it was served meanwhile.
func (q *queue) leave(t *ticket) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case <-t.served:
		return false
	default:
	}
	repo := t.party.repo.ID
	l := q.lines[repo]
	l.Remove(t.place)
	if l.Len() == 0 {
		delete(q.lines, repo)
		q.turn = slices.DeleteFunc(q.turn, func(r int64) bool { return r == repo })
	} else {
		q.serve() // the next one may have its lease
	}
	return true
}

// back returns a slot for which the holder found no lease: the scope is crowded,
// until something is heard of it.
func (q *queue) back(t *ticket, found crowd) *ticket {
	q.mu.Lock()
	q.caps.crowd(found)
	q.free(t.holder)
	q.mu.Unlock()
	return q.join(t.party, t.holder, 0, true)
}

// serve fills the free slots. The repository that is served goes to the end of
// the turn.
func (q *queue) serve() {
	for len(q.holders) < q.bounds.ofMachine() {
		i := q.next()
		if i < 0 {
			return
		}
		repo := q.turn[i]
		q.turn = slices.Delete(q.turn, i, i+1)
		l := q.lines[repo]
		t := l.Remove(l.Front()).(*ticket)
		if l.Len() == 0 {
			delete(q.lines, repo)
		} else {
			q.turn = append(q.turn, repo)
		}
		// A message that came twice has two tickets and one slot.
		if _, has := q.holders[t.holder]; !has {
			q.holders[t.holder] = &t.party
			q.running[repo]++
			q.caps.pass(t.party, attemptOf(t.holder))
		}
		close(t.served)
	}
}

// next is the place in turn of the repository that gets the next slot, -1 where
// none may.
func (q *queue) next() int {
	best := -1
	for i, repo := range q.turn {
		if best >= 0 && q.running[repo] >= q.running[q.turn[best]] {
			continue
		}
		if _, capped := q.capped(q.lines[repo].Front().Value.(*ticket)); capped {
			continue
		}
		if best = i; q.running[repo] == 0 {
			break
		}
	}
	return best
}

// capped is the scope whose limit keeps a ticket from being served, if one does.
func (q *queue) capped(t *ticket) (scope, bool) {
	for _, s := range t.party.scopes() {
		if !q.caps.room(s, attemptOf(t.holder), q.bounds.ofScope(s, t.party.repo.FullName())) {
			return s, true
		}
	}
	return scope{}, false
}

// poolClosed says why a launcher with no slots starts nothing.
const poolClosed = "the operator has closed the pool for now"

// why is what a ticket waits for.
func (q *queue) why(t *ticket) reason {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s, capped := q.capped(t); capped {
		limit := q.bounds.ofScope(s, t.party.repo.FullName())
		if s.kind == installation {
			return reason{waitsInstallation, fmt.Sprintf("the installation's limit of %s is reached", counted(limit))}
		}
		return reason{waitsRepository, fmt.Sprintf("the repository's limit of %s is reached", counted(limit))}
	}
	slots := q.bounds.ofMachine()
	switch {
	case slots == 0:
		return reason{waitsSlot, "no free slot: " + poolClosed}
	case q.bounds.pool != "":
		return reason{waitsSlot, fmt.Sprintf("pool %s is busy: %d of %d slots are taken", q.bounds.pool, slots, slots)}
	}
	return reason{waitsSlot, fmt.Sprintf("no free slot: %d of %d taken", slots, slots)}
}

func counted(jobs int) string {
	if jobs == 1 {
		return "1 job"
	}
	return fmt.Sprintf("%d jobs", jobs)
}

const namePrefix = "litci-"

// attemptOf is the attempt that has a name on the executor, and holderOf the name
// that an attempt has there.
func attemptOf(holder string) string { return strings.TrimPrefix(holder, namePrefix) }
func holderOf(attempt string) string { return namePrefix + attempt }
