package kubernetes

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/internal/rest"
)

// Observe tells a job's state from its Job and its pod. It also ends what has waited
// too long to begin, as nobody else watches over that.
func (e *Executor) Observe(ctx context.Context, h executor.Handle) (executor.State, error) {
	found, err := e.known(ctx, h)
	if err != nil {
		return executor.State{}, fmt.Errorf("job %s: %w", h.ID, advise(err))
	}
	if found.job == nil {
		return executor.State{Phase: executor.Absent}, nil
	}
	now := time.Now()
	state, w := stateOf(found, e.refusal(ctx, found, now), now)
	switch state.Phase {
	case executor.Pending:
		if why := e.expired(found.job, w, now); why != "" {
			if err := e.expire(ctx, found.job, why); err != nil {
				e.log.Warn("wait is ended later", zap.String("job", h.ID), zap.Error(err))
			}
		}
	case executor.Running:
		if err := e.insist(ctx, found, now); err != nil {
			e.log.Warn("stop is enforced later", zap.String("job", h.ID), zap.Error(err))
		}
	}
	return state, nil
}

// known finds a job in the common look at all, and by itself where it is not there.
func (e *Executor) known(ctx context.Context, h executor.Handle) (look, error) {
	seen, err := e.look(ctx)
	if err != nil {
		return look{}, err
	}
	found, there := seen[h.ID]
	if !there {
		if found, err = e.direct(ctx, h.ID); err != nil {
			return look{}, err
		}
	}
	return e.match(h, found), nil
}

// match takes away what is not the handle's job: another one of its name.
func (e *Executor) match(h executor.Handle, found look) look {
	if found.job == nil || h.Ref != "" && found.job.Metadata.UID != h.Ref || found.job.Metadata.Labels[jobLabel] != h.ID {
		return look{}
	}
	return found
}

// refusal is why the cluster does not make a Job's pod, by its events.
type refusal struct {
	message string
	asked   time.Time
}

// refusal asks for events only where a pod should long be there.
func (e *Executor) refusal(ctx context.Context, found look, now time.Time) string {
	j := found.job
	if len(found.pods) > 0 || j.Spec.Suspend || finished(j) != nil || j.ended() != nil || now.Sub(j.Metadata.Created) < e.config.Pace.Events {
		return ""
	}
	known, _ := e.refusals.get(j.Metadata.UID)
	if now.Sub(known.asked) < e.config.Pace.Events {
		return known.message
	}
	var page list[event]
	err := e.client.call(ctx, request{method: http.MethodGet, path: e.events(), query: url.Values{
		"limit": {strconv.Itoa(pageSize)}, "fieldSelector": {"involvedObject.uid=" + j.Metadata.UID},
	}}, &page)
	if err != nil {
		e.log.Warn("events are not told", zap.String("job", j.Metadata.Name), zap.Error(advise(err)))
		return known.message
	}
	last := time.Time{}
	known.asked, known.message = now, ""
	for _, one := range page.Items {
		at := one.Last
		if one.Time.After(at) {
			at = one.Time
		}
		if one.Reason == "FailedCreate" && !at.Before(last) {
			last, known.message = at, words(one.Message, one.Reason)
		}
	}
	e.refusals.put(j.Metadata.UID, known)
	return known.message
}

// expired says why a job has waited too long; nothing where it has not.
func (e *Executor) expired(j *job, w wait, now time.Time) string {
	if j.ended() != nil {
		return ""
	}
	switch {
	case w.grade == hopeless, w.grade == troubled && !w.since.IsZero() && now.Sub(w.since) >= e.config.TroubleDeadline:
		return w.message
	case now.Sub(j.Metadata.Created) >= e.config.StartDeadline:
		return fmt.Sprintf("the job did not begin within %v: %s", e.config.StartDeadline, w.message)
	}
	return ""
}

// expire ends a job that has not begun. What began meanwhile is left alone, as the
// object has another version then.
func (e *Executor) expire(ctx context.Context, j *job, why string) error {
	e.log.Info("wait is over", zap.String("job", j.Metadata.Name), zap.String("why", why))
	return e.conclude(ctx, j, executor.State{
		Phase: executor.Ended, Reason: executor.ReasonInfrastructure, Message: why, FinishedAt: time.Now().UTC(),
	})
}

// conclude writes the final state of a job that never began, and keeps the cluster from
// beginning it. A suspended Job is the tombstone.
func (e *Executor) conclude(ctx context.Context, j *job, end executor.State) error {
	annotations := map[string]string{endAnnotation: text(end)}
	if end.Reason == executor.ReasonStopped {
		annotations[stopAnnotation] = text(stopRequest{At: end.FinishedAt})
	}
	return e.patchJob(ctx, j, map[string]any{
		"metadata": map[string]any{"uid": j.Metadata.UID, "resourceVersion": j.Metadata.ResourceVersion, "annotations": annotations},
		"spec":     map[string]any{"suspend": true},
	})
}

// patchJob changes a Job. One that is gone needs no change.
func (e *Executor) patchJob(ctx context.Context, j *job, patch map[string]any) error {
	defer e.seen.forget()
	err := e.client.call(ctx, request{method: http.MethodPatch, path: e.jobs(j.Metadata.Name), sent: patch}, nil)
	if err == nil || rest.Missing(err) {
		return nil
	}
	return advise(err)
}

// insist deletes the pod of a job that does not heed a request to stop.
func (e *Executor) insist(ctx context.Context, found look, now time.Time) error {
	asked := found.job.stop()
	if asked == nil || now.Sub(asked.At) < time.Duration(asked.Grace)*time.Millisecond+e.config.Pace.Unheeded {
		return nil
	}
	for i := range found.pods {
		if p := &found.pods[i]; !p.over() && p.Metadata.Deleted.IsZero() {
			if err := e.deletePod(ctx, p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *Executor) deletePod(ctx context.Context, p *pod) error {
	defer e.seen.forget()
	err := e.client.call(ctx, request{method: http.MethodDelete, path: e.pods(p.Metadata.Name), sent: deletionOf(p.Metadata.UID)}, nil)
	if err == nil || rest.Missing(err) || rest.Status(err) == http.StatusConflict {
		return nil // gone, or another one has the name
	}
	return advise(err)
}
