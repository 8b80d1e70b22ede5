package bus_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/bus/embedded"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func event(delivery string) flow.Event {
	return flow.Event{
		Delivery: delivery, Kind: "push", Installation: 7, Repo: flow.Repo{ID: 1, Owner: "octo", Name: "hello"},
		Push: &flow.Push{Ref: "refs/heads/main", After: strings.Repeat("a", 40)},
	}
}

// consume runs a consumer until the test ends and returns a function that stops it.
func consume[T flow.Message](t *testing.T, b *bus.Bus, subject flow.Subject[T], opt bus.Consumer, handler func(context.Context, T) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- bus.Consume(ctx, b, subject, opt, handler) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(time.Minute):
		t.Fatal("nothing came within a minute")
		panic("unreachable")
	}
}

// admin is a plain client of the same server, for what services never do.
func admin(t *testing.T, s *embedded.Server) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	key, err := nats.NkeyOptionFromSeed(s.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(s.URL(), key, nats.Timeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	return nc, js
}

func TestPublishedMessageReachesItsConsumerOnce(t *testing.T) {
	b := bustest.New(t)
	got := make(chan flow.Event, 10)
	one := bus.Consumer{Service: "planner", Places: 1} // one at a time: in order
	consume(t, b, flow.Events, one, func(_ context.Context, e flow.Event) error {
		got <- e
		return nil
	})
	for range 3 { // the same key three times
		if err := bus.Publish(t.Context(), b, flow.Events, event("one")); err != nil {
			t.Fatal(err)
		}
	}
	if err := bus.Publish(t.Context(), b, flow.Events, event("two")); err != nil {
		t.Fatal(err)
	}
	if e := receive(t, got); e.Delivery != "one" || e.Repo.FullName() != "octo/hello" {
		t.Errorf("first message is %+v", e)
	}
	if e := receive(t, got); e.Delivery != "two" {
		t.Errorf("second message is %s, want two: a repeated key was stored again", e.Delivery)
	}
}

func TestIdentitiesStandInHeaders(t *testing.T) {
	s := bustest.Server(t)
	b := bustest.Connect(t, s, bus.Config{Name: "test"})
	nc, _ := admin(t, s)
	sub, err := nc.SubscribeSync("events.pr")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := bus.Publish(t.Context(), b, flow.Events, event("one")); err != nil {
		t.Fatal(err)
	}
	msg, err := sub.NextMsgWithContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"Nats-Msg-Id": "gh/one", "Litci-Delivery": "one", "Litci-Repo": "octo/hello", "Litci-Installation": "7", "Litci-Sha": strings.Repeat("a", 40),
	} {
		if have := msg.Header.Get(name); have != want {
			t.Errorf("header %s is %q, want %q", name, have, want)
		}
	}
}

func plan(run string, n int) (flow.Plan, []flow.Job) {
	p := flow.Plan{Identity: flow.Identity{Run: run, Delivery: "d", Repo: flow.Repo{ID: 1, Owner: "o", Name: "n"}}}
	jobs := make([]flow.Job, n)
	for i := range jobs {
		jobs[i] = flow.Job{Identity: p.Identity, Job: flow.JobID(run, i), Index: i, Attempt: 1, Script: "true"}
		p.Jobs = append(p.Jobs, flow.PlannedJob{Job: jobs[i].Job})
	}
	return p, jobs
}

func TestPlanIsStoredWholeAndOnce(t *testing.T) {
	for _, n := range []int{1, 2, 256, bus.MaxBatch} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			s := bustest.Server(t)
			b := bustest.Connect(t, s, bus.Config{Name: "test"})
			p, jobs := plan("aaaaaaaaaaaaaaaaaaaa", n)
			if err := bus.PublishPlan(t.Context(), b, p, jobs); err != nil {
				t.Fatal(err)
			}
			if err := bus.PublishPlan(t.Context(), b, p, jobs); !errors.Is(err, bus.ErrPlanned) {
				t.Fatalf("second time: %v, want ErrPlanned", err)
			}
			_, js := admin(t, s)
			stream, err := js.Stream(t.Context(), "JOBS")
			if err != nil {
				t.Fatal(err)
			}
			if have := stream.CachedInfo().State.Msgs; have != uint64(n+1) {
				t.Errorf("%d messages stored, want the marker and %d jobs", have, n)
			}
			marker, err := bus.Latest(t.Context(), b, flow.PlanOf(p.Run))
			if err != nil || len(marker.Jobs) != n {
				t.Errorf("marker lists %d jobs, %v", len(marker.Jobs), err)
			}
		})
	}
}

