package lightning

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/internal/rest"
	"github.com/litci/litci/pkg/executor/wrapper"
)

// recollection is what this process knows of a job beyond what the service says.
// None of it is needed: another process finds out again.
type recollection struct {
	begun bool
	asked bool
	// odd is the last word of the service that was not understood.
	odd string
	// over is when the job was first seen to have ended.
	over time.Time
	exit *wrapper.Exit
	// settled says that no more is to be learned from the log.
	settled bool
	// sought is up to where the log was searched for its last line, and soughtAt when.
	sought, soughtAt time.Time
	cursor           cursor
	saved            bool // the log is read from the file that the service saved
	// last is the service's last answer, and lastAt when it came; readAt is when the log
	// was last read to its end.
	last           *job
	lastAt, readAt time.Time
}

// maxMemory bounds how many jobs are remembered.
const maxMemory = 5000

// memory holds what is known of jobs, by the service's ids.
type memory struct {
	mu   sync.Mutex
	jobs map[string]*recollection
}

// change works on a job's recollection and returns a copy.
func (m *memory) change(id string, with func(*recollection)) recollection {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.jobs == nil {
		m.jobs = map[string]*recollection{}
	}
	one := m.jobs[id]
	if one == nil {
		for other, r := range m.jobs {
			if len(m.jobs) < maxMemory {
				break
			}
			if r.settled || len(m.jobs) >= 2*maxMemory {
				delete(m.jobs, other)
			}
		}
		one = &recollection{}
		m.jobs[id] = one
	}
	if with != nil {
		with(one)
	}
	return *one
}

// followed is how many jobs that have not ended were looked at lately.
func (m *memory) followed() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, one := range m.jobs {
		if !one.settled && time.Since(one.lastAt) < 2*time.Minute {
			n++
		}
	}
	return n
}

func (m *memory) drop(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.jobs, id)
}

// markerBudget bounds the search for a job's end in its log, in one look at the job.
const markerBudget = 8 * time.Second

// fresh says whether an answer of that time may be given again. The more jobs are
// followed, the longer each waits for its turn: one asking for its state and one for
// its log, with half of the requests left for the rest.
func (e *Executor) fresh(at time.Time) bool {
	age := time.Since(at)
	return age < e.config.Pace.Fresh ||
		age < time.Minute && age.Seconds() < 4*float64(e.jobs.followed())/e.config.Pace.Rate
}

// Observe asks the service, and for an ended job reads the end of its log. A log
// that lags behind keeps the job running for a while.
func (e *Executor) Observe(ctx context.Context, h executor.Handle) (executor.State, error) {
	p, err := e.place(ctx)
	if err != nil {
		return executor.State{}, err
	}
	if h.Ref != "" {
		if known := e.jobs.change(h.Ref, nil); known.last != nil && e.fresh(known.lastAt) {
			return e.state(ctx, p, h, known.last)
		}
	}
	j, err := e.known(ctx, p, h)
	if err != nil {
		return executor.State{}, err
	}
	if j == nil {
		e.jobs.drop(h.Ref)
		return executor.State{Phase: executor.Absent}, nil
	}
	e.jobs.change(j.ID, func(m *recollection) {
		if m.last, m.lastAt = nil, time.Now(); !terminal(j.State) {
			m.last = j
		}
	})
	return e.state(ctx, p, h, j)
}

func (e *Executor) state(ctx context.Context, p place, h executor.Handle, j *job) (executor.State, error) {
	now := time.Now().UTC()
	known := e.jobs.change(j.ID, func(m *recollection) {
		stage := stageOf(j.State)
		m.begun = m.begun || stage == running || stage == finishing || !j.UserLogsStartedAt.IsZero()
		if stage == over && m.over.IsZero() {
			m.over = now
		}
		if !knownState(j.State) && m.odd != j.State {
			m.odd = j.State
			e.log.Warn("state is not known", zap.String("job", h.ID), zap.String("state", j.State))
		}
	})
	if !terminal(j.State) {
		// A word that could mean the beginning as well as the end is settled by the log.
		if !known.begun && !j.StartedAt.IsZero() {
			begun, err := e.begun(ctx, p, h, j.ID)
			if err != nil {
				return executor.State{}, err
			}
			known = e.jobs.change(j.ID, func(m *recollection) { m.begun = m.begun || begun })
		}
		return unended(j, known.begun), nil
	}
	if !known.settled {
		var err error
		if known, err = e.settle(ctx, p, h, j, known); err != nil {
			return executor.State{}, err
		}
		if !known.settled {
			s := unended(j, true)
			s.Message = "finishing: waiting for the log"
			return s, nil
		}
	}
	return outcome(j, evidence{exit: known.exit, begun: known.begun, asked: known.asked, seen: known.over}), nil
}

