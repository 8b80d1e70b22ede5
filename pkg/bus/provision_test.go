package bus_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/litci/litci/pkg/bus"
)

// small fits on the disk of a test.
var small = bus.Provision{Bytes: 1 << 30, Pools: []string{"gpu"}}

func differences(t *testing.T, b *bus.Bus, p bus.Provision) []string {
	t.Helper()
	found, err := b.Compare(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, d := range found {
		lines = append(lines, d.String())
	}
	return lines
}

func TestTopologyIsComparedAndOnlyForcedOverAnOperatorsTuning(t *testing.T) {
	ctx := t.Context()
	url := serve(t, &server.Options{})
	b, err := once(t, bus.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	if found := differences(t, b, small); len(found) != 20 || slices.ContainsFunc(found, func(d string) bool { return !strings.HasSuffix(d, " is missing") }) {
		t.Errorf("on an empty server %d differ: %q", len(found), found)
	}
	provision := func(p bus.Provision) {
		t.Helper()
		if err := b.Provision(ctx, p); err != nil {
			t.Fatal(err)
		}
	}
	provision(small)
	if found := differences(t, b, small); len(found) > 0 {
		t.Errorf("what was just made differs: %q", found)
	}

	// An operator tunes, and loses a consumer.
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	tune := func(name string, fn func(*jetstream.StreamConfig)) {
		t.Helper()
		s, err := js.Stream(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		cfg := s.CachedInfo().Config
		fn(&cfg)
		if _, err := js.UpdateStream(ctx, cfg); err != nil {
			t.Fatal(err)
		}
	}
	tune("EVENTS", func(c *jetstream.StreamConfig) { c.MaxAge, c.Description = 240*time.Hour, "ours" })
	tune("KV_runs", func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 28 })
	tune("OBJ_logs", func(c *jetstream.StreamConfig) { c.MaxAge = 48 * time.Hour })
	consumer, err := js.Consumer(ctx, "STATUS", "watcher-gpu")
	if err != nil {
		t.Fatal(err)
	}
	waits := consumer.CachedInfo().Config
	waits.AckWait = 5 * time.Minute
	if _, err := js.UpdateConsumer(ctx, "STATUS", waits); err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteConsumer(ctx, "JOBS", "launcher-gpu"); err != nil {
		t.Fatal(err)
	}
	tuned := []string{
		"stream EVENTS: age is 240h0m0s, litci's is 168h0m0s",
		"consumer STATUS/watcher-gpu: ack wait is 5m0s, litci's is 1m0s",
		"object store logs: age is 48h0m0s, litci's is 336h0m0s",
		"bucket runs: bytes is 268435456, litci's is 130150524",
	}
	missing := "consumer JOBS/launcher-gpu is missing"
	if found := differences(t, b, small); !slices.Equal(found, slices.Insert(slices.Clone(tuned), 1, missing)) {
		t.Errorf("differences are %q", found)
	}
	provision(small)
	if found := differences(t, b, small); !slices.Equal(found, tuned) {
		t.Errorf("once what is missing was made, differences are %q", found)
	}
	forced := small
	forced.Force = true
	provision(forced)
	if found := differences(t, b, small); len(found) > 0 {
		t.Errorf("after force differences are %q", found)
	}
	s, err := js.Stream(ctx, "EVENTS")
	if err != nil || s.CachedInfo().Config.Description != "ours" {
		t.Errorf("force took away what litci does not set: %+v, %v", s, err)
	}
}
