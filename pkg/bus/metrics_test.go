package bus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/flow"
)

// sample is the value of a metric's one series that has these labels, name and value
// by turns; of a histogram, the number of observations. False where there is none.
func sample(t *testing.T, registry *prometheus.Registry, name string, labels ...string) (float64, bool) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
	series:
		for _, m := range f.GetMetric() {
			have := map[string]string{}
			for _, l := range m.GetLabel() {
				have[l.GetName()] = l.GetValue()
			}
			for i := 0; i < len(labels); i += 2 {
				if have[labels[i]] != labels[i+1] {
					continue series
				}
			}
			switch f.GetType() {
			case dto.MetricType_COUNTER:
				return m.GetCounter().GetValue(), true
			case dto.MetricType_HISTOGRAM:
				return float64(m.GetHistogram().GetSampleCount()), true
			}
			return m.GetGauge().GetValue(), true
		}
	}
	return 0, false
}

func TestMetricsTellHowAConsumerIs(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	s := bustest.Server(t)
	b := bustest.Measured(t, s, bus.Config{Name: "test", MeasureEvery: 20 * time.Millisecond}, registry)
	began := time.Now()
	for _, delivery := range []string{"one", "two", "three"} {
		if err := bus.Publish(t.Context(), b, flow.Events, event(delivery)); err != nil {
			t.Fatal(err)
		}
	}
	release := make(chan struct{})
	stop := consume(t, b, flow.Events, bus.Consumer{Service: "planner", Places: 1}, func(ctx context.Context, e flow.Event) error {
		<-release
		if e.Delivery == "two" && bus.Delivery(ctx).Delivered == 1 {
			return errors.New("no luck")
		}
		if e.Delivery == "three" {
			return bus.Drop(errors.New("no such repository"))
		}
		return nil
	})
	untilIt := func(is func(float64) bool, want any, name string, labels ...string) {
		t.Helper()
		until(t, fmt.Sprintf("%s%v of %v", name, labels, want), func() bool {
			have, _ := sample(t, registry, name, labels...)
			return is(have)
		})
	}
	reaches := func(want float64, name string, labels ...string) {
		t.Helper()
		untilIt(func(have float64) bool { return have == want }, want, name, labels...)
	}
	planner := []string{"stream", "EVENTS", "consumer", "planner"}
	reaches(2, "litci_consumer_unread_messages", planner...)
	reaches(1, "litci_consumer_unacked_messages", planner...)
	reaches(50_000, "litci_consumer_unacked_limit", planner...)
	untilIt(func(age float64) bool { return age > 0 && age < time.Since(began).Seconds() }, "a few seconds", "litci_consumer_unread_seconds", planner...)
	reaches(1, "litci_messages_in_hand", "subject", "events.pr", "service", "planner")
	reaches(1, "litci_nats_connected")
	close(release)
	reaches(2, "litci_messages_total", "service", "planner", "outcome", "done")
	reaches(1, "litci_messages_total", "service", "planner", "outcome", "retry")
	reaches(1, "litci_messages_dropped_total", "service", "planner", "reason", "refused")
	reaches(1, "litci_messages_redelivered_total", "subject", "events.pr", "service", "planner")
	reaches(3, "litci_hop_seconds", "subject", "events.pr", "service", "planner")
	reaches(0, "litci_consumer_unread_messages", planner...)
	reaches(0, "litci_consumer_unread_seconds", planner...)
	stop()

	ctx, cancel := context.WithCancel(t.Context())
	counted := make(chan error, 1)
	go func() { counted <- b.MeasureLetters(ctx, registry) }()
	reaches(1, "litci_dead_letters")
	letters, err := b.Letters(t.Context())
	if err != nil || len(letters) != 1 {
		t.Fatalf("dead letters are %v, %v", letters, err)
	}
	if err := b.DropLetter(t.Context(), letters[0].Sequence); err != nil {
		t.Fatal(err)
	}
	reaches(0, "litci_dead_letters")
	cancel()
	if err := receive(t, counted); err != nil {
		t.Error(err)
	}
}
