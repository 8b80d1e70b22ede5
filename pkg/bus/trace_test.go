package bus_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/tracing"
	"github.com/litci/litci/pkg/tracing/tracingtest"
)

// export switches tracing on for a test, to a collector of its own.
func export(t *testing.T) (*tracingtest.Collector, *tracing.Exporter) {
	t.Helper()
	c := tracingtest.Start(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
	spans, err := tracing.Open("test", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(spans.Close)
	return c, spans
}

// exported are the spans that came, n at least.
func exported(t *testing.T, c *tracingtest.Collector, spans *tracing.Exporter, n int) []tracingtest.Span {
	t.Helper()
	until(t, "the spans", func() bool { return len(c.Spans()) >= n })
	spans.Close()
	return c.Spans()
}

// onlySpan is the one span of a service and a name that fits.
func onlySpan(t *testing.T, all []tracingtest.Span, service, name string, fits func(tracingtest.Span) bool) tracingtest.Span {
	t.Helper()
	var found []tracingtest.Span
	for _, s := range all {
		if s.Service == "litci-"+service && s.Name == name && (fits == nil || fits(s)) {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d spans %q of %s, want 1; all:\n%+v", len(found), name, service, all)
	}
	return found[0]
}

func TestOneTracePassesThroughEveryMessage(t *testing.T) {
	c, spans := export(t)
	s := bustest.Server(t)
	b := bustest.Connect(t, s, bus.Config{Name: "test", Tracing: spans.Provider})
	letters := subscribe(t, s, "dlq.launcher")
	settled := make(chan int, 10)

	planned, jobs := plan("run", 2)
	jobs[0].Delivery, jobs[1].Delivery = "one", "one"
	stopPlanner := consume(t, b, flow.Events, bus.Consumer{Service: "planner"}, func(ctx context.Context, _ flow.Event) error {
		if bus.Delivery(ctx).Delivered == 1 {
			return errors.New("no luck")
		}
		return bus.PublishPlan(ctx, b, planned, jobs)
	})
	stopLauncher := consume(t, b, flow.Jobs, bus.Consumer{Service: "launcher"}, func(_ context.Context, j flow.Job) error {
		settled <- j.Index
		if j.Index == 1 {
			return bus.Drop(errors.New("no such machine"))
		}
		return nil
	})
	ctx, root := tracing.StartAs(t.Context(), spans.Provider("ingress"), tracing.As{Trace: "one"}, "POST /webhook")
	if err := bus.Publish(ctx, b, flow.Events, event("one")); err != nil {
		t.Fatal(err)
	}
	root.End()
	receive(t, settled)
	receive(t, settled)
	letter, err := letters.NextMsgWithContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stopPlanner()
	stopLauncher()
	all := exported(t, c, spans, 8)
	for _, span := range all {
		if span.Trace != tracing.TraceOf("one").String() {
			t.Errorf("span %s of %s is in another trace: %s", span.Name, span.Service, span.Trace)
		}
	}
	webhook := onlySpan(t, all, "ingress", "POST /webhook", nil)
	sent := onlySpan(t, all, "ingress", "publish events.pr", nil)
	delivered := func(n string) func(tracingtest.Span) bool {
		return func(s tracingtest.Span) bool { return s.Attributes["litci.delivered"] == n }
	}
	first := onlySpan(t, all, "planner", "process events.pr", delivered("1"))
	second := onlySpan(t, all, "planner", "process events.pr", delivered("2"))
	batch := onlySpan(t, all, "planner", "publish jobs.plan", nil)
	done := onlySpan(t, all, "launcher", "process jobs.start", func(s tracingtest.Span) bool { return s.Attributes["litci.job"] == "run-0" })
	dropped := onlySpan(t, all, "launcher", "process jobs.start", func(s tracingtest.Span) bool { return s.Attributes["litci.job"] == "run-1" })
	dead := onlySpan(t, all, "launcher", "publish dlq.launcher", nil)
	for _, parent := range [][2]tracingtest.Span{{sent, webhook}, {first, sent}, {second, sent}, {batch, second}, {done, batch}, {dropped, batch}, {dead, dropped}} {
		if parent[0].Parent != parent[1].ID {
			t.Errorf("%s of %s is not below %s of %s", parent[0].Name, parent[0].Service, parent[1].Name, parent[1].Service)
		}
	}
	if webhook.Parent != "" || len(all) != 8 {
		t.Errorf("webhook's parent is %q; %d spans, want 8", webhook.Parent, len(all))
	}
	if first.Links != nil || !slices.Equal(second.Links, []string{first.ID}) {
		t.Errorf("links are %v and %v; the second try must point at the first, %s", first.Links, second.Links, first.ID)
	}
	for _, want := range []struct {
		span       tracingtest.Span
		key, value string
	}{
		{sent, "messaging.system", "nats"},
		{sent, "messaging.destination.name", "events.pr"},
		{sent, "messaging.operation.type", "send"},
		{sent, "messaging.message.id", "gh/one"},
		{sent, "litci.delivery", "one"},
		{sent, "litci.repo", "octo/hello"},
		{first, "messaging.operation.type", "process"},
		{first, "messaging.consumer.group.name", "planner"},
		{first, "litci.outcome", "retry"},
		{second, "litci.outcome", "done"},
		{batch, "messaging.batch.message_count", "3"},
		{batch, "messaging.destination.template", "jobs.plan.*"},
		{done, "litci.run", "run"},
		{done, "litci.attempt", "1"},
		{dropped, "litci.outcome", "dropped"},
	} {
		if have := want.span.Attributes[want.key]; have != want.value {
			t.Errorf("%s of %s: %s is %q, want %q", want.span.Name, want.span.Service, want.key, have, want.value)
		}
	}
	if first.Error != "no luck" || second.Error != "" || dropped.Error != "no such machine" {
		t.Errorf("errors are %q, %q, %q", first.Error, second.Error, dropped.Error)
	}
	// Replayed, the letter goes on in its trace.
	if parent := letter.Header.Get("traceparent"); parent != "00-"+dead.Trace+"-"+dead.ID+"-01" {
		t.Errorf("traceparent of the dead letter is %q", parent)
	}
}

// What a command publishes, which traces nothing, belongs to its delivery's trace; a
// second try of it points at the first.
func TestMessageWithoutATraceJoinsItsDeliverys(t *testing.T) {
	c, spans := export(t)
	s := bustest.Server(t)
	command, service := bustest.Connect(t, s, bus.Config{Name: "test"}), bustest.Connect(t, s, bus.Config{Name: "test", Tracing: spans.Provider})
	tries := make(chan uint64, 10)
	stop := consume(t, service, flow.Events, bus.Consumer{Service: "planner"}, func(ctx context.Context, _ flow.Event) error {
		n := bus.Delivery(ctx).Delivered
		tries <- n
		if n == 1 {
			return bus.Later(errors.New("limit"), 1)
		}
		return nil
	})
	if err := bus.Publish(t.Context(), command, flow.Events, event("one")); err != nil {
		t.Fatal(err)
	}
	receive(t, tries)
	receive(t, tries)
	stop()
	all := exported(t, c, spans, 2)
	slices.SortFunc(all, func(a, b tracingtest.Span) int {
		return strings.Compare(a.Attributes["litci.delivered"], b.Attributes["litci.delivered"])
	})
	if len(all) != 2 || all[0].Trace != tracing.TraceOf("one").String() || all[1].Trace != all[0].Trace || all[0].Parent != "" ||
		!slices.Equal(all[1].Links, []string{all[0].ID}) || all[0].Error != "" {
		t.Errorf("spans are %+v", all)
	}
}

// A service that traces nothing passes on what others began.
func TestTraceIsPassedOnWhereNothingIsTraced(t *testing.T) {
	t.Parallel()
	s := bustest.Server(t)
	b := bustest.Connect(t, s, bus.Config{Name: "test"})
	results := subscribe(t, s, "results")
	stop := consume(t, b, flow.Events, bus.Consumer{Service: "planner"}, func(ctx context.Context, _ flow.Event) error {
		return bus.Publish(ctx, b, flow.Results, flow.Result{Conclusion: flow.Success})
	})
	defer stop()
	began := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	if err := bus.Publish(trace.ContextWithRemoteSpanContext(t.Context(), began), b, flow.Events, event("one")); err != nil {
		t.Fatal(err)
	}
	m, err := results.NextMsgWithContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if have := m.Header.Get("traceparent"); have != "00-01000000000000000000000000000000-0200000000000000-01" {
		t.Errorf("traceparent is %q", have)
	}
}
