package launcher

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
)

// The kinds of reasons for which jobs wait.
const (
	waitsSlot         = "slot"
	waitsRepository   = "repository"
	waitsInstallation = "installation"
	waitsNeeds        = "needs"
	waitsGroup        = "group"
	waitsParallel     = "max_parallel"
)

// reasons are all kinds.
var reasons = [...]string{waitsSlot, waitsRepository, waitsInstallation, waitsNeeds, waitsGroup, waitsParallel}

// reason is why a job waits, in the words that its page shows.
type reason struct{ kind, text string }

// waiter is a job that waits.
type waiter struct {
	job flow.Job
	// ticket is its place in the queue; before it has one, why says what it waits for.
	ticket *ticket
	why    reason

	// size is about what it takes; beyond says that there was no room for that.
	size   int
	beyond bool

	// span is the message's, for what is told of it.
	span trace.Span

	seen, told    string
	since, toldAt time.Time
}

// retell is how often the same reason is told again: who hears nothing of a job for
// an hour and a half takes its launcher for dead.
const retell = 20 * time.Minute

// waiting are the jobs that wait, of which people are told why.
type waiting struct {
	queue *queue

	// memory bounds what all of them take, which is used.
	memory int

	mu   sync.Mutex
	jobs map[*waiter]struct{}
	used int
}

func newWaiting(q *queue, memory int) *waiting {
	return &waiting{queue: q, memory: memory, jobs: map[*waiter]struct{}{}}
}

// errFull says that a job would have to wait where too much does.
var errFull = errors.New("too many jobs wait in this launcher, which looks at this one again later")

// sizeOf is about what a job takes while it waits: itself, its message, and what
// looks after it.
func sizeOf(job flow.Job) int {
	size := 2<<10 + len(job.Script)
	for name, value := range job.Env {
		size += len(name) + len(value)
	}
	return 2 * size
}

func (w *waiting) add(job flow.Job, span trace.Span) *waiter {
	one := &waiter{job: job, span: span, size: sizeOf(job)}
	// The status says nothing of these, and they are what is large.
	one.job.Script, one.job.Env, one.job.Params = "", nil, nil
	w.mu.Lock()
	defer w.mu.Unlock()
	one.beyond = w.used+one.size > w.memory
	w.used += one.size
	w.jobs[one] = struct{}{}
	return one
}

func (w *waiting) remove(one *waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.jobs, one)
	w.used -= one.size
}

// set says what a job waits for: a ticket's turn, or a reason.
func (w *waiting) set(one *waiter, t *ticket, why reason) {
	w.mu.Lock()
	defer w.mu.Unlock()
	one.ticket, one.why = t, why
}

// present is why a job waits now.
func (w *waiting) present(one *waiter) reason {
	if one.ticket != nil {
		return w.queue.why(one.ticket)
	}
	return one.why
}

// count is how many jobs wait for each kind of reason.
func (w *waiting) count() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := map[string]int{}
	for one := range w.jobs {
		n[w.present(one).kind]++
	}
	return n
}

// word is a status to tell, of one job.
type word struct {
	flow.Status
	one *waiter
}

// news are the statuses of the jobs that have waited for the same reason for a
// while, and whose people do not know it.
func (w *waiting) news(now time.Time, while time.Duration) []word {
	w.mu.Lock()
	defer w.mu.Unlock()
	var news []word
	for one := range w.jobs {
		why := w.present(one)
		if why.text != one.seen {
			one.seen, one.since = why.text, now
			continue
		}
		known := why.text == one.told && now.Sub(one.toldAt) < retell
		if why.text == "" || known || now.Sub(one.since) < while {
			continue
		}
		one.told, one.toldAt = why.text, now
		status := flow.StatusOf(one.job, flow.Queued, now.UTC())
		status.Message = why.text
		news = append(news, word{status, one})
	}
	return news
}

// unsay takes back what could not be told: it is told again.
func (w *waiting) unsay(one *waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	one.told = ""
}

// putOff brings a job that found no room to wait again later, and tells people from
// time to time what it waits for.
func (l *Launcher) putOff(ctx context.Context, job flow.Job, why reason) error {
	every := max(uint64(retell/l.options.Recheck), 1)
	if bus.Delivery(ctx).Delivered%every == 1%every {
		status := flow.StatusOf(job, flow.Queued, time.Now().UTC())
		status.Message = why.text
		if err := bus.Publish(ctx, l.bus, flow.States.OfPool(l.options.Pool), status); err != nil {
			return err
		}
	}
	return bus.Later(errFull, l.options.Recheck)
}

// keepTelling publishes why jobs wait until ctx ends.
func (l *Launcher) keepTelling(ctx context.Context) {
	tick := time.NewTicker(l.options.Tell)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, status := range l.waiting.news(time.Now(), l.options.Tell) {
			if ctx.Err() != nil {
				return
			}
			told := trace.ContextWithSpan(ctx, status.one.span)
			if err := bus.Publish(told, l.bus, flow.States.OfPool(l.options.Pool), status.Status); err != nil && ctx.Err() == nil {
				l.waiting.unsay(status.one)
				l.log.Warn("reason for waiting is told later", zap.String("job", status.Job), zap.Error(err))
			}
		}
	}
}
