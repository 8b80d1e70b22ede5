package ghapp

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// Limits are how fast an installation may be used. Zero fields take the defaults
// that stand beside them: a little under what GitHub allows ["Rate limits for the
// REST API", secondary rate limits], since others spend too: another replica,
// another service, people with other tools. A number that is large enough switches
// its limit off, as for a GitHub Enterprise Server without limits.
type Limits struct {
	Concurrent       int // 10 requests at once; GitHub blocks above 100
	PointsPerMinute  int // 850 of GitHub's 900; reading costs 1, writing 5
	ContentPerMinute int // 76 of GitHub's 80: check runs and comments created
	ContentPerHour   int // 480 of GitHub's 500
	// Reserve is how much of each of these, and of the hour's requests as GitHub
	// tells them, progress leaves to verdicts, in percent: 10, at most 90; negative is none.
	Reserve int
	// Minute and Hour are how long the windows are; for tests.
	Minute, Hour time.Duration
}

// withDefaults fills in what is zero; less than one request of each kind would
// never let anything through.
func (l Limits) withDefaults() Limits {
	l.Concurrent = max(cmp.Or(l.Concurrent, 10), 1)
	l.PointsPerMinute = max(cmp.Or(l.PointsPerMinute, 850), writePoints)
	l.ContentPerMinute = max(cmp.Or(l.ContentPerMinute, 76), 1)
	l.ContentPerHour = max(cmp.Or(l.ContentPerHour, 480), 1)
	l.Reserve = min(max(cmp.Or(l.Reserve, 10), 0), 90)
	l.Minute = cmp.Or(l.Minute, time.Minute)
	l.Hour = cmp.Or(l.Hour, time.Hour)
	return l
}

// LimitsAt is the pace to keep, or none where the server has no limits. Limits that
// GitHub tells of all the same are kept to either way.
func LimitsAt(pace bool) Limits {
	if pace {
		return Limits{}
	}
	const none = 1 << 30
	return Limits{PointsPerMinute: none, ContentPerMinute: none, ContentPerHour: none}
}

// Budgets are what the installations of one GitHub App may spend. Apps of one
// process that share them share each installation's pauses, places and pace. Safe
// for concurrent use.
type Budgets struct {
	limits Limits

	mu            sync.Mutex
	installations map[int64]*installation
}

// NewBudgets returns Budgets of which nothing is spent.
func NewBudgets(limits Limits) *Budgets {
	return &Budgets{limits: limits.withDefaults(), installations: map[int64]*installation{}}
}

func (b *Budgets) installation(id int64) *installation {
	b.mu.Lock()
	defer b.mu.Unlock()
	inst := b.installations[id]
	if inst == nil {
		inst = newInstallation(id, b.limits)
		b.installations[id] = inst
	}
	return inst
}

// all returns the installations, in no order.
func (b *Budgets) all() []*installation {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.installations))
}

// Cost is how many requests of each kind a piece of work will send.
type Cost struct {
	Reads     int // GET
	Writes    int // PATCH, PUT, DELETE, and POST that creates no content
	Creations int // POST of a check run or a comment
}

// Points by which GitHub weighs requests ["Rate limits for the REST API",
// calculating points for the secondary rate limit].
const (
	readPoints  = 1
	writePoints = 5
)

func (c Cost) points() int   { return c.Reads*readPoints + (c.Writes+c.Creations)*writePoints }
func (c Cost) requests() int { return c.Reads + c.Writes + c.Creations }

// Reservation is a part of an installation's budget that nobody else can spend.
// Safe for concurrent use.
type Reservation struct {
	inst   *installation
	urgent bool
	left   share // guarded by inst.mu
}

// Reserve takes a part of an installation's budget for work that starts now, or
// returns a *LimitError that tells until when asking again is no use; it never
// waits. Urgent work, a verdict, may have all that is left; other work, progress,
// leaves a reserve. Who is put off does not stand in a queue: the caller orders
// those who wait, and may ask sooner when a Release has given something back.
//
//	r, err := app.Reserve(installation, ghapp.Cost{Reads: 1, Creations: 1}, verdict)
//	if err != nil {
//		return err // Pause knows it; or keep it queued until its Until
//	}
//	defer r.Release()
//	client.Checks.CreateCheckRun(r.Context(ctx), …)
//
// A cost beyond a whole window's budget is cut to it. What is spent without a
// reservation, or beyond one, is counted too: a request that would exceed the
// budget is not sent and returns a *LimitError.
func (a *App) Reserve(installation int64, cost Cost, urgent bool) (*Reservation, error) {
	r, limit := a.budgets.installation(installation).reserve(time.Now(), cost, urgent)
	if limit == nil {
		return r, nil
	}
	if limit.own {
		a.metrics.limited.WithLabelValues(limitedOwn).Inc()
	}
	return nil, limit
}

// Context makes the requests under it spend the reservation, those of all Apps
// that share the Budgets; beyond it they spend what is left to others of its
// urgency.
func (r *Reservation) Context(ctx context.Context) context.Context {
	return context.WithValue(ctx, reservationKey{}, r)
}

// Release gives back what was not spent. Calling it again does nothing.
func (r *Reservation) Release() { r.inst.release(r) }

type reservationKey struct{}

// reservationOf is the reservation for an installation that ctx carries, or nil.
func reservationOf(ctx context.Context, inst *installation) *Reservation {
	r, _ := ctx.Value(reservationKey{}).(*Reservation)
	if r == nil || r.inst != inst {
		return nil
	}
	return r
}
