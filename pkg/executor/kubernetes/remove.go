package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/internal/rest"
)

// List returns the jobs that were not removed, running and ended.
func (e *Executor) List(ctx context.Context) ([]executor.Handle, error) {
	e.seen.forget() // a slot that was taken a moment ago counts
	seen, err := e.look(ctx)
	if err != nil {
		return nil, advise(err)
	}
	var handles []executor.Handle
	for _, one := range seen {
		if !one.job.removed() && one.job.Metadata.Deleted.IsZero() {
			handles = append(handles, e.handle(one.job))
		}
	}
	return handles, nil
}

// Remove deletes an ended job's pod and Secret, and keeps the Job as proof that it was
// run, with its final state, until Collect or the cluster deletes it.
func (e *Executor) Remove(ctx context.Context, h executor.Handle) error {
	found, err := e.direct(ctx, h.ID)
	if err != nil {
		return fmt.Errorf("job %s: %w", h.ID, advise(err))
	}
	found = e.match(h, found)
	if found.job == nil {
		return nil
	}
	state, _ := stateOf(found, "", time.Now())
	if state.Phase != executor.Ended {
		return fmt.Errorf("job %s: %w", h.ID, executor.ErrRunning)
	}
	if !found.job.removed() {
		err := e.patchJob(ctx, found.job, map[string]any{"metadata": map[string]any{
			"uid":         found.job.Metadata.UID,
			"labels":      map[string]string{removedLabel: "true"},
			"annotations": map[string]string{endAnnotation: text(state)},
		}})
		if err != nil {
			return fmt.Errorf("job %s: %w", h.ID, err)
		}
	}
	var failed []error
	for i := range found.pods {
		failed = append(failed, e.deletePod(ctx, &found.pods[i]))
	}
	if name := found.job.secretName(); name != "" {
		err := e.client.call(ctx, request{method: http.MethodDelete, path: e.secretsPath(name)}, nil)
		if err != nil && !rest.Missing(err) {
			failed = append(failed, advise(err))
		}
	}
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("job %s: %w", h.ID, err)
	}
	e.forget(found.job.Metadata.UID)
	return nil
}

func (e *Executor) forget(uid string) {
	e.places.drop(uid)
	e.secrets.drop(uid)
	e.refusals.drop(uid)
}

// Collect deletes the Jobs that ended before a time and were removed, and those that
// never began, which the cluster does not delete by itself.
func (e *Executor) Collect(ctx context.Context, before time.Time) (int, error) {
	e.seen.forget()
	seen, err := e.look(ctx)
	if err != nil {
		return 0, advise(err)
	}
	count := 0
	var failed []error
	for _, one := range seen {
		end := one.job.ended()
		if end == nil || !end.FinishedAt.Before(before) || !one.job.Metadata.Deleted.IsZero() {
			continue
		}
		if state, _ := stateOf(one, "", time.Now()); state.Phase != executor.Ended {
			continue
		}
		err := e.client.call(ctx, request{
			method: http.MethodDelete, path: e.jobs(one.job.Metadata.Name), sent: deletionOf(one.job.Metadata.UID),
		}, nil)
		switch {
		case err == nil:
			count++
			e.forget(one.job.Metadata.UID)
		case !rest.Missing(err) && rest.Status(err) != http.StatusConflict:
			failed = append(failed, fmt.Errorf("job %s: %w", one.job.Metadata.Name, advise(err)))
		}
	}
	e.seen.forget()
	return count, errors.Join(failed...)
}
