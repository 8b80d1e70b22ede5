package tracing

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// Exporter sends the spans of a process's services. Each service is one to the
// collector too, whether it shares its process or not. A nil Exporter is off.
type Exporter struct {
	client  *client
	batches sdktrace.SpanProcessor
	version string

	closed    sync.Once
	mu        sync.Mutex
	providers map[string]trace.TracerProvider
}

// closeWithin bounds how long a process that stops waits for a collector.
const closeWithin = 2 * time.Second

// Open makes the exporter that the OTEL_* variables describe; nil when they name no
// collector and no exporter, or switch it off. It calls nobody: a collector that is
// away costs spans and nothing else, and log hears of it once a minute.
func Open(version string, log *zap.Logger) (*Exporter, error) {
	on, err := wanted(os.Getenv)
	if err != nil || !on {
		return nil, err
	}
	c, err := newClient(os.Getenv)
	if err != nil {
		return nil, err
	}
	seldom := rate.Sometimes{First: 1, Interval: time.Minute}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		seldom.Do(func() { log.Warn("traces cannot be exported", zap.Error(err)) })
	}))
	return &Exporter{client: c, batches: sdktrace.NewBatchSpanProcessor(otlptrace.NewUnstarted(c)), version: version, providers: map[string]trace.TracerProvider{}}, nil
}

// samplers are the values of OTEL_TRACES_SAMPLER that the SDK knows.
const samplers = " always_on always_off traceidratio parentbased_always_on parentbased_always_off parentbased_traceidratio "

// wanted reads from the environment whether spans are exported. Without an exporter
// or a collector's address they are not: nobody waits for them at the standard's
// default address.
func wanted(env func(string) string) (bool, error) {
	if strings.EqualFold(env("OTEL_SDK_DISABLED"), "true") {
		return false, nil
	}
	exporter := env("OTEL_TRACES_EXPORTER")
	switch exporter {
	case "none":
		return false, nil
	case "otlp":
	case "":
		if env("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
			return false, nil
		}
	default:
		return false, fmt.Errorf("OTEL_TRACES_EXPORTER is %q; litci exports by otlp, or none", exporter)
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		if protocol := env(name); protocol != "" {
			if protocol != "http/protobuf" {
				return false, fmt.Errorf("%s is %q; litci speaks http/protobuf, which collectors take at port 4318", name, protocol)
			}
			break // the variable of traces alone goes before
		}
	}
	if sampler := env("OTEL_TRACES_SAMPLER"); sampler != "" && !strings.Contains(samplers, " "+sampler+" ") {
		return false, fmt.Errorf("OTEL_TRACES_SAMPLER is %q and must be one of%s", sampler, strings.ReplaceAll(strings.TrimRight(samplers, " "), " ", ", ")[1:])
	}
	return true, nil
}

// Provider makes the spans of a service: ingress, planner.
func (e *Exporter) Provider(service string) trace.TracerProvider {
	if e == nil {
		return noop.NewTracerProvider()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.providers[service]
	if p == nil {
		p = sdktrace.NewTracerProvider(
			sdktrace.WithSpanProcessor(e.batches), sdktrace.WithIDGenerator(ids{}), sdktrace.WithResource(e.resource(service)),
		)
		e.providers[service] = p
	}
	return p
}

// resource describes a service. What the environment says goes before.
func (e *Exporter) resource(service string) *resource.Resource {
	own := resource.NewSchemaless(
		semconv.ServiceName("litci-"+service), semconv.ServiceVersion(e.version), semconv.ProcessPID(os.Getpid()),
	)
	host, err := resource.New(context.Background(), resource.WithHost(), resource.WithTelemetrySDK())
	if err == nil {
		own, err = resource.Merge(own, host)
	}
	// Its detector says so when a part of OTEL_RESOURCE_ATTRIBUTES cannot be read, and
	// has the rest.
	environment, partial := resource.New(context.Background(), resource.WithFromEnv())
	if partial != nil {
		otel.Handle(partial)
	}
	if err == nil {
		own, err = resource.Merge(own, environment)
	}
	if err != nil {
		otel.Handle(err)
	}
	return own
}

// Close sends what is left, as far as the collector takes it in time.
func (e *Exporter) Close() {
	if e == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	if err := e.batches.Shutdown(ctx); err != nil {
		otel.Handle(err)
	}
	e.closed.Do(e.client.giveUp)
}
