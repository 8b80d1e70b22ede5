package launcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/tracing"
)

// start asks the executor until it starts the job, refuses it, or was asked often
// enough.
func (l *Launcher) start(ctx context.Context, job flow.Job) (executor.Handle, error) {
	spec, err := specOf(job, l.server, func(ctx context.Context) (io.ReadCloser, error) {
		return l.bus.Sources().Get(ctx, job.Source)
	})
	if err != nil {
		return executor.Handle{}, err
	}
	var fault atomic.Pointer[executor.FaultError]
	defer l.tellStart(ctx, job, func() string { return l.starting(spec.ID, fault.Load()) })()
	for try := 0; ; try++ {
		handle, err := l.startOnce(ctx, spec, try+1)
		var refused *executor.StartError
		if err == nil || errors.As(err, &refused) || errors.Is(err, executor.ErrConflict) || try == len(l.options.Patience) {
			return handle, err
		}
		if f, is := errors.AsType[*executor.FaultError](err); is {
			fault.Store(f)
		}
		l.log.Warn("start will be retried", zap.String("job", job.Job), zap.Int("attempt", job.Attempt), zap.Error(err))
		select {
		case <-ctx.Done():
			return executor.Handle{}, ctx.Err()
		case <-time.After(l.options.Patience[try]):
		}
	}
}

// startOnce is one call of the executor, as its trace shows it.
func (l *Launcher) startOnce(ctx context.Context, spec executor.Spec, try int) (executor.Handle, error) {
	ctx, span := tracing.Start(ctx, "start "+l.executor.Name(), trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("litci.executor", l.executor.Name()), attribute.String("litci.pool", l.options.Pool), attribute.Int("litci.try", try),
	))
	handle, err := l.executor.Start(ctx, spec)
	tracing.End(span, err)
	return handle, err
}

// refuse ends a job that cannot be started, or has it tried again.
func (l *Launcher) refuse(ctx context.Context, job flow.Job, err error) error {
	if ctx.Err() != nil {
		return err // the service stops: another launcher carries on
	}
	l.log.Info("not started", zap.String("job", job.Job), zap.Int("attempt", job.Attempt), zap.String("run", job.Run), zap.Error(err))
	var refused *executor.StartError
	switch {
	case errors.As(err, &refused):
		return l.conclude(ctx, job, *resultOf(job, flow.Failure, flow.CauseRefused, refused.Message))
	case errors.Is(err, executor.ErrConflict):
		if err := l.again(ctx, job, *resultOf(job, flow.Failure, flow.CauseInfrastructure, "another job of the same name exists on the machine")); err != nil {
			return err
		}
		return bus.Drop(err)
	case errors.Is(err, bus.ErrNotFound) && l.young(ctx):
		return l.later(fmt.Errorf("source of %s: %w", job.Job, err))
	case errors.Is(err, bus.ErrNotFound):
		// Another attempt would not find it either.
		return l.conclude(ctx, job, *resultOf(job, flow.Failure, flow.CauseInfrastructure, "the source archive of the commit is not there any more: archives are kept for a day"))
	}
	why := "the machine reports an error, see the launcher's log"
	if fault, is := errors.AsType[*executor.FaultError](err); is {
		why = fault.Message
	}
	return l.again(ctx, job, *resultOf(job, flow.Failure, flow.CauseInfrastructure, "the job could not be started: "+why))
}

// starting is what the executor is doing for a job, or why it failed last.
func (l *Launcher) starting(id string, fault *executor.FaultError) string {
	if teller, ok := l.executor.(executor.Teller); ok {
		if says := teller.Starting(id); says != "" {
			return says
		}
	}
	if fault != nil {
		return fault.Message + "; it is tried again"
	}
	return ""
}

// startPace is how many times Options.Tell lies between two messages of one start.
const startPace = 5

// tellStart publishes what is new about a start until stop is called, and not too
// often: pulling an image may take minutes.
func (l *Launcher) tellStart(ctx context.Context, job flow.Job, starting func() string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(l.options.Tell)
		defer tick.Stop()
		var told string
		var at time.Time
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			says, silent := starting(), time.Since(at)
			if says == "" || silent < startPace*l.options.Tell || says == told && silent < retell {
				continue
			}
			now := time.Now()
			status := flow.StatusOf(job, flow.Starting, now.UTC())
			status.Message = says
			if err := bus.Publish(ctx, l.bus, flow.States.OfPool(l.options.Pool), status); err != nil {
				if ctx.Err() == nil {
					l.log.Warn("start is told later", zap.String("job", job.Job), zap.Error(err))
				}
				continue
			}
			told, at = says, now
		}
	}()
	return func() { cancel(); <-ended }
}
