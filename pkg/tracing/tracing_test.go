package tracing

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/litci/litci/pkg/leaktest"
	"github.com/litci/litci/pkg/tracing/tracingtest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func TestTheEnvironmentSwitchesTracingOn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, env string
		on        bool
		problem   string
	}{
		{"nothing", "", false, ""},
		{"an address", "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318", true, ""},
		{"an address for traces", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://c:4318/v1/traces", true, ""},
		{"the exporter, at its default address", "OTEL_TRACES_EXPORTER=otlp", true, ""},
		{"names and a sampler alone", "OTEL_SERVICE_NAME=x OTEL_RESOURCE_ATTRIBUTES=a=b OTEL_TRACES_SAMPLER=always_on", false, ""},
		{"switched off", "OTEL_SDK_DISABLED=TRUE OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318", false, ""},
		{"no exporter", "OTEL_TRACES_EXPORTER=none OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318", false, ""},
		{"another exporter", "OTEL_TRACES_EXPORTER=zipkin", false, `OTEL_TRACES_EXPORTER is "zipkin"; litci exports by otlp, or none`},
		{"gRPC", "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317 OTEL_EXPORTER_OTLP_PROTOCOL=grpc", false, `OTEL_EXPORTER_OTLP_PROTOCOL is "grpc"; litci speaks http/protobuf, which collectors take at port 4318`},
		{"gRPC for the rest", "OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf", true, ""},
		{"a sampler", "OTEL_TRACES_EXPORTER=otlp OTEL_TRACES_SAMPLER=parentbased_traceidratio", true, ""},
		{"a misspelt sampler", "OTEL_TRACES_EXPORTER=otlp OTEL_TRACES_SAMPLER=ratio", false, `OTEL_TRACES_SAMPLER is "ratio" and must be one of always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off, parentbased_traceidratio`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			env := map[string]string{}
			for _, one := range strings.Fields(c.env) {
				name, value, _ := strings.Cut(one, "=")
				env[name] = value
			}
			on, err := wanted(func(name string) string { return env[name] })
			problem := ""
			if err != nil {
				problem = err.Error()
			}
			if on != c.on || problem != c.problem {
				t.Errorf("on is %v, problem %q; want %v, %q", on, problem, c.on, c.problem)
			}
		})
	}
}

func TestSwitchedOffNothingIsExportedAndNothingRecorded(t *testing.T) {
	c := tracingtest.Start(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	t.Setenv("OTEL_SDK_DISABLED", "true")
	spans, err := Open("test", zap.NewNop())
	if err != nil || spans != nil {
		t.Fatalf("exporter is %v, %v", spans, err)
	}
	ctx, span := StartAs(t.Context(), spans.Provider("planner"), As{Trace: "one"}, "root")
	header := map[string][]string{}
	Inject(ctx, header)
	if On(ctx) || len(header) != 0 || Field(ctx).Key != "" {
		t.Errorf("span is %v, headers %v", span, header)
	}
	span.End()
	spans.Close()
	if n := c.Requests(); n != 0 {
		t.Errorf("%d exports", n)
	}
}

func TestEachServiceIsOneToTheCollector(t *testing.T) {
	c := tracingtest.Start(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", c.URL)
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=lab")
	spans, err := Open("v1", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, one := StartAs(t.Context(), spans.Provider("ingress"), As{Trace: "one"}, "root")
	below, two := StartAs(ctx, spans.Provider("planner"), As{Span: "x"}, "computed")
	_, three := Start(below, "random")
	for _, s := range []trace.Span{three, two, one} {
		s.End()
	}
	have := map[string]tracingtest.Span{}
	for _, s := range exported(t, c, spans) {
		have[s.Service+" "+s.Name] = s
	}
	root, computed, random := have["litci-ingress root"], have["litci-planner computed"], have["litci-planner random"]
	if root.Trace != TraceOf("one").String() || root.Parent != "" || computed.Parent != root.ID || random.Parent != computed.ID ||
		computed.ID != SpanOf(TraceOf("one"), "x").String() || random.ID == computed.ID || random.Trace != root.Trace {
		t.Errorf("spans are %+v", have)
	}
}

func TestOwnNamesGoBefore(t *testing.T) {
	c := tracingtest.Start(t)
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", c.URL+"/v1/traces")
	t.Setenv("OTEL_SERVICE_NAME", "ci")
	spans, err := Open("v1", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	_, span := StartAs(t.Context(), spans.Provider("ingress"), As{}, "root")
	span.End()
	if all := exported(t, c, spans); len(all) != 1 || all[0].Service != "ci" {
		t.Errorf("spans are %+v", all)
	}
}

// exported are the spans that came. It waits for as long as it takes, which Close
// does not.
func exported(t *testing.T, c *tracingtest.Collector, spans *Exporter) []tracingtest.Span {
	t.Helper()
	if err := spans.batches.ForceFlush(t.Context()); err != nil {
		t.Error(err)
	}
	spans.Close()
	return c.Spans()
}

// A collector that takes connections and answers nothing costs its spans alone.
func TestCollectorThatHangsHoldsNobodyUp(t *testing.T) {
	release := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer hanging.Close()
	defer close(release)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", hanging.URL)
	// Whoever waits for it waits for an hour.
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3600000")
	t.Setenv("OTEL_BSP_EXPORT_TIMEOUT", "3600000")
	spans, err := Open("test", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for range 10_000 { // far more than wait for a collector at most
		_, span := StartAs(t.Context(), spans.Provider("planner"), As{}, "span")
		span.End()
	}
	spans.Close()
	if took := time.Since(began); took > time.Minute {
		t.Errorf("spans and the end took %s, and may wait for %s", took, closeWithin)
	}
}
