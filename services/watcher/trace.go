package watcher

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/tracing"
)

// trace is the span of the job itself, from its beginning to its end. It is made when
// both are known: who followed the job at first may have been killed since.
func (f *follower) trace(ctx context.Context, result flow.Result) {
	if !tracing.On(ctx) {
		return
	}
	about := []attribute.KeyValue{
		attribute.String("litci.job", result.Job), attribute.Int("litci.attempt", result.Attempt), attribute.String("litci.run", result.Run),
		attribute.String("litci.check", result.Check), attribute.String("litci.executor", f.executor.Name()), attribute.String("litci.pool", f.options.Pool),
		attribute.String("litci.conclusion", string(result.Conclusion)), attribute.String("litci.cause", string(result.Cause)),
	}
	if result.ExitCode != nil {
		about = append(about, attribute.Int("process.exit.code", *result.ExitCode))
	}
	_, span := tracing.Start(ctx, "job", trace.WithTimestamp(f.began), trace.WithAttributes(about...))
	span.End(trace.WithTimestamp(result.FinishedAt))
}
