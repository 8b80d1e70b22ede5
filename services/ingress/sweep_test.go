package ingress

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-github/v62/github"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/pkg/fakegithub/fakegithubtest"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/ghapp"
)

const (
	// patience bounds every wait of these tests.
	patience = 3 * time.Minute
	// every is the time between two rounds of these tests' sweepers.
	every = 50 * time.Millisecond
)

// outage is a GitHub that has delivered to a webhook that was away, and what it
// takes to bring ingresses back. Nothing is due again before the test says that time
// has passed, however long a redelivery takes.
type outage struct {
	t      *testing.T
	bus    *bus.Bus
	github *fakegithub.Server
	app    *ghapp.App

	mu    sync.Mutex
	clock time.Time // GitHub's
	now   time.Time // the sweepers'
}

func newOutage(t *testing.T) *outage {
	t.Helper()
	now := time.Now()
	o := &outage{t: t, bus: bustest.New(t), clock: now.Add(-30 * time.Minute), now: now}
	away := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	t.Cleanup(away.Close)
	server, url := fakegithubtest.Start(t, fakegithub.Config{
		WebhookURL: away.URL, WebhookSecret: testSecret,
		Now: func() time.Time {
			o.mu.Lock()
			defer o.mu.Unlock()
			return o.clock
		},
	})
	o.github = server
	var err error
	o.app, err = ghapp.New(ghapp.Config{BaseURL: url, AppID: server.Config().AppID, PrivateKey: fakegithub.EncodeKey(server.Config().PrivateKey)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.app.Close)
	return o
}

func (o *outage) advance(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.clock = o.clock.Add(d)
}

// pass lets time pass for the sweepers.
func (o *outage) pass(d time.Duration) time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now = o.now.Add(d)
	return o.now
}

// push delivers n pushes over half an hour, and star events that nobody misses.
func (o *outage) push(n int) {
	o.t.Helper()
	for i := range n {
		body := strings.Replace(validPush, "refs/heads/main", fmt.Sprintf("refs/heads/b%d", i), 1)
		d, err := o.github.Deliver(o.t.Context(), "push", []byte(body))
		if err != nil || d.Status == "OK" {
			o.t.Fatalf("delivery %+v, %v", d, err)
		}
		if _, err := o.github.Deliver(o.t.Context(), "star", []byte(`{"action":"created","installation":{"id":9}}`)); err != nil {
			o.t.Fatal(err)
		}
		o.advance(30 * time.Minute / time.Duration(n))
	}
}

// ingress runs one until the test ends. The webhook is the newest one's.
func (o *outage) ingress() *Ingress {
	o.t.Helper()
	i, err := New(o.bus, Settings{
		Listen: "127.0.0.1:0", Secrets: []string{testSecret}, Log: o.app.AsApp(), SweepInterval: every,
	}, zaptest.NewLogger(o.t, zaptest.Level(zap.WarnLevel)), prometheus.NewRegistry())
	if err != nil {
		o.t.Fatal(err)
	}
	o.github.SetWebhookURL("http://" + i.Addr().String() + "/webhook")
	i.sweeper.now = func() time.Time { return o.pass(0) }
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- i.Run(ctx) }()
	o.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			o.t.Error(err)
		}
	})
	return i
}

// expect waits until n pushes are on the bus, and then counts what stands there.
func (o *outage) expect(n int) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), patience)
	defer cancel()
	seen := map[string]bool{}
	err := bus.Tail(ctx, o.bus, flow.Events, func(e flow.Event) bool {
		seen[e.Push.Ref] = true
		return len(seen) < n
	})
	if err != nil || len(seen) != n {
		o.t.Fatalf("%d pushes on the bus, %v", len(seen), err)
	}
	o.github.Wait()
	stored := 0
	err = bus.Scan(ctx, o.bus, flow.Events, bus.From{}, func(bus.Meta, flow.Event) bool {
		stored++
		return true
	})
	if err != nil || stored != n {
		o.t.Errorf("%d events on the bus, want %d; %v", stored, n, err)
	}
}

