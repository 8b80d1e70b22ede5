package launcher

import (
	"container/list"
	"context"
	"sync"
)

// queue hands out a fixed number of slots, fairly: what waits stands in one line
// per repository, and the lines are served in turn. A slot belongs to a named
// holder and not to a count, so taking or giving back twice does no harm.
type queue struct {
	mu      sync.Mutex
	slots   int
	holders map[string]struct{}
	// lines hold tickets in the order of arrival, by repository; none is empty.
	lines map[int64]*list.List
	// turn are the repositories that wait, the next one first.
	turn []int64
}

// ticket is one that waits; its channel is closed when it holds a slot.
type ticket struct {
	holder string
	served chan struct{}
	place  *list.Element
}

func newQueue(slots int) *queue {
	return &queue{slots: max(slots, 1), holders: map[string]struct{}{}, lines: map[int64]*list.List{}}
}

// acquire waits until the holder has a slot, or leaves the line when ctx ends. A
// holder that has one already returns at once.
func (q *queue) acquire(ctx context.Context, repo int64, holder string) error {
	t := q.join(repo, holder)
	select {
	case <-t.served:
		return nil
	case <-ctx.Done():
	}
	if q.leave(repo, t) {
		return ctx.Err()
	}
	return nil // served at the last moment
}

// take gives the holder a slot without waiting, beyond the limit if need be: its
// job runs already.
func (q *queue) take(holder string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.holders[holder] = struct{}{}
}

// release gives the holder's slot to whose turn it is.
func (q *queue) release(holder string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.holders, holder)
	q.serve()
}

// load tells how many slots are in use, which is above the limit when more jobs
// than that were found running, and how many tickets wait.
func (q *queue) load() (used, waiting int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, l := range q.lines {
		waiting += l.Len()
	}
	return len(q.holders), waiting
}

func (q *queue) join(repo int64, holder string) *ticket {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := &ticket{holder: holder, served: make(chan struct{})}
	if _, has := q.holders[holder]; has {
		close(t.served)
		return t
	}
	l := q.lines[repo]
	if l == nil {
		l = list.New()
		q.lines[repo] = l
		q.turn = append(q.turn, repo)
	}
	t.place = l.PushBack(t)
	q.serve()
	return t
}

// leave takes a ticket out of its line; false means that it was served meanwhile.
func (q *queue) leave(repo int64, t *ticket) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case <-t.served:
		return false
	default:
	}
	l := q.lines[repo]
	l.Remove(t.place)
	if l.Len() == 0 {
		q.drop(repo)
	}
	return true
}

// serve fills the free slots. The repository that is served goes to the end of
// the turn.
func (q *queue) serve() {
	for len(q.holders) < q.slots && len(q.turn) > 0 {
		repo := q.turn[0]
		q.turn = q.turn[1:]
		l := q.lines[repo]
		t := l.Remove(l.Front()).(*ticket)
		if l.Len() == 0 {
			delete(q.lines, repo)
		} else {
			q.turn = append(q.turn, repo)
		}
		q.holders[t.holder] = struct{}{}
		close(t.served)
	}
}

func (q *queue) drop(repo int64) {
	delete(q.lines, repo)
	for i, r := range q.turn {
		if r == repo {
			q.turn = append(q.turn[:i], q.turn[i+1:]...)
			return
		}
	}
}
