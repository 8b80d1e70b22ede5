package fakegithub

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
)

// Limits are GitHub's bounds on how fast an installation may call. Zero
// fields take the defaults that stand beside them.
type Limits struct {
	Off              bool // no limit refuses; the headers are still sent
	RequestsPerHour  int  // 5,000: the primary limit
	PointsPerMinute  int  // 900: reading costs 1, writing 5
	ContentPerMinute int  // 80: comments and check runs created
	ContentPerHour   int  // 500: the same
	TreeEntries      int  // 100,000: entries of a recursive tree before it is truncated
}

func (l Limits) withDefaults() Limits {
	fill := func(field *int, value int) {
		if *field == 0 {
			*field = value
		}
	}
	fill(&l.RequestsPerHour, 5000)
	fill(&l.PointsPerMinute, 900)
	fill(&l.ContentPerMinute, 80)
	fill(&l.ContentPerHour, 500)
	fill(&l.TreeEntries, 100_000)
	return l
}

// anonymousPerHour is the primary limit of callers without a credential.
const anonymousPerHour = 60

// window counts what happened since start; it begins anew when length is over.
type window struct {
	start time.Time
	used  int
}

func (w *window) roll(now time.Time, length time.Duration) {
	if now.Sub(w.start) >= length {
		w.start, w.used = now, 0
	}
}

// budget is what one caller has spent.
type budget struct {
	requests    window
	points      window
	minute      window // content created
	hour        window // content created
	maxRequests int
}

// bucket names the budget of a caller: one per installation, as GitHub has it.
func (c *call) bucket() string {
	switch {
	case c.who.token != nil:
		return fmt.Sprintf("installation ID %d", c.who.token.installation.ID)
	case c.who.app:
		return fmt.Sprintf("app ID %d", c.s.cfg.AppID)
	default:
		return "your address"
	}
}

// budgetOf returns the caller's budget at this time. s.mu is held.
func (s *Server) budgetOf(c *call, now time.Time) *budget {
	name := c.bucket()
	b := s.budgets[name]
	if b == nil {
		b = &budget{maxRequests: s.cfg.Limits.RequestsPerHour}
		if c.who.token == nil && !c.who.app {
			b.maxRequests = anonymousPerHour
		}
		s.budgets[name] = b
	}
	b.requests.roll(now, time.Hour)
	b.points.roll(now, time.Minute)
	b.minute.roll(now, time.Minute)
	b.hour.roll(now, time.Hour)
	return b
}

// charge books the request and sets the headers that tell of it, or refuses.
// A refusal by a secondary limit is booked on the primary too.
func (s *Server) charge(c *call, header http.Header) (*budget, error) {
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.budgetOf(c, now)
	limits := s.cfg.Limits
	free := c.route.template.String() == "/rate_limit"
	exhausted := !limits.Off && !free && b.requests.used >= b.maxRequests
	if !free && !exhausted {
		b.requests.used++
	}
	b.headers(header)
	if exhausted {
		return nil, refuse(http.StatusForbidden, "API rate limit exceeded for "+c.bucket()+".")
	}
	points := 1
	if c.r.Method != http.MethodGet && c.r.Method != http.MethodHead {
		points = 5
	}
	wait := time.Duration(0)
	exceeded := func(w window, cost, limit int, length time.Duration) {
		if w.used+cost > limit {
			wait = max(wait, w.start.Add(length).Sub(now))
		}
	}
	exceeded(b.points, points, limits.PointsPerMinute, time.Minute)
	if c.route.creates {
		exceeded(b.minute, 1, limits.ContentPerMinute, time.Minute)
		exceeded(b.hour, 1, limits.ContentPerHour, time.Hour)
	}
	if wait > 0 && !limits.Off {
		seconds := int(math.Ceil(wait.Seconds()))
		return nil, &refusal{
			status:  http.StatusForbidden,
			message: "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
			header:  http.Header{"Retry-After": {strconv.Itoa(seconds)}},
		}
	}
	b.points.used += points
	if c.route.creates {
		b.minute.used++
		b.hour.used++
	}
	if free {
		return nil, nil
	}
	return b, nil
}

// refund gives back what an unchanged answer (304) took of the primary limit.
func (s *Server) refund(b *budget, header http.Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b.requests.used = max(0, b.requests.used-1)
	b.headers(header)
}

func (b *budget) headers(h http.Header) {
	h.Set("X-RateLimit-Limit", strconv.Itoa(b.maxRequests))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(max(0, b.maxRequests-b.requests.used)))
	h.Set("X-RateLimit-Used", strconv.Itoa(b.requests.used))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(b.requests.start.Add(time.Hour).Unix(), 10))
	h.Set("X-RateLimit-Resource", "core")
}

func (c *call) getRateLimit() (reply, error) {
	c.s.mu.Lock()
	b := *c.s.budgetOf(c, c.s.cfg.Now())
	c.s.mu.Unlock()
	core := object{
		"limit": b.maxRequests, "used": b.requests.used, "remaining": max(0, b.maxRequests-b.requests.used),
		"reset": b.requests.start.Add(time.Hour).Unix(), "resource": "core",
	}
	search := object{"limit": 30, "used": 0, "remaining": 30, "reset": c.s.now().Add(time.Minute).Unix(), "resource": "search"}
	return ok(object{"resources": object{"core": core, "search": search}, "rate": core})
}
