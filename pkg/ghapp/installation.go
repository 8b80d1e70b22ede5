package ghapp

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// installation is what all clients of one installation share: the pause that
// GitHub asked for, the places of requests under way, and the account of what was
// spent.
type installation struct {
	id     int64
	places chan struct{}

	mu    sync.Mutex
	limit *LimitError
	// guesses counts the refusals in a row that named no time.
	guesses int
	// points and content of a minute, content of an hour.
	points, minute, hour ledger
	primary              primary
}

// share is a part of the budgets, or a demand on them.
type share struct{ points, content, requests int }

func newInstallation(id int64, limits Limits) *installation {
	book := func(most int, window time.Duration) ledger {
		return ledger{most: most, keep: most * limits.Reserve / 100, window: window}
	}
	return &installation{
		id: id, places: make(chan struct{}, limits.Concurrent),
		points:  book(limits.PointsPerMinute, limits.Minute),
		minute:  book(limits.ContentPerMinute, limits.Minute),
		hour:    book(limits.ContentPerHour, limits.Hour),
		primary: primary{reserve: limits.Reserve},
	}
}

// paused returns the limit that still holds.
func (i *installation) paused(now time.Time) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if limit := i.pause(now); limit != nil {
		return limit
	}
	return nil
}

func (i *installation) pause(now time.Time) *LimitError {
	if i.limit != nil && now.Before(i.limit.Until) {
		return i.limit
	}
	return nil
}

// state is how many requests are left of the hour, and whether it is paused.
func (i *installation) state(now time.Time) (remaining int, paused bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	remaining = unknown
	if now.Before(i.primary.reset) {
		remaining = i.primary.remaining
	}
	return remaining, i.pause(now) != nil
}

// reserve holds a part of the budget, or tells when to ask again.
func (i *installation) reserve(now time.Time, cost Cost, urgent bool) (*Reservation, *LimitError) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if limit := i.pause(now); limit != nil {
		return nil, limit
	}
	want := share{
		points:   min(cost.points(), i.points.room(urgent)),
		content:  min(cost.Creations, i.minute.room(urgent), i.hour.room(urgent)),
		requests: min(cost.requests(), i.primary.room(now, urgent)),
	}
	if limit := i.lack(now, want, urgent); limit != nil {
		return nil, limit
	}
	i.hold(want)
	return &Reservation{inst: i, urgent: urgent, left: want}, nil
}

func (i *installation) release(r *Reservation) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.hold(share{-r.left.points, -r.left.content, -r.left.requests})
	r.left = share{}
}

// charge books a request that is about to be sent, on the reservation as far as
// there is one, and returns what settle must be given when it was answered. The
// error tells that it must not be sent.
func (i *installation) charge(now time.Time, req *http.Request) (share, error) {
	r := reservationOf(req.Context(), i)
	i.mu.Lock()
	defer i.mu.Unlock()
	if limit := i.pause(now); limit != nil {
		return share{}, limit
	}
	cost := weigh(req)
	urgent, drawn := true, share{}
	if r != nil {
		urgent = r.urgent
		drawn = share{min(cost.points, r.left.points), min(cost.content, r.left.content), min(cost.requests, r.left.requests)}
	}
	more := share{cost.points - drawn.points, cost.content - drawn.content, cost.requests - drawn.requests}
	if limit := i.lack(now, more, urgent); limit != nil {
		return share{}, limit
	}
	if r != nil {
		r.left = share{r.left.points - drawn.points, r.left.content - drawn.content, r.left.requests - drawn.requests}
	}
	i.hold(more)
	return cost, nil
}

// settle books a charge as spent.
func (i *installation) settle(now time.Time, cost share, resp *http.Response) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.points.settle(now, cost.points)
	i.minute.settle(now, cost.content)
	i.hour.settle(now, cost.content)
	i.primary.held -= cost.requests
	if resp != nil {
		i.primary.read(resp, now)
	}
}

func (i *installation) hold(s share) {
	i.points.held += s.points
	i.minute.held += s.content
	i.hour.held += s.content
	i.primary.held += s.requests
}

// lack tells what stands against spending s, and how long.
func (i *installation) lack(now time.Time, s share, urgent bool) *LimitError {
	var wait time.Duration
	why := ""
	longer := func(d time.Duration, most int, what string) {
		if d > wait {
			wait, why = d, fmt.Sprintf("%d %s", most, what)
		}
	}
	longer(i.points.wait(now, s.points, urgent), i.points.most, "points a minute are our pace")
	longer(i.minute.wait(now, s.content, urgent), i.minute.most, "check runs and comments a minute are our pace")
	longer(i.hour.wait(now, s.content, urgent), i.hour.most, "check runs and comments an hour are our pace")
	longer(i.primary.wait(now, s.requests, urgent), i.primary.remaining, "requests are left of the hour")
	if wait == 0 {
		return nil
	}
	return &LimitError{Installation: i.id, Until: now.Add(wait), Message: why, own: true}
}

// primary is the hour's budget of requests as GitHub's answers tell it.
type primary struct {
	reserve   int // percent of limit that progress leaves
	limit     int
	remaining int
	reset     time.Time // on our clock; what was read holds until then
	held      int       // reserved or under way
}

// keep is how many requests stay untouched.
func (p *primary) keep(urgent bool) int {
	if urgent {
		return 0
	}
	return p.limit * p.reserve / 100
}

// room is how many requests a window has at most.
func (p *primary) room(now time.Time, urgent bool) int {
	if !now.Before(p.reset) {
		return unknown
	}
	return max(p.limit-p.keep(urgent), 1)
}

// unknown is the budget of a GitHub that tells none, or none any more.
const unknown = 1 << 30

func (p *primary) wait(now time.Time, n int, urgent bool) time.Duration {
	free := p.remaining - p.keep(urgent)
	switch {
	case n <= 0 || !now.Before(p.reset) || free >= p.held+n:
		return 0
	case free >= n:
		return min(soon, p.reset.Sub(now))
	}
	return p.reset.Sub(now)
}

// sameReset is how far two replicas of GitHub may be apart about one reset.
const sameReset = 5 * time.Second

// read takes what an answer tells. Of one window the lowest number is true, since
// answers overtake each other.
func (p *primary) read(resp *http.Response, now time.Time) {
	if resource := resp.Header.Get("X-RateLimit-Resource"); resource != "" && resource != "core" {
		return
	}
	remaining, err := strconv.Atoi(resp.Header.Get("X-RateLimit-Remaining"))
	if err != nil || remaining < 0 {
		return
	}
	limit, err := strconv.Atoi(resp.Header.Get("X-RateLimit-Limit"))
	if err != nil {
		limit = max(p.limit, remaining)
	}
	seconds, err := strconv.ParseInt(resp.Header.Get("X-RateLimit-Reset"), 10, 64)
	if err != nil {
		return
	}
	wait := time.Unix(seconds, 0).Sub(serverTime(resp, now))
	if wait <= 0 {
		return
	}
	reset := now.Add(min(wait+time.Second, longestPause)) // GitHub cuts to the second
	if now.Before(p.reset) && reset.Sub(p.reset) < sameReset {
		if p.reset.Sub(reset) >= sameReset {
			return // an answer of a window that is over
		}
		remaining, reset = min(remaining, p.remaining), p.reset
	}
	p.limit, p.remaining, p.reset = limit, remaining, reset
}
