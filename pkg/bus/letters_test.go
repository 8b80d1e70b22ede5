package bus_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/flow"
)

func TestDeadLettersAreToldListedReplayedAndDropped(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	ctx := t.Context()
	for _, guid := range []string{"one", "two"} {
		if err := bus.Publish(ctx, b, flow.Events, event(guid)); err != nil {
			t.Fatal(err)
		}
	}
	refuse := true
	told := make(chan string, 8)
	handled := make(chan string, 8)
	opt := bus.Consumer{Service: "planner", Places: 1, LastWord: bus.LastWord(func(_ context.Context, e flow.Event, cause error) error {
		told <- e.Delivery + ": " + cause.Error()
		return nil
	})}
	stop := consume(t, b, flow.Events, opt, func(_ context.Context, e flow.Event) error {
		if refuse {
			return bus.Drop(errors.New("no such repository"))
		}
		handled <- e.Delivery
		return nil
	})
	for _, want := range []string{"one: no such repository", "two: no such repository"} {
		if got := receive(t, told); got != want {
			t.Errorf("last word %q, want %q", got, want)
		}
	}
	stop()

	letters, err := b.Letters(ctx)
	if err != nil || len(letters) != 2 {
		t.Fatalf("%d letters, %v", len(letters), err)
	}
	l := letters[0]
	if l.Service != "planner" || l.Reason != "no such repository" || l.Subject != "events.pr" || l.Stream != "EVENTS" || l.StreamSequence != 1 ||
		l.Headers[flow.HeaderDelivery] != "one" || !strings.Contains(string(l.Body), `"delivery":"one"`) {
		t.Errorf("letter is %+v", l)
	}
	refuse = false
	consume(t, b, flow.Events, opt, func(_ context.Context, e flow.Event) error {
		handled <- e.Delivery
		return nil
	})
	if _, err := b.ReplayLetter(ctx, l.Sequence); err != nil {
		t.Fatal(err)
	}
	if got := receive(t, handled); got != "one" {
		t.Errorf("replayed %s", got)
	}
	if err := b.DropLetter(ctx, letters[1].Sequence); err != nil {
		t.Fatal(err)
	}
	for _, seq := range []uint64{letters[0].Sequence, letters[1].Sequence} {
		if _, err := b.Letter(ctx, seq); !errors.Is(err, bus.ErrNotFound) {
			t.Errorf("letter %d is still there: %v", seq, err)
		}
		if err := b.DropLetter(ctx, seq); !errors.Is(err, bus.ErrNotFound) {
			t.Errorf("letter %d is dropped twice: %v", seq, err)
		}
	}
	if letters, err := b.Letters(ctx); err != nil || len(letters) != 0 {
		t.Errorf("%d letters are left, %v", len(letters), err)
	}
}

// A last word that cannot be said yet keeps the message.
func TestNoDeadLetterBeforeItsLastWord(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	if err := bus.Publish(t.Context(), b, flow.Events, event("one")); err != nil {
		t.Fatal(err)
	}
	tries := make(chan int32, 8)
	var said atomic.Int32
	opt := bus.Consumer{Service: "planner", LastWord: bus.LastWord(func(context.Context, flow.Event, error) error {
		n := said.Add(1)
		tries <- n
		if n == 1 {
			return errors.New("the bus is away")
		}
		return nil
	})}
	stop := consume(t, b, flow.Events, opt, func(context.Context, flow.Event) error { return bus.Drop(errors.New("bad")) })
	receive(t, tries)
	receive(t, tries)
	stop()
	if letters, err := b.Letters(t.Context()); err != nil || len(letters) != 1 {
		t.Errorf("%d letters, %v", len(letters), err)
	}
}
