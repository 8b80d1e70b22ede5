package lightning

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/internal/rest"
)

// removedSuffix is in the names of jobs that were removed. They stay as proof that
// the job was run until Collect deletes them.
const removedSuffix = "-removed"

// Start makes the job, or adopts what is there under its name. A job that was
// removed is not run again: its handle is returned.
func (e *Executor) Start(ctx context.Context, spec executor.Spec) (executor.Handle, error) {
	if err := checkSpec(spec); err != nil {
		return executor.Handle{}, err
	}
	unlock, err := e.starting.Take(ctx, spec.ID)
	if err != nil {
		return executor.Handle{}, fmt.Errorf("job %s: %w", spec.ID, err)
	}
	defer unlock()
	p, err := e.place(ctx)
	if err != nil {
		return executor.Handle{}, err
	}
	if h, found, err := e.adopt(ctx, p, spec); err != nil || found {
		return h, err
	}
	// A second request is made only after the first one's job was not found for long.
	h, made, err := e.create(ctx, p, spec)
	if !made && errors.Is(err, errUnanswered) {
		h, _, err = e.create(ctx, p, spec)
	}
	return h, err
}

// errUnanswered says that nobody knows whether a request had an effect.
var errUnanswered = errors.New("the service did not say whether the job was made")

// create asks for the job once, and finds out what came of it.
func (e *Executor) create(ctx context.Context, p place, spec executor.Spec) (h executor.Handle, made bool, err error) {
	want, err := e.request(ctx, p, spec)
	if err != nil {
		return executor.Handle{}, false, err
	}
	body := struct {
		Name string  `json:"name"`
		Spec jobSpec `json:"spec"`
	}{spec.ID, want}
	var created job
	err = e.client.once(ctx, http.MethodPost, p.jobs(), nil, body, &created)
	if answer, ok := errors.AsType[*rest.Error](err); ok {
		for _, v := range want.Env {
			if v.Name == sourceVariable {
				answer.Message = e.client.scrub(answer.Message, v.Value)
			}
		}
	}
	switch {
	case err == nil && created.ID != "" && created.Name == spec.ID:
		e.log.Info("job made", zap.String("job", spec.ID), zap.String("machine", want.InstanceName))
		return e.handle(p, created.ID, spec.ID), true, nil
	case err == nil && created.ID != "":
		// The name is taken: what was made is a twin.
		e.log.Warn("job was made twice", zap.String("job", spec.ID), zap.String("twin", created.Name))
		if err := e.discard(ctx, p, created.ID); err != nil {
			e.log.Warn("twin is deleted later", zap.String("twin", created.Name), zap.Error(err))
		}
	case err != nil && !unanswered(err):
		if rest.Missing(err) {
			e.places.forget()
		}
		return executor.Handle{}, false, refused(spec, err)
	}
	for i := range len(e.config.Pace.LookAgain) + 1 {
		if i > 0 && !rest.Sleep(ctx, e.config.Pace.LookAgain[i-1]) {
			return executor.Handle{}, true, fmt.Errorf("job %s: %w", spec.ID, ctx.Err())
		}
		found := false
		if h, found, err = e.adopt(ctx, p, spec); err != nil {
			return h, true, err
		}
		if found {
			return h, true, e.single(ctx, p, spec.ID)
		}
	}
	if created.ID != "" {
		return executor.Handle{}, true, fmt.Errorf("job %s: its name is taken by a job that cannot be found", spec.ID)
	}
	return executor.Handle{}, false, fmt.Errorf("job %s: %w", spec.ID, errUnanswered)
}

// unanswered says that a request may have had its effect all the same.
func unanswered(err error) bool {
	code := rest.Status(err)
	return rest.Transient(err) || code == http.StatusConflict
}

// refused tells what no retry helps against from what an operator must mend.
func refused(spec executor.Spec, err error) error {
	switch rest.Status(err) {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusUnprocessableEntity:
		answer, _ := errors.AsType[*rest.Error](err)
		return &executor.StartError{
			Message: fmt.Sprintf("Lightning AI refuses the job (machine %s, image %s)", cmp.Or(spec.Machine, defaultMachine), spec.Image),
			Err:     answer,
		}
	}
	return fmt.Errorf("job %s: %w", spec.ID, advise(err))
}

