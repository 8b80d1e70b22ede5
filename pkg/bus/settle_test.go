package bus_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/bus/embedded"
	"github.com/litci/litci/pkg/flow"
)

func TestWhatTheHandlerReturnsDecides(t *testing.T) {
	cases := []struct {
		name     string
		first    error
		panics   bool
		again    bool
		dead     string
		outdated bool
	}{
		{name: "nil is done"},
		{name: "an error comes again", first: errors.New("no luck"), again: true},
		{name: "a panic comes again", panics: true, again: true},
		{name: "later comes again", first: bus.Later(errors.New("limit"), 10*time.Millisecond), again: true},
		{name: "drop is a dead letter", first: bus.Drop(errors.New("no such\nrepository")), dead: "no such repository"},
		{name: "an old message may wait", first: bus.Later(errors.New("limit"), 10*time.Millisecond), outdated: true, again: true},
		{name: "an old message's first failure proves nothing", first: errors.New("no luck"), outdated: true, again: true},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := bustest.Server(t)
			b := bustest.Connect(t, s, bus.Config{Name: "test"})
			letters := subscribe(t, s, "dlq.planner")
			var calls atomic.Int32
			deliveries := make(chan bus.Meta, 10)
			opt := bus.Consumer{Service: "planner"}
			if c.outdated {
				opt.GiveUp = time.Nanosecond
			}
			stop := consume(t, b, flow.Events, opt, func(ctx context.Context, _ flow.Event) error {
				deliveries <- bus.Delivery(ctx)
				if calls.Add(1) > 1 {
					return nil
				}
				if c.panics {
					panic("at the disco")
				}
				return c.first
			})
			if err := bus.Publish(t.Context(), b, flow.Events, event("one")); err != nil {
				t.Fatal(err)
			}
			if first := receive(t, deliveries); first.Delivered != 1 || first.Stream != "EVENTS" || first.Sequence != 1 {
				t.Errorf("first delivery is %+v", first)
			}
			if c.again {
				if second := receive(t, deliveries); second.Delivered != 2 {
					t.Errorf("second delivery is %+v", second)
				}
			}
			if c.dead != "" {
				letter, err := letters.NextMsgWithContext(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if reason := letter.Header.Get("Litci-Dlq-Reason"); !strings.Contains(reason, c.dead) {
					t.Errorf("reason is %q, want %q in it", reason, c.dead)
				}
				if letter.Header.Get("Litci-Dlq-Stream") != "EVENTS" || letter.Header.Get("Litci-Dlq-Seq") != "1" || letter.Header.Get("Litci-Delivery") != "one" {
					t.Errorf("headers of the dead letter are %v", letter.Header)
				}
				var body flow.Event
				if err := json.Unmarshal(letter.Data, &body); err != nil || body.Delivery != "one" {
					t.Errorf("dead letter's body is %s, %v", letter.Data, err)
				}
			}
			stop()
			if n := len(deliveries); n != 0 {
				t.Errorf("%d more deliveries after the message was settled", n)
			}
		})
	}
}

func TestUndecodableMessageIsADeadLetter(t *testing.T) {
	s := bustest.Server(t)
	b := bustest.Connect(t, s, bus.Config{Name: "test"})
	nc, js := admin(t, s)
	letters, err := nc.SubscribeSync("dlq.planner")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "events.pr", []byte("{not json")); err != nil {
		t.Fatal(err)
	}
	consume(t, b, flow.Events, bus.Consumer{Service: "planner"}, func(context.Context, flow.Event) error {
		t.Error("the handler was called")
		return nil
	})
	letter, err := letters.NextMsgWithContext(t.Context())
	if err != nil || string(letter.Data) != "{not json" {
		t.Fatalf("dead letter is %v, %v", letter, err)
	}
}

