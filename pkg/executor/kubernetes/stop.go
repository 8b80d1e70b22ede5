package kubernetes

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/internal/rest"
)

// stopTries is how often a job that changes meanwhile is looked at again.
const stopTries = 5

// Stop asks the wrapper by an annotation to end the script. A job that has not begun
// is kept from it.
func (e *Executor) Stop(ctx context.Context, h executor.Handle, grace time.Duration) error {
	var err error
	for range stopTries {
		if err = e.stop(ctx, h, grace); rest.Status(err) != http.StatusConflict {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("stop of job %s: %w", h.ID, err)
	}
	return nil
}

func (e *Executor) stop(ctx context.Context, h executor.Handle, grace time.Duration) error {
	found, err := e.direct(ctx, h.ID)
	if err != nil {
		return advise(err)
	}
	found = e.match(h, found)
	if found.job == nil || found.job.ended() != nil {
		return nil
	}
	now := time.Now().UTC()
	state, _ := stateOf(found, "", now)
	switch state.Phase {
	case executor.Ended:
		return nil
	case executor.Pending:
		return e.conclude(ctx, found.job, executor.State{Phase: executor.Ended, Reason: executor.ReasonStopped, FinishedAt: now})
	}
	asked := stopRequest{At: now, Grace: max(0, grace.Milliseconds())}
	// The Job is told first: it says why the script ended, whatever becomes of the pod.
	if before := found.job.stop(); before == nil || before.Grace > asked.Grace {
		err := e.patchJob(ctx, found.job, map[string]any{"metadata": map[string]any{
			"uid": found.job.Metadata.UID, "annotations": map[string]string{stopAnnotation: text(asked)},
		}})
		if err != nil {
			return err
		}
	}
	for i := range found.pods {
		if err := e.tell(ctx, &found.pods[i], asked.Grace); err != nil {
			return err
		}
	}
	return nil
}

// tell writes the request to where the pod sees it.
func (e *Executor) tell(ctx context.Context, p *pod, grace int64) error {
	if told, err := strconv.ParseInt(p.Metadata.Annotations[stopAnnotation], 10, 64); p.over() || err == nil && told <= grace {
		return nil
	}
	err := e.client.call(ctx, request{method: http.MethodPatch, path: e.pods(p.Metadata.Name), sent: map[string]any{
		"metadata": map[string]any{"uid": p.Metadata.UID, "annotations": map[string]string{stopAnnotation: strconv.FormatInt(grace, 10)}},
	}}, nil)
	if err == nil || rest.Missing(err) {
		return nil
	}
	return advise(err)
}
