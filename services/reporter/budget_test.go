package reporter

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/ghapp"
)

// A matrix whose jobs all end at once meets GitHub's limits nowhere, and its last
// verdict comes no later than the budget and the machine allow, give or take late.
const late = 10 * time.Second

// soonest is when the last of n check runs and comments can be created at most fast.
func soonest(l ghapp.Limits, n int) time.Duration {
	return max(
		time.Duration((n-1)/l.ContentPerMinute)*l.Minute,
		time.Duration((n-1)/l.ContentPerHour)*l.Hour,
		time.Duration((n*5-1)/l.PointsPerMinute)*l.Minute,
	)
}

// At full scale it takes three and a half minutes:
//
//	go test -run '^$' -bench Matrix -benchtime 1x ./services/reporter
func BenchmarkMatrixOf256Jobs(b *testing.B) {
	for b.Loop() {
		limits := ghapp.Limits{PointsPerMinute: 850, ContentPerMinute: 76, ContentPerHour: 480, Minute: time.Minute, Hour: time.Hour}
		m := runMatrix(b, 256, 1, limits, fakegithub.Limits{})
		m.check(b, 0)
		b.ReportMetric(m.took.Seconds(), "s/last-verdict")
		b.ReportMetric(m.bound.Seconds(), "s/bound")
		b.ReportMetric(m.calls, "calls/job")
		b.ReportMetric(float64(m.refused), "refusals")
	}
}

// The same with a quarter of the jobs, a quarter of the limits, and seconds for minutes.
// Beside it runs one without limits, which tells how fast the machine is.
func TestMatrixWithinTheBudget(t *testing.T) {
	t.Parallel()
	const fast = 60
	limits := ghapp.Limits{PointsPerMinute: 212, ContentPerMinute: 19, ContentPerHour: 480, Minute: time.Minute / fast, Hour: time.Hour / fast}
	free := runMatrix(t, 64, fast, ghapp.LimitsAt(false), fakegithub.Limits{Off: true})
	m := runMatrix(t, 64, fast, limits, fakegithub.Limits{PointsPerMinute: 225, ContentPerMinute: 20})
	t.Logf("last verdict after %s of at least %s, without limits after %s, %.1f calls per job", m.took, m.bound, free.took, m.calls)
	m.check(t, free.took)
}

// measured is what a matrix took.
type measured struct {
	took, bound time.Duration
	calls       float64 // per job
	refused     int64
	jobs        int
	fast        time.Duration
}

// check holds what a matrix took against the budget. machine is what one took that
// had none.
func (m measured) check(t testing.TB, machine time.Duration) {
	t.Helper()
	if m.refused > 0 {
		t.Errorf("GitHub refused %d calls", m.refused)
	}
	if m.took > m.bound+late+4*machine {
		t.Errorf("the last verdict came after %s; the budget allows %s, and without one it took %s", m.took, m.bound, machine)
	}
	// For as long as it takes longer, progress is told at its pace.
	over := max(m.took-m.bound, 0)
	progress := float64(over/(sumPace/m.fast)+over/(commentPace/m.fast)) / float64(m.jobs)
	if m.calls > 4+progress {
		t.Errorf("%.1f calls per job, at most %.1f are expected", m.calls, 4+progress)
	}
}

// The least times between two writes of progress.
const (
	checkPace   = 2 * time.Second
	sumPace     = 3 * time.Second
	commentPace = 5 * time.Second
)

// counting counts what GitHub is asked, and what it refuses.
type counting struct {
	next           http.RoundTripper
	calls, refused atomic.Int64
}

func (c *counting) RoundTrip(req *http.Request) (*http.Response, error) {
	c.calls.Add(1)
	resp, err := c.next.RoundTrip(req)
	if err == nil && (resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusTooManyRequests) {
		c.refused.Add(1)
	}
	return resp, err
}

// fastClock runs as the real one until it is told to run so many times as fast.
type fastClock struct {
	mu   sync.Mutex
	from time.Time
	fast time.Duration
}

func (c *fastClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.from.IsZero() {
		return now
	}
	return c.from.Add(now.Sub(c.from) * c.fast)
}

func (c *fastClock) race() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.from = time.Now()
}

// runMatrix reports a run of n jobs that all end right after they were planned, over
// the bus, at a GitHub whose clock runs so many times as fast.
func runMatrix(t testing.TB, n int, fast time.Duration, own ghapp.Limits, theirs fakegithub.Limits) measured {
	t.Helper()
	clock := &fastClock{fast: fast}
	w := newWorldOf(t, fakegithub.Config{Limits: theirs, Now: clock.now})
	w.budgets = ghapp.NewBudgets(own)
	wire := &http.Transport{}
	t.Cleanup(wire.CloseIdleConnections)
	count := &counting{next: wire}
	r := w.reporter(count)
	r.checkEvery, r.sumEvery, r.commentEvery = checkPace/fast, sumPace/fast, commentPace/fast
	r.desk.crowd, r.desk.patience = crowd/fast, patience/fast
	for _, app := range []App{r.checks, r.comments} { // tokens are made while the clocks agree
		client, err := app.Client(installation, repoID)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := client.Repositories.Get(t.Context(), "octo", "repo"); err != nil {
			t.Fatal(err)
		}
	}
	clock.race()
	count.calls.Store(0)

	b := w.connect()
	w.run(r)
	sha := w.shas[2]
	plan, jobs := w.plan("a", sha, n, epoch)
	bound := soonest(own, n+2) // the aggregate and the comment too
	begin := time.Now()
	if err := bus.PublishPlan(t.Context(), b, plan, jobs); err != nil {
		t.Fatal(err)
	}
	for _, j := range jobs {
		for _, publish := range []func() error{
			func() error { return bus.Publish(t.Context(), b, flow.States, running(j)) },
			func() error { return bus.Publish(t.Context(), b, flow.Results, endOf(j, flow.Success)) },
		} {
			if err := publish(); err != nil {
				t.Fatal(err)
			}
		}
	}
	state := w.awaitFor(bound+5*time.Minute, "every verdict", func(s fakegithub.State) bool {
		ended := 0
		for _, c := range s.CheckRuns {
			if concluded(c) == "success" {
				ended++
			}
		}
		return ended == n+1 && len(s.Comments) == 1 && strings.Contains(s.Comments[0].Body, fmt.Sprintf("%d passed", n))
	})
	m := measured{
		took: time.Since(begin), bound: bound, calls: float64(count.calls.Load()) / float64(n), refused: count.refused.Load(), jobs: n, fast: fast,
	}
	if len(state.CheckRuns) != n+1 {
		t.Errorf("%d check runs for %d jobs and the aggregate", len(state.CheckRuns), n)
	}
	return m
}