func TestOldMessageThatKeepsFailingIsADeadLetter(t *testing.T) {
	s := bustest.Server(t)
	b := bustest.Connect(t, s, bus.Config{Name: "test"})
	letters := subscribe(t, s, "dlq.planner")
	tries := make(chan uint64, 10)
	consume(t, b, flow.Events, bus.Consumer{Service: "planner", GiveUp: time.Nanosecond}, func(ctx context.Context, _ flow.Event) error {
		tries <- bus.Delivery(ctx).Delivered
		return errors.New("no luck")
	})
	if err := bus.Publish(t.Context(), b, flow.Events, event("one")); err != nil {
		t.Fatal(err)
	}
	letter, err := letters.NextMsgWithContext(t.Context())
	if err != nil || !strings.Contains(letter.Header.Get("Litci-Dlq-Reason"), "given up after") {
		t.Fatalf("%v, %v", letter, err)
	}
	if len(tries) != 3 {
		t.Errorf("given up after %d tries", len(tries))
	}
}

// subscribe listens as a plain client does.
func subscribe(t *testing.T, s *embedded.Server, subject string) *nats.Subscription {
	t.Helper()
	nc, _ := admin(t, s)
	sub, err := nc.SubscribeSync(subject)
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return sub
}

const mark = "crash.EVENTS.planner.1"

// crashed leaves the mark that a number of crashes with the first event in hand
// leave.
func crashed(t *testing.T, b *bus.Bus, text string) {
	t.Helper()
	if _, err := b.Runs().Put(t.Context(), mark, []byte(text), 0); err != nil {
		t.Error(err)
	}
}

func TestMessageThatCrashesAloneIsAPoison(t *testing.T) {
	s := bustest.Server(t)
	b := bustest.Connect(t, s, bus.Config{Name: "test"})
	letters := subscribe(t, s, "dlq.planner")
	crashed(t, b, `{"begun":9,"alone":3}`)
	consume(t, b, flow.Events, bus.Consumer{Service: "planner"}, func(ctx context.Context, _ flow.Event) error {
		if bus.Delivery(ctx).Delivered > 1 {
			t.Error("the poison was handled again")
		}
		return bus.Later(errors.New("not yet"), time.Millisecond)
	})
	if err := bus.Publish(t.Context(), b, flow.Events, event("one")); err != nil {
		t.Fatal(err)
	}
	letter, err := letters.NextMsgWithContext(t.Context())
	if err != nil || !strings.HasPrefix(letter.Header.Get("Litci-Dlq-Reason"), "poison") {
		t.Fatalf("%v, %v", letter, err)
	}
	unmarked(t, b)
}

// Whatever was in hand beside a poison was marked with it, and is innocent.
func TestSuspectThatSurvivesAloneIsCleared(t *testing.T) {
	b := bustest.New(t)
	crashed(t, b, `{"begun":9}`)
	handled := make(chan uint64, 2)
	consume(t, b, flow.Events, bus.Consumer{Service: "planner"}, func(ctx context.Context, _ flow.Event) error {
		n := bus.Delivery(ctx).Delivered
		if n == 1 {
			return bus.Later(errors.New("not yet"), time.Millisecond)
		}
		text, _, err := b.Runs().Get(ctx, mark)
		if errors.Is(err, bus.ErrNotFound) {
			// It has survived before it could look: once more.
			crashed(t, b, `{"begun":9}`)
			return bus.Later(errors.New("not yet"), time.Millisecond)
		}
		if err != nil || string(text) != `{"begun":10,"alone":1}` {
			t.Errorf("mark while the suspect runs is %s, %v", text, err)
		}
		handled <- n
		return nil
	})
	if err := bus.Publish(t.Context(), b, flow.Events, event("one")); err != nil {
		t.Fatal(err)
	}
	if n := receive(t, handled); n < 2 {
		t.Errorf("handled at delivery %d", n)
	}
	unmarked(t, b)
}

// unmarked waits until the mark is gone.
func unmarked(t *testing.T, b *bus.Bus) {
	t.Helper()
	until(t, "the mark's end", func() bool {
		_, _, err := b.Runs().Get(t.Context(), mark)
		return errors.Is(err, bus.ErrNotFound)
	})
}