// attempts counts, by GUID, how often GitHub delivered.
func (o *outage) attempts() map[string]int {
	n := map[string]int{}
	for _, d := range o.github.State().Deliveries {
		n[d.GUID]++
	}
	return n
}

// round waits for a whole round at the sweepers' time or later, and until GitHub has
// done what it asked for.
func (o *outage) round() {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), patience)
	defer cancel()
	for now := o.pass(0); ; {
		h, err := bus.Change(ctx, o.bus.Runs(), healKey, func(*heal) bool { return false })
		if err != nil {
			o.t.Fatal(err)
		}
		if !h.Round.Before(now) {
			break
		}
	}
	o.github.Wait()
}

// rounds are n more rounds. What was asked for is not due again in the first of them,
// and has come to its end then.
func (o *outage) rounds(n int) {
	o.t.Helper()
	for range n {
		o.pass(every * 3 / 5)
		o.round()
	}
}

// Ingress is away for half an hour over twenty pushes: after its return all of them
// are on the bus, each once, and GitHub was asked once for each.
func TestMissedWebhooksHeal(t *testing.T) {
	t.Parallel()
	o := newOutage(t)
	const pushes = 20
	o.push(pushes)
	i := o.ingress()
	o.expect(pushes)
	o.rounds(2)
	for guid, n := range o.attempts() {
		if n > 2 {
			t.Errorf("%s was delivered %d times", guid, n)
		}
	}
	if n := len(o.github.State().Deliveries); n != 3*pushes {
		t.Errorf("%d attempts in GitHub's log, want %d", n, 3*pushes)
	}
	for _, d := range o.github.State().Deliveries[2*pushes:] {
		if !d.Redelivery || d.Status != "OK" || d.Event != "push" {
			t.Errorf("attempt %+v", d.DeliveryItem)
		}
	}
	// A round is counted behind the writing of its state.
	now := o.pass(time.Hour)
	for began := time.Now(); testutil.ToFloat64(i.sweeper.metrics.last) < float64(now.Unix()); runtime.Gosched() {
		if time.Since(began) > patience {
			t.Fatalf("last sweep at %g", testutil.ToFloat64(i.sweeper.metrics.last))
		}
	}
	if n := testutil.ToFloat64(i.sweeper.metrics.redelivered); n != pushes {
		t.Errorf("%g redeliveries counted", n)
	}
	if n := testutil.ToFloat64(i.sweeper.metrics.pending); n != 0 {
		t.Errorf("%g still pending", n)
	}
}

// Several ingresses sweep one at a time: together they ask once for each delivery.
func TestTwoIngressesSweepAsOne(t *testing.T) {
	t.Parallel()
	o := newOutage(t)
	const pushes = 20
	o.push(pushes)
	o.ingress()
	o.ingress()
	o.expect(pushes)
	o.rounds(4)
	if n := len(o.github.State().Deliveries); n != 3*pushes {
		t.Errorf("%d attempts in GitHub's log, want %d", n, 3*pushes)
	}
}

// crashing is a log whose reader dies after a number of redeliveries.
type crashing struct {
	deliveryLog
	left atomic.Int32
	died chan struct{}
}

func (c *crashing) Redeliver(ctx context.Context, id int64) error {
	if c.left.Add(-1) < 0 {
		close(c.died)
		<-ctx.Done() // a dead process does nothing, and its lease stays
		return ctx.Err()
	}
	return c.deliveryLog.Redeliver(ctx, id)
}

