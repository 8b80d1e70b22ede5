package lightning

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/internal/rest"
)

// Stop asks the service to end the job. The script has Spec.Grace then, as the
// wrapper was told at the start; the service takes no other.
func (e *Executor) Stop(ctx context.Context, h executor.Handle, _ time.Duration) error {
	p, err := e.place(ctx)
	if err != nil {
		return err
	}
	found, err := e.known(ctx, p, h)
	if err != nil || found == nil || terminal(found.State) {
		return err
	}
	e.jobs.change(found.ID, func(m *recollection) { m.asked, m.last = true, nil })
	if stopping(found.State) {
		return nil
	}
	if err := e.halt(ctx, p, found.ID); err != nil {
		return fmt.Errorf("stop of job %s: %w", h.ID, advise(err))
	}
	return nil
}

// halt sends the request. "stop" is the action; the name of the state is refused.
func (e *Executor) halt(ctx context.Context, p place, id string) error {
	err := e.client.call(ctx, http.MethodPut, p.jobs()+"/"+url.PathEscape(id), nil, map[string]string{"state": "stop"}, nil)
	if err == nil || rest.Missing(err) {
		return nil
	}
	// It may have ended meanwhile.
	if found, again := e.get(ctx, p, id); again == nil && (found == nil || terminal(found.State)) {
		return nil
	}
	return err
}

// known finds a job by its handle, by its name where the handle has no more.
func (e *Executor) known(ctx context.Context, p place, h executor.Handle) (*job, error) {
	var found *job
	var err error
	if h.Ref != "" {
		found, err = e.get(ctx, p, h.Ref)
	} else if found, err = e.find(ctx, p, h.ID); err == nil && found == nil {
		found, err = e.find(ctx, p, h.ID+removedSuffix)
	}
	if err != nil {
		return nil, fmt.Errorf("job %s: %w", h.ID, advise(err))
	}
	if found == nil {
		// Without this, a lost permission would make every job look lost.
		if err := e.reachable(ctx, p); err != nil {
			return nil, fmt.Errorf("job %s: %w", h.ID, err)
		}
	}
	return found, nil
}
