package launcher

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/executor"
)

// fitness is whether the executor would take a job, as far as it can tell.
type fitness struct{ fault atomic.Pointer[error] }

var errUnchecked = errors.New("not checked yet")

func (f *fitness) set(err error) { f.fault.Store(&err) }

// Ready returns why no job can be started, nil when nothing is known against it.
func (l *Launcher) Ready() error {
	if fault := l.fitness.fault.Load(); fault != nil && *fault != nil {
		return fmt.Errorf("executor: %w", *fault)
	}
	return nil
}

// firstCheck asks the executor until it is fit for jobs. A wrong key is no reason to
// end: the jobs of this pool wait, and the same process may have other services. It
// fails when ctx ends.
func (l *Launcher) firstCheck(ctx context.Context) error {
	checker, ok := l.executor.(executor.Checker)
	if !ok {
		return nil
	}
	said := ""
	for wait := l.options.MaxPoll; ; wait = min(2*wait, l.options.Count) {
		err := checker.Check(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		l.fitness.set(err)
		if err == nil {
			return nil
		}
		// Said once: what does not change is no news.
		if text := err.Error(); text != said {
			said = text
			l.log.Error("executor cannot be used, it is asked again", zap.String("executor", l.executor.Name()), zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}

// keepTidying removes what the executor has too much of, until ctx ends.
func (l *Launcher) keepTidying(ctx context.Context) {
	tidier, ok := l.executor.(executor.Tidier)
	if !ok {
		return
	}
	tick := time.NewTicker(l.options.Tidy)
	defer tick.Stop()
	for {
		removed, err := tidier.Tidy(ctx)
		if removed > 0 {
			l.log.Info("tidied", zap.Int("jobs", removed))
		}
		if err != nil && ctx.Err() == nil {
			l.log.Warn("executor cannot be tidied", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