// The duplicate window forgets; the marker does not.
func TestPlanIsStoredOnceBeyondTheDuplicateWindow(t *testing.T) {
	s := bustest.Server(t)
	b := bustest.Connect(t, s, bus.Config{Name: "test"})
	_, js := admin(t, s)
	stream, err := js.Stream(t.Context(), "JOBS")
	if err != nil {
		t.Fatal(err)
	}
	cfg := stream.CachedInfo().Config
	cfg.Duplicates = 100 * time.Millisecond
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	p, jobs := plan("bbbbbbbbbbbbbbbbbbbb", 3)
	if err := bus.PublishPlan(t.Context(), b, p, jobs); err != nil {
		t.Fatal(err)
	}
	// The window has passed when the id of an unrelated message is accepted again.
	for probe := uint64(0); ; {
		ack, err := js.Publish(t.Context(), "jobs.plan.probe", nil, jetstream.WithMsgID("probe"))
		if err != nil {
			t.Fatal(err)
		}
		if !ack.Duplicate && probe > 0 {
			break
		}
		probe++
	}
	if err := bus.PublishPlan(t.Context(), b, p, jobs); !errors.Is(err, bus.ErrPlanned) {
		t.Fatalf("after the window: %v, want ErrPlanned", err)
	}
}

func TestTooLargePlanIsRefused(t *testing.T) {
	b := bustest.New(t)
	p, jobs := plan("cccccccccccccccccccc", bus.MaxBatch+1)
	if err := bus.PublishPlan(t.Context(), b, p, jobs); err == nil {
		t.Fatal("a plan beyond the batch limit was stored")
	}
	if _, err := bus.Latest(t.Context(), b, flow.PlanOf(p.Run)); !errors.Is(err, bus.ErrNotFound) {
		t.Fatalf("marker: %v, want ErrNotFound", err)
	}
}

func TestHeldMessageIsHandedOverWhenItsServiceStops(t *testing.T) {
	s := bustest.Server(t)
	// The ack wait is far beyond the test's patience: only a hand-over brings the message.
	first := bustest.Connect(t, s, bus.Config{Name: "first", AckWait: time.Hour})
	second := bustest.Connect(t, s, bus.Config{Name: "second", AckWait: time.Hour})
	held := make(chan struct{})
	opt := bus.Consumer{Service: "planner", Hold: true}
	stop := consume(t, first, flow.Events, opt, func(ctx context.Context, _ flow.Event) error {
		close(held)
		<-ctx.Done()
		return ctx.Err()
	})
	if err := bus.Publish(t.Context(), first, flow.Events, event("one")); err != nil {
		t.Fatal(err)
	}
	receive(t, held)
	stop()
	got := make(chan flow.Event, 1)
	consume(t, second, flow.Events, opt, func(_ context.Context, e flow.Event) error {
		got <- e
		return nil
	})
	receive(t, got)
}

func TestLongWorkIsNotDeliveredTwice(t *testing.T) {
	t.Parallel()
	s := bustest.Server(t)
	// It is kept every four seconds: a machine may stand still for almost eight.
	b := bustest.Connect(t, s, bus.Config{Name: "test", AckWait: 12 * time.Second})
	beats := subscribe(t, s, "$JS.ACK.EVENTS.planner.>")
	var calls atomic.Int32
	consume(t, b, flow.Events, bus.Consumer{Service: "planner", Hold: true}, func(ctx context.Context, _ flow.Event) error {
		calls.Add(1)
		<-ctx.Done()
		return ctx.Err()
	})
	if err := bus.Publish(t.Context(), b, flow.Events, event("one")); err != nil {
		t.Fatal(err)
	}
	for range 5 { // the fifth comes more than an ack wait after the message
		beat, err := beats.NextMsg(time.Minute)
		if err != nil || string(beat.Data) != "+WPI" {
			t.Fatalf("the message is not kept: %v, %v", beat, err)
		}
	}
	if n := calls.Load(); n != 1 {
		t.Errorf("the message was in hand %d times", n)
	}
}

