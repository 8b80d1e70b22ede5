package bus_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/bus/embedded"
	"github.com/litci/litci/pkg/flow"
)

// A copy of the data folder, taken while the server is down, is a backup: messages,
// what consumers have of them, keys, objects and the keys to sign in with are in it.
func TestDataFolderIsABackup(t *testing.T) {
	t.Parallel()
	dir, backup := t.TempDir(), t.TempDir()
	s, err := embedded.Start(embedded.Config{Dir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	b := bustest.Connect(t, s, bus.Config{Name: "test"})
	publish(t, b, flow.Results, flow.Result{Job: "a", Attempt: 1}, flow.Result{Job: "b", Attempt: 1})
	got := make(chan string, 9)
	handler := bus.Consumer{Service: "reporter", Places: 1, Hold: true}
	take := func(b *bus.Bus) (stop func()) {
		return consume(t, b, flow.Results, handler, func(ctx context.Context, r flow.Result) error {
			got <- r.Job
			if r.Job == "b" { // is in hand until the end
				<-ctx.Done()
			}
			return ctx.Err()
		})
	}
	stop := take(b)
	if first, second := receive(t, got), receive(t, got); first != "a" || second != "b" {
		t.Errorf("%s, %s", first, second)
	}
	until(t, "the ack of a", func() bool { return lagOf(t, b, "RESULTS", "reporter").InHand == 1 })
	stop()
	if _, err := b.Runs().Put(t.Context(), "run.x", []byte("kept"), 0); err != nil {
		t.Fatal(err)
	}
	b.Close()
	s.Stop()
	if err := os.CopyFS(backup+"/nats", os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}

	s, err = embedded.Start(embedded.Config{Dir: backup + "/nats", Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	b = bustest.Connect(t, s, bus.Config{Name: "test"})
	if ids := view(t, b, bus.Viewing{Subjects: []string{"results"}, All: true}); len(ids) != 2 {
		t.Errorf("the backup has %q", ids)
	}
	if value, _, err := b.Runs().Get(t.Context(), "run.x"); err != nil || string(value) != "kept" {
		t.Errorf("%q, %v", value, err)
	}
	take(b)
	if next := receive(t, got); next != "b" {
		t.Errorf("%s comes first, and what was settled again", next)
	}
}

// A paused consumer is the switch for maintenance: nothing is handed out, nothing lost.
func TestPausedConsumerHandsOutNothing(t *testing.T) {
	t.Parallel()
	s := bustest.Server(t)
	b := bustest.Connect(t, s, bus.Config{Name: "test"})
	_, js := admin(t, s)
	if _, err := js.PauseConsumer(t.Context(), "RESULTS", "reporter", time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 1)
	consume(t, b, flow.Results, bus.Consumer{Service: "reporter"}, func(_ context.Context, r flow.Result) error {
		got <- r.Job
		return nil
	})
	publish(t, b, flow.Results, flow.Result{Job: "a", Attempt: 1})
	until(t, "one that waits", func() bool { return lagOf(t, b, "RESULTS", "reporter").Waiting == 1 })
	if l := lagOf(t, b, "RESULTS", "reporter"); l.InHand != 0 || len(got) > 0 {
		t.Error("it was handed out")
	}
	if _, err := js.ResumeConsumer(t.Context(), "RESULTS", "reporter"); err != nil {
		t.Fatal(err)
	}
	if job := receive(t, got); job != "a" {
		t.Errorf("%s", job)
	}
}
