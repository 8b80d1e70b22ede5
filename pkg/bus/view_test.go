package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/bus/embedded"
	"github.com/litci/litci/pkg/flow"
)

// viewer signs in with the key that may only look.
func viewer(t *testing.T, s *embedded.Server) *bus.Bus {
	t.Helper()
	b, err := bus.Connect(bus.Config{Name: "tail", URL: s.URL(), NKey: s.TailKeyFile}, zap.NewNop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func publish[T flow.Message](t *testing.T, b *bus.Bus, subject flow.Subject[T], messages ...T) {
	t.Helper()
	for _, m := range messages {
		if err := bus.Publish(t.Context(), b, subject, m); err != nil {
			t.Fatal(err)
		}
	}
}

func statusOf(job string, attempt int) flow.Status {
	return flow.Status{Identity: flow.Identity{Repo: flow.Repo{Owner: "octo", Name: "hello"}}, Job: job, Attempt: attempt, State: flow.Running}
}

func only(wants func(bus.Stored) bool) func(context.Context, bus.Stored) (bool, error) {
	return func(_ context.Context, m bus.Stored) (bool, error) { return wants(m), nil }
}

// view returns subjects and ids of what a view shows.
func view(t *testing.T, b *bus.Bus, v bus.Viewing) (ids []string) {
	t.Helper()
	err := b.View(t.Context(), v, func(m bus.Stored) error {
		ids = append(ids, m.Subject+" "+m.Headers["Nats-Msg-Id"])
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Ready(); err != nil {
		t.Error(err)
	}
	return ids
}

func TestViewShowsWhatIsStored(t *testing.T) {
	t.Parallel()
	s := bustest.Server(t)
	b := bustest.Connect(t, s, bus.Config{Name: "test"})
	tail := viewer(t, s)
	four := []string{"events.pr", "jobs.status", "jobs.status.>", "results"}
	if ids := view(t, tail, bus.Viewing{Subjects: four, All: true}); ids != nil {
		t.Errorf("empty streams show %q", ids)
	}
	publish(t, b, flow.Events, event("one"), event("one"))
	publish(t, b, flow.States, statusOf("a", 1))
	publish(t, b, flow.States.OfPool("gpu"), statusOf("b", 1))
	half := time.Now()
	publish(t, b, flow.Events, event("two"))
	publish(t, b, flow.Results, flow.Result{Job: "a", Attempt: 1})
	all := []string{
		"events.pr gh/one", "jobs.status status/a/1/running", "jobs.status.gpu status/b/1/running", "events.pr gh/two", "results result/a/1",
	}
	for _, c := range []struct {
		name string
		v    bus.Viewing
		want []string
	}{
		{"all, each once, in the order of storing", bus.Viewing{Subjects: four, All: true}, all},
		{"since a time", bus.Viewing{Subjects: four, Since: half}, all[3:]},
		{"since the future", bus.Viewing{Subjects: four, Since: time.Now().Add(time.Hour)}, nil},
		{"the last of all streams together", bus.Viewing{Subjects: four, Last: 2}, all[3:]},
		{"more than there are", bus.Viewing{Subjects: four, Last: 99}, all},
		{"one subject", bus.Viewing{Subjects: []string{"jobs.status"}, All: true}, all[1:2]},
		{"pools alone", bus.Viewing{Subjects: []string{"jobs.status.*"}, All: true}, all[2:3]},
		{"a wildcard", bus.Viewing{Subjects: []string{"jobs.>"}, All: true}, all[1:3]},
		{"subjects that overlap", bus.Viewing{Subjects: []string{">", "results", "*.pr"}, All: true}, all},
		{"the last that are wanted", bus.Viewing{
			Subjects: four, Last: 1, Wants: only(func(m bus.Stored) bool { return strings.HasSuffix(m.Subject, "status") }),
		}, all[1:2]},
		{"nothing of before", bus.Viewing{Subjects: four}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if ids := view(t, tail, c.v); !slices.Equal(ids, c.want) {
				t.Errorf("have %q\nwant %q", ids, c.want)
			}
		})
	}
}

// A stream is read in pages, and backwards in windows.
func TestViewOfManyMessages(t *testing.T) {
	t.Parallel()
	s := bustest.Server(t)
	b := bustest.Connect(t, s, bus.Config{Name: "test"})
	const n = 3000
	for i := range n {
		publish(t, b, flow.States, statusOf("a", i))
	}
	tail := viewer(t, s)
	ids := view(t, tail, bus.Viewing{Subjects: []string{"jobs.status"}, All: true})
	if len(ids) != n || ids[n-1] != fmt.Sprintf("jobs.status status/a/%d/running", n-1) {
		t.Errorf("%d messages", len(ids))
	}
	rare := only(func(m bus.Stored) bool { return m.Sequence == 1 || m.Sequence == n })
	ids = view(t, tail, bus.Viewing{Subjects: []string{"jobs.status"}, Last: 2, Wants: rare})
	if want := []string{"jobs.status status/a/0/running", fmt.Sprintf("jobs.status status/a/%d/running", n-1)}; !slices.Equal(ids, want) {
		t.Errorf("have %q", ids)
	}
}

func TestViewFollowsThroughRestarts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start := func(listen string) *embedded.Server {
		t.Helper()
		s, err := embedded.Start(embedded.Config{Dir: dir, Listen: listen})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Stop)
		return s
	}
	s := start("127.0.0.4:0") // where nobody else takes the port meanwhile
	address := strings.TrimPrefix(s.URL(), "nats://")
	b := bustest.Connect(t, s, bus.Config{Name: "test"})
	publish(t, b, flow.Events, event("before"))

	seen := make(chan string, 100)
	var away atomic.Bool
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	tail := viewer(t, s)
	go func() {
		ended <- tail.View(ctx, bus.Viewing{Subjects: []string{"events.pr", "jobs.>"}, All: true, Follow: true, Away: func(err error) { away.Store(err != nil) }},
			func(m bus.Stored) error {
				seen <- m.Headers["Nats-Msg-Id"]
				return nil
			})
	}()
	want := func(id string) {
		t.Helper()
		if have := receive(t, seen); have != id {
			t.Errorf("%s, want %s", have, id)
		}
	}
	want("gh/before")
	publish(t, b, flow.Events, event("live"), event("live"))
	want("gh/live")
	// A batch is heard of before it is stored.
	plan := flow.Plan{Identity: flow.Identity{Run: "run"}, Jobs: []flow.PlannedJob{{Job: "run-0"}}}
	if err := bus.PublishPlan(t.Context(), b, plan, []flow.Job{{Identity: plan.Identity, Job: "run-0", Attempt: 1}}); err != nil {
		t.Fatal(err)
	}
	want("plan/run")
	want("start/run-0/1")

	for i := range 2 {
		b.Close()
		s.Stop()
		until(t, "the server's end", away.Load)
		s = start(address)
		b = bustest.Connect(t, s, bus.Config{Name: "test"})
		publish(t, b, flow.Events, event(fmt.Sprint("again", i)))
		want(fmt.Sprint("gh/again", i))
		until(t, "the server's answer", func() bool { return !away.Load() })
	}
	// A stream that is made anew numbers its messages from one.
	_, js := admin(t, s)
	if err := js.DeleteStream(t.Context(), "EVENTS"); err != nil {
		t.Fatal(err)
	}
	until(t, "the stream's end", away.Load)
	if err := b.Provision(t.Context(), bus.Provision{Bytes: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	publish(t, b, flow.Events, event("anew"))
	want("gh/anew")
	cancel()
	if err := receive(t, ended); err != nil {
		t.Error(err)
	}
	if len(seen) > 0 {
		t.Errorf("%s came again", <-seen)
	}
}

func TestViewEndsWithTheErrorOfItsReader(t *testing.T) {
	t.Parallel()
	s := bustest.Server(t)
	b := bustest.Connect(t, s, bus.Config{Name: "test"})
	publish(t, b, flow.Events, event("one"))
	full := errors.New("full")
	for _, v := range []bus.Viewing{{All: true}, {Last: 1}, {Last: 1, Follow: true}} {
		v.Subjects = []string{"events.pr"}
		if err := b.View(t.Context(), v, func(bus.Stored) error { return full }); !errors.Is(err, full) {
			t.Errorf("%+v: %v", v, err)
		}
	}
}

func TestSubjectsThatCanBeViewed(t *testing.T) {
	t.Parallel()
	for _, subject := range []string{"events.pr", "events.*", "jobs.start", "jobs.start.gpu", "jobs.>", "jobs.plan.abc", "results", "dlq.planner", "jobs.log.a-0", ">", "*"} {
		if err := bus.CheckSubjects([]string{subject}); err != nil {
			t.Error(err)
		}
	}
	for _, subject := range []string{"", "jobs", "event.pr", "results.gpu", "jobs..start", "jobs.start.", "jobs.> x", ">.pr", "dlq", "jobs.log", "$KV.runs.>", "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.x"} {
		err := bus.CheckSubjects([]string{"results", subject})
		if err == nil || !strings.Contains(err.Error(), "the subjects are events.pr, jobs.start, ") {
			t.Errorf("%q: %v", subject, err)
		}
	}
}