func TestConsumerWaitsForTheTopology(t *testing.T) {
	s := bustest.Server(t)
	early, err := bus.Connect(bus.Config{Name: "early", URL: s.URL(), NKey: s.KeyFile}, zap.NewNop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(early.Close)
	got := make(chan flow.Event, 1)
	consume(t, early, flow.Events, bus.Consumer{Service: "planner"}, func(_ context.Context, e flow.Event) error {
		got <- e
		return nil
	})
	b := bustest.Connect(t, s, bus.Config{Name: "test"}) // provisions
	if err := bus.Publish(t.Context(), b, flow.Events, event("one")); err != nil {
		t.Fatal(err)
	}
	receive(t, got)
}

func TestPoolHasItsOwnConsumerAndStarSeesAll(t *testing.T) {
	b := bustest.New(t)
	names := make(chan string, 10)
	take := func(who string) func(context.Context, flow.Job) error {
		return func(_ context.Context, j flow.Job) error {
			names <- who + ":" + j.Pool
			return nil
		}
	}
	consume(t, b, flow.Jobs, bus.Consumer{Service: "launcher"}, take("launcher"))
	if err := b.Provision(t.Context(), bus.Provision{Pools: []string{"gpu"}}); err != nil {
		t.Fatal(err)
	}
	consume(t, b, flow.Jobs, bus.Consumer{Service: "launcher", Pool: "gpu"}, take("gpu"))
	consume(t, b, flow.Jobs, bus.Consumer{Service: "reporter", Durable: "reporter-jobs", Pool: "*"}, take("reporter"))
	p, jobs := plan("dddddddddddddddddddd", 2)
	jobs[1].Pool = "gpu"
	if err := bus.PublishPlan(t.Context(), b, p, jobs); err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for range 4 {
		have[receive(t, names)] = true
	}
	for _, want := range []string{"launcher:", "gpu:gpu", "reporter:", "reporter:gpu"} {
		if !have[want] {
			t.Errorf("%s is missing in %v", want, have)
		}
	}
}

func TestTailShowsThePastAndThePresent(t *testing.T) {
	b := bustest.New(t)
	publish := func(offset int64) {
		t.Helper()
		if err := bus.Publish(t.Context(), b, flow.LogOf("j"), flow.LogBlock{Job: "j", Attempt: 1, Offset: offset, Text: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	publish(0)
	seen := make(chan int64, 5)
	done := make(chan error, 1)
	go func() {
		done <- bus.Tail(t.Context(), b, flow.LogOf("j"), func(l flow.LogBlock) bool {
			seen <- l.Offset
			return l.Offset < 2
		})
	}()
	if first := receive(t, seen); first != 0 {
		t.Errorf("first block at %d", first)
	}
	publish(1)
	publish(2)
	if err := receive(t, done); err != nil {
		t.Fatal(err)
	}
}

func TestTailerMayLookAndNotTouch(t *testing.T) {
	s := bustest.Server(t)
	bustest.Connect(t, s, bus.Config{Name: "test"})
	key, err := nats.NkeyOptionFromSeed(s.TailKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	denied := make(chan error, 1)
	nc, err := nats.Connect(s.URL(), key, nats.Timeout(time.Minute), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if err := nc.Publish("events.pr", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, denied); !errors.Is(err, nats.ErrPermissionViolation) {
		t.Fatalf("publish as a tailer: %v", err)
	}
	if info, err := os.Stat(s.TailKeyFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("seed file has mode %v, %v", info.Mode(), err)
	}
}

func TestWhatWasStoredOutlivesTheServer(t *testing.T) {
	dir := t.TempDir()
	start := func() *embedded.Server {
		s, err := embedded.Start(embedded.Config{Dir: dir, Listen: "127.0.0.1:0", SyncAlways: true})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := start()
	b, err := bus.Connect(bus.Config{Name: "test", URL: s.URL(), NKey: s.KeyFile, InProcess: s}, zap.NewNop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Provision(t.Context(), bus.Provision{Bytes: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	if err := bus.Publish(t.Context(), b, flow.Events, event("one")); err != nil {
		t.Fatal(err)
	}
	b.Close()
	s.Stop()
	s = start()
	t.Cleanup(s.Stop)
	b = bustest.Connect(t, s, bus.Config{Name: "test"})
	got := make(chan flow.Event, 1)
	consume(t, b, flow.Events, bus.Consumer{Service: "planner"}, func(_ context.Context, e flow.Event) error {
		got <- e
		return nil
	})
	if e := receive(t, got); e.Delivery != "one" {
		t.Errorf("came back as %+v", e)
	}
}

func TestLagsTellWhatIsLeftToDo(t *testing.T) {
	b := bustest.New(t)
	if err := bus.Publish(t.Context(), b, flow.Events, event("one")); err != nil {
		t.Fatal(err)
	}
	// The server counts beside its answers, and acks are not confirmed.
	planner := func(what string, waiting, inHand uint64) {
		t.Helper()
		until(t, what, func() bool {
			lag := lagOf(t, b, "EVENTS", "planner")
			return lag.Waiting == waiting && lag.InHand == inHand
		})
	}
	planner("one that waits", 1, 0)
	held, release := make(chan struct{}), make(chan struct{})
	stop := consume(t, b, flow.Events, bus.Consumer{Service: "planner"}, func(context.Context, flow.Event) error {
		close(held)
		<-release
		return nil
	})
	receive(t, held)
	planner("one in hand", 0, 1)
	close(release)
	stop()
	planner("nothing left", 0, 0)
}

// lagOf is how far behind a durable is now.
func lagOf(t *testing.T, b *bus.Bus, stream, durable string) bus.Lag {
	t.Helper()
	lags, err := b.Lags(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range lags {
		if l.Stream == stream && l.Durable == durable {
			return l
		}
	}
	t.Fatalf("no %s/%s among %v", stream, durable, lags)
	return bus.Lag{}
}

func TestDataDirectoryHasOneServer(t *testing.T) {
	dir := t.TempDir()
	first, err := embedded.Start(embedded.Config{Dir: dir, Listen: "127.0.0.2:0"}) // where nobody else takes the port meanwhile
	if err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.Start(embedded.Config{Dir: dir, Listen: "127.0.0.2:0"}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("second server on the directory: %v", err)
	}
	address := strings.TrimPrefix(first.URL(), "nats://")
	if _, err := embedded.Start(embedded.Config{Dir: t.TempDir(), Listen: address}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("second server on the port: %v", err)
	}
	first.Stop()
	again, err := embedded.Start(embedded.Config{Dir: dir, Listen: address})
	if err != nil {
		t.Fatal(err)
	}
	again.Stop()
}