// longOver is when an ended job's log cannot be lagging behind any more.
const longOver = time.Hour

// settle looks for the wrapper's last line.
func (e *Executor) settle(ctx context.Context, p place, h executor.Handle, j *job, known recollection) (recollection, error) {
	looking, cancel := context.WithTimeout(ctx, markerBudget)
	defer cancel()
	found, begun, err := e.lastLine(looking, p, h, j)
	if err != nil && ctx.Err() != nil {
		return known, fmt.Errorf("job %s: %w", h.ID, ctx.Err())
	}
	// A long log is searched in several looks, and nobody waits for it meanwhile.
	known = e.jobs.change(j.ID, nil)
	still := time.Since(known.over) >= e.config.Pace.Marker && time.Since(known.soughtAt) >= e.config.Pace.Marker
	waited := err == nil && (still || time.Since(endOf(j)) >= longOver) || time.Since(known.over) >= longOver
	// What never began has no log to wait for; what failed to start says so at once.
	hopeless := err == nil && !begun && !known.begun && j.ServerError != ""
	return e.jobs.change(j.ID, func(m *recollection) {
		m.begun = m.begun || begun
		m.exit = found
		m.settled = found != nil || waited || hopeless
	}), nil
}

// begun says whether the log shows that the script has begun.
func (e *Executor) begun(ctx context.Context, p place, h executor.Handle, ref string) (bool, error) {
	d := wrapper.NewDecoder(h.ID)
	err := e.scan(ctx, p, ref, time.Time{}, func(one entry) bool {
		d.Line(one.Message)
		return !d.Begun
	})
	if err != nil && !rest.Missing(err) {
		return false, fmt.Errorf("log of job %s: %w", h.ID, advise(err))
	}
	return d.Begun, nil
}

// lastLine looks for the wrapper's last line: near the job's end, or where it looked
// before; then, where the service's clocks differ, in the whole log; and where there
// are no lines at all, in the file that the service saved.
func (e *Executor) lastLine(ctx context.Context, p place, h executor.Handle, j *job) (found *wrapper.Exit, begun bool, err error) {
	known := e.jobs.change(j.ID, nil)
	from := []time.Time{known.sought}
	if known.sought.IsZero() {
		from = []time.Time{endOf(j).Add(-tailWindow), {}}
	}
	for _, since := range from {
		d, last := wrapper.NewDecoder(h.ID), time.Time{}
		err := e.scan(ctx, p, j.ID, since, func(one entry) bool {
			last = one.Timestamp.Time
			d.Line(one.Message)
			return true
		})
		e.jobs.change(j.ID, func(m *recollection) {
			if last.After(m.sought) {
				m.sought, m.soughtAt = last, time.Now()
			}
		})
		if err != nil {
			return nil, false, fmt.Errorf("log of job %s: %w", h.ID, advise(err))
		}
		begun = begun || d.Begun
		if d.Exit != nil || !last.IsZero() {
			return d.Exit, begun, nil
		}
	}
	if !known.sought.IsZero() {
		return nil, begun, nil
	}
	lines, err := e.savedLines(ctx, p, j.ID)
	if err != nil {
		return nil, begun, fmt.Errorf("saved log of job %s: %w", h.ID, advise(err))
	}
	d := wrapper.NewDecoder(h.ID)
	for _, one := range lines {
		d.Line(one.Message)
	}
	return d.Exit, begun || d.Begun, nil
}

// tailWindow is how long before a job's end its last line is looked for first.
const tailWindow = 2 * time.Minute
