// Package tracing makes litci's spans: one trace for a delivery, from the webhook
// to the verdict, through all services.
//
// The context of a span travels in the headers of messages (W3C Trace Context). Ids
// are computed where somebody else must know them: a trace's from its delivery, so
// that what happens to one delivery is one trace whoever begins it; a message's from
// message and try, so that a try can point at the one before, whose process may have
// been killed.
//
// Tracing is off until the environment names an exporter, and then costs nothing
// but that headers are passed on.
package tracing

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
)

// Scope is the name of litci's instrumentation.
const Scope = "github.com/litci/litci"

// Start begins a span below the one in ctx, of the same service. Without one there
// is nothing to be below, and nothing is traced.
func Start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	return trace.SpanFromContext(ctx).TracerProvider().Tracer(Scope).Start(ctx, name, options...)
}

// As says what the ids of a span are computed from; what is empty is not computed.
type As struct {
	// Trace begins a trace of this id: one for each delivery.
	Trace string
	Span  string
}

// StartAs begins a span of a service, below the one in ctx unless it begins a trace.
func StartAs(ctx context.Context, provider trace.TracerProvider, as As, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	if as.Trace != "" {
		options = append(options, trace.WithNewRoot())
	}
	_, span := provider.Tracer(Scope).Start(context.WithValue(ctx, asKey{}, as), name, options...)
	return trace.ContextWithSpan(ctx, span), span // spans below it have ids of their own
}

// End ends a span; an error is its status.
func End(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// On tells whether a span is recorded: what it costs to describe it can be saved
// otherwise.
func On(ctx context.Context) bool { return trace.SpanFromContext(ctx).IsRecording() }

// Field is the trace in a line of the log; nothing where there is none.
func Field(ctx context.Context) zap.Field {
	if sc := trace.SpanContextFromContext(ctx); sc.HasTraceID() {
		return zap.Stringer("trace", sc.TraceID())
	}
	return zap.Skip()
}

// wire writes and reads the headers traceparent and tracestate.
var wire propagation.TraceContext

// carrier are a message's headers, whose names NATS takes as they are written.
type carrier map[string][]string

func (c carrier) Get(key string) string {
	if values := c[key]; len(values) > 0 {
		return values[0]
	}
	return ""
}

func (c carrier) Set(key, value string) { c[key] = []string{value} }
func (c carrier) Keys() []string        { return nil } // asked for by no propagator of ours

// Inject writes ctx's span into a message's headers; without one they stay as
// they are.
func Inject(ctx context.Context, h map[string][]string) { wire.Inject(ctx, carrier(h)) }

// Extract returns ctx with the span that a message's headers name.
func Extract(ctx context.Context, h map[string][]string) context.Context {
	return wire.Extract(ctx, carrier(h))
}

type asKey struct{}

// ids makes the ids of traces and spans: computed where they are asked for so,
// random otherwise.
type ids struct{}

// NewIDs returns the ids of a span that begins a trace.
func (i ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	as, _ := ctx.Value(asKey{}).(As)
	id := TraceOf(as.Trace)
	if as.Trace == "" {
		binary.NativeEndian.PutUint64(id[:8], rand.Uint64())
		binary.NativeEndian.PutUint64(id[8:], rand.Uint64()|1) // never zero
	}
	return id, i.NewSpanID(ctx, id)
}

// NewSpanID returns the id of a span.
func (ids) NewSpanID(ctx context.Context, in trace.TraceID) trace.SpanID {
	if as, _ := ctx.Value(asKey{}).(As); as.Span != "" {
		return SpanOf(in, as.Span)
	}
	var id trace.SpanID
	binary.NativeEndian.PutUint64(id[:], rand.Uint64()|1)
	return id
}

// TraceOf is a trace's id by what it is of. It is a hash and not the GUID of the
// delivery, which samplers could not divide.
func TraceOf(of string) (id trace.TraceID) {
	sum := sha256.Sum256([]byte("trace/" + of))
	copy(id[:], sum[:])
	return id
}

// SpanOf is the id of a span of a trace, by what it is of.
func SpanOf(in trace.TraceID, of string) (id trace.SpanID) {
	sum := sha256.Sum256(append(in[:], "/"+of...))
	copy(id[:], sum[:])
	return id
}
