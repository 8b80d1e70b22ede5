package bus

import (
	"context"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/tracing"
)

// identities are the attributes by the headers that have their values.
var identities = []struct {
	header string
	key    attribute.Key
}{
	{flow.HeaderDelivery, "litci.delivery"},
	{flow.HeaderInstallation, "litci.installation"},
	{flow.HeaderRepo, "litci.repo"},
	{flow.HeaderSHA, "litci.sha"},
	{flow.HeaderRun, "litci.run"},
	{flow.HeaderJob, "litci.job"},
	{flow.HeaderAttempt, "litci.attempt"},
}

// describe are a message's attributes, by the conventions for messaging.
func describe(subject string, header nats.Header, size int) []attribute.KeyValue {
	template := family(subject)
	about := []attribute.KeyValue{
		semconv.MessagingSystemKey.String("nats"), semconv.MessagingDestinationName(subject), semconv.MessagingMessageBodySize(size),
	}
	if template != subject {
		about = append(about, semconv.MessagingDestinationTemplate(template+".*"))
	}
	if id := header.Get(jetstream.MsgIDHeader); id != "" {
		about = append(about, semconv.MessagingMessageID(id))
	}
	for _, i := range identities {
		if value := header.Get(i.header); value != "" {
			about = append(about, i.key.String(value))
		}
	}
	return about
}

// sending begins the span of a publish, puts it into the messages and returns what
// ends it. Blocks of live logs have none: there are many, and nothing follows on them.
func sending(ctx context.Context, messages ...*nats.Msg) (done func(error)) {
	first := messages[0]
	done = func(error) {}
	if subject := family(first.Subject); subject != "jobs.log" && tracing.On(ctx) {
		var span trace.Span
		about := describe(first.Subject, first.Header, len(first.Data))
		if len(messages) > 1 {
			about = append(about, semconv.MessagingBatchMessageCount(len(messages)))
		}
		ctx, span = tracing.Start(ctx, "publish "+subject, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(about...),
			trace.WithAttributes(semconv.MessagingOperationTypeSend, semconv.MessagingOperationName("publish")))
		done = func(err error) { tracing.End(span, err) }
	}
	for _, m := range messages {
		tracing.Inject(ctx, m.Header)
	}
	return done
}

// processing begins the span of a message in hand, below the one that published it.
// A message that comes again has the same parent and points at the try before, whose
// id is computed: whoever made that one may have been killed.
func (c *consumer) processing(ctx context.Context, msg jetstream.Msg, meta Meta) (context.Context, func(outcome string, err error)) {
	ctx = tracing.Extract(ctx, msg.Headers())
	if c.spans == nil {
		return ctx, func(string, error) {}
	}
	options := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(describe(msg.Subject(), msg.Headers(), len(msg.Data()))...),
		trace.WithAttributes(
			semconv.MessagingOperationTypeProcess, semconv.MessagingOperationName("process"), semconv.MessagingConsumerGroupName(c.opt.Durable),
			attribute.String("litci.stream", meta.Stream), attribute.Int64("litci.sequence", int64(meta.Sequence)), attribute.Int64("litci.delivered", int64(meta.Delivered)),
		),
	}
	of := func(delivered uint64) string {
		return meta.Stream + "/" + c.opt.Durable + "/" + strconv.FormatUint(meta.Sequence, 10) + "/" + strconv.FormatUint(delivered, 10)
	}
	published := trace.SpanContextFromContext(ctx)
	as := tracing.As{Span: of(meta.Delivered)}
	if !published.IsValid() { // the publisher traced nothing
		as.Trace = msg.Headers().Get(flow.HeaderDelivery)
		published = trace.NewSpanContext(trace.SpanContextConfig{TraceID: tracing.TraceOf(as.Trace), TraceFlags: trace.FlagsSampled})
	}
	if meta.Delivered > 1 {
		before := published.WithSpanID(tracing.SpanOf(published.TraceID(), of(meta.Delivered-1)))
		options = append(options, trace.WithLinks(trace.Link{
			SpanContext: before, Attributes: []attribute.KeyValue{attribute.String("litci.link", "try before")},
		}))
	}
	ctx, span := tracing.StartAs(ctx, c.spans, as, "process "+family(msg.Subject()), options...)
	return ctx, func(outcome string, err error) {
		span.SetAttributes(attribute.String("litci.outcome", outcome))
		if outcome != "retry" && outcome != "dropped" {
			err = nil // waiting is no failure
		}
		tracing.End(span, err)
	}
}

// providerOf makes the spans of a service; nil where none are made.
func (b *Bus) providerOf(service string) trace.TracerProvider {
	if b.tracing == nil {
		return nil
	}
	p := b.tracing(service)
	if _, off := p.(noop.TracerProvider); off {
		return nil
	}
	return p
}