// A sweeper that dies among its redeliveries leaves its lease. When that ends,
// another goes on; what was asked for already is not asked for again.
func TestSweepGoesOnAfterACrash(t *testing.T) {
	t.Parallel()
	o := newOutage(t)
	const pushes = 20
	o.push(pushes)
	dying := &crashing{deliveryLog: appLog{o.app.AsApp()}, died: make(chan struct{})}
	dying.left.Store(7)
	s, err := newSweeper(dying, o.bus.Runs(), time.Minute, zap.NewNop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	l := &lease{kv: s.state, life: s.life}
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() {
		defer close(over)
		if err := l.renew(ctx); err != nil {
			t.Error(err)
		}
		r := &round{sweeper: s, lease: l}
		if err := errors.Join(r.load(ctx), r.sweep(ctx)); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	select {
	case <-dying.died:
	case <-over:
	}
	cancel() // and neither is its state kept nor its lease given back
	<-over
	l.life = time.Second // is all that is left of it
	if err := l.renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	o.github.Wait() // for seven redeliveries in vain

	o.ingress()
	o.expect(pushes)
	o.rounds(2)
	for guid, n := range o.attempts() {
		if n > 3 {
			t.Errorf("%s was delivered %d times", guid, n)
		}
	}
	if n := len(o.github.State().Deliveries); n != 3*pushes+7 {
		t.Errorf("%d attempts in GitHub's log, want %d", n, 3*pushes+7)
	}
}

// While GitHub or a limit stands in the way, rounds end early; the next goes on.
func TestSweepSurvivesGitHubsFaults(t *testing.T) {
	const list, post = "/app/hook/deliveries", "/app/hook/deliveries/{delivery_id}/attempts"
	cases := map[string][]fakegithub.Fault{
		"the log fails":                   {{Method: http.MethodGet, Path: list, Status: 500, Count: 3}},
		"the log answers nothing":         {{Method: http.MethodGet, Path: list, Drop: true, Count: 2}},
		"a redelivery fails":              {{Method: http.MethodPost, Path: post, Status: 500, Count: 2}},
		"a redelivery's answer is lost":   {{Method: http.MethodPost, Path: post, Drop: true, AfterEffect: true, Count: 1}},
		"a redelivery is refused":         {{Method: http.MethodPost, Path: post, Status: 422, Count: 1}},
		"GitHub's secondary limit is met": {{Method: http.MethodPost, Path: post, Status: 403, Headers: map[string]string{"Retry-After": "1"}, Count: 1}},
	}
	for name, faults := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOutage(t)
			o.push(5)
			o.github.AddFaults(faults...)
			o.ingress()
			o.round()
			o.pass(2 * every) // what was refused is due again
			o.expect(5)
			for guid, n := range o.attempts() {
				if n > 3 {
					t.Errorf("%s was delivered %d times", guid, n)
				}
			}
		})
	}
}

// forgetful is a log that is empty by now.
type forgetful struct{ asked []int64 }

func (f *forgetful) Page(context.Context, string) ([]attempt, string, error) { return nil, "", nil }

func (f *forgetful) Redeliver(_ context.Context, id int64) error {
	f.asked = append(f.asked, id)
	return &github.ErrorResponse{Response: &http.Response{StatusCode: http.StatusNotFound, Request: &http.Request{}}}
}

// What GitHub's log has forgotten is given up, and so is what it must have.
func TestForgottenDeliveriesAreGivenUp(t *testing.T) {
	b := bustest.New(t)
	_, err := bus.Change(t.Context(), b.Runs(), healKey, func(h *heal) bool {
		h.Seen = time.Now()
		h.Pending = []missed{
			{GUID: "young", ID: 1, First: time.Now()},
			{GUID: "waits", ID: 2, First: time.Now(), Next: time.Now().Add(time.Hour)},
			{GUID: "old", ID: 3, First: time.Now().Add(-73 * time.Hour)},
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	log := new(forgetful)
	s, err := newSweeper(log, b.Runs(), time.Minute, zap.NewNop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.turn(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	h, err := bus.Change(t.Context(), b.Runs(), healKey, func(*heal) bool { return false })
	if err != nil || len(h.Pending) != 1 || h.Pending[0].GUID != "waits" || !slices.Equal(log.asked, []int64{1}) {
		t.Errorf("asked for %v, pending %+v, %v", log.asked, h.Pending, err)
	}
}

// A state that this program cannot read is begun anew.
func TestUnreadableStateIsBegunAnew(t *testing.T) {
	b := bustest.New(t)
	if _, err := b.Runs().Put(t.Context(), healKey, []byte("no JSON"), 0); err != nil {
		t.Fatal(err)
	}
	s, err := newSweeper(new(forgetful), b.Runs(), time.Minute, zap.NewNop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.turn(t.Context(), true); err != nil {
		t.Fatal(err)
	}
}