// adopt finds the job under its name, or under the one that it has since it was
// removed.
func (e *Executor) adopt(ctx context.Context, p place, spec executor.Spec) (executor.Handle, bool, error) {
	for _, name := range []string{spec.ID, spec.ID + removedSuffix} {
		found, err := e.find(ctx, p, name)
		if err != nil {
			return executor.Handle{}, false, fmt.Errorf("job %s: %w", spec.ID, advise(err))
		}
		if found == nil {
			continue
		}
		// A service that keeps variables to itself leaves only the name to go by.
		if len(found.Spec.Env) > 0 && (found.env(jobVariable) != spec.ID || found.env(hashVariable) != spec.Hash) {
			return executor.Handle{}, false, fmt.Errorf("job %s: %w", spec.ID, executor.ErrConflict)
		}
		return e.handle(p, found.ID, spec.ID), true, nil
	}
	return executor.Handle{}, false, nil
}

func (e *Executor) handle(p place, ref, id string) executor.Handle {
	return executor.Handle{
		Executor: Kind, ID: id, Ref: ref,
		URL: e.config.URL + "/" + url.PathEscape(p.owner) + "/" + url.PathEscape(p.space) + "/jobs/" + id + "?app_id=jobs",
	}
}

// find is the job of a name, nil where there is none. Not every deployment has every
// way to ask.
func (e *Executor) find(ctx context.Context, p place, name string) (*job, error) {
	var found job
	err := e.client.call(ctx, http.MethodGet, p.jobs()+"/find", url.Values{"name": {name}}, nil, &found)
	if unsupported(err) {
		found = job{}
		err = e.client.call(ctx, http.MethodGet, "/v1/projects/-/-/jobs/"+url.PathEscape(name), url.Values{"projectId": {p.project}}, nil, &found)
	}
	if unsupported(err) {
		return e.findListed(ctx, p, name)
	}
	if rest.Missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if found.ID == "" || found.Name != name || gone(&found) {
		return nil, nil
	}
	if len(found.Spec.Env) == 0 {
		return e.get(ctx, p, found.ID)
	}
	return &found, nil
}

func unsupported(err error) bool {
	code := rest.Status(err)
	return code == http.StatusNotImplemented || code == http.StatusMethodNotAllowed
}

func (e *Executor) findListed(ctx context.Context, p place, name string) (*job, error) {
	list, err := e.all(ctx, p)
	if err != nil {
		return nil, err
	}
	for _, one := range list {
		if one.Name == name && !gone(&one) {
			return e.get(ctx, p, one.ID)
		}
	}
	return nil, nil
}

// get is the job of the service's own id, nil where there is none.
func (e *Executor) get(ctx context.Context, p place, id string) (*job, error) {
	var found job
	err := e.client.call(ctx, http.MethodGet, p.jobs()+"/"+url.PathEscape(id), nil, nil, &found)
	if rest.Missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if found.ID == "" || gone(&found) {
		return nil, nil
	}
	return &found, nil
}

// discard ends and deletes a job that should not be. One that does not end in time
// is left for Tidy.
func (e *Executor) discard(ctx context.Context, p place, id string) error {
	ctx, cancel := context.WithTimeout(ctx, e.config.Pace.Discard)
	defer cancel()
	if err := e.halt(ctx, p, id); err != nil {
		return err
	}
	for {
		found, err := e.get(ctx, p, id)
		if err != nil {
			return err
		}
		if found == nil {
			return nil
		}
		if terminal(found.State) {
			return e.erase(ctx, p, id)
		}
		if !rest.Sleep(ctx, min(2*time.Second, 4*e.config.Pace.Retry)) {
			return ctx.Err()
		}
	}
}

// single discards the twins of a job that was asked for without an answer.
func (e *Executor) single(ctx context.Context, p place, id string) error {
	list, err := e.all(ctx, p)
	if err != nil {
		// The job is there; Tidy will look again.
		e.log.Warn("twins are looked for later", zap.String("job", id), zap.Error(err))
		return nil
	}
	for _, one := range list {
		if one.env(jobVariable) == id && e.ours(&one) && twin(&one) {
			if err := e.discard(ctx, p, one.ID); err != nil {
				e.log.Warn("twin is deleted later", zap.String("twin", one.Name), zap.Error(err))
			}
		}
	}
	return nil
}
