package kubernetes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/internal/rest"
	"github.com/litci/litci/pkg/executor/kubernetes/machine"
)

// Start makes the Job and its Secret, or adopts what is there under the name. A job
// that was removed is not run again: its handle is returned.
func (e *Executor) Start(ctx context.Context, spec executor.Spec) (executor.Handle, error) {
	if err := checkSpec(spec); err != nil {
		return executor.Handle{}, err
	}
	m, err := e.machine(spec)
	if err != nil {
		return executor.Handle{}, err
	}
	unlock, err := e.starting.Take(ctx, spec.ID)
	if err != nil {
		return executor.Handle{}, fmt.Errorf("job %s: %w", spec.ID, err)
	}
	defer unlock()
	defer e.seen.forget()
	found, err := e.settled(ctx, spec.ID)
	if err != nil {
		return executor.Handle{}, fmt.Errorf("job %s: %w", spec.ID, advise(err))
	}
	link, linked := "", false
	if found.job == nil {
		// The link comes first: without one there is nothing to make a Job for.
		if link, err = e.link(ctx, spec); err != nil {
			return executor.Handle{}, err
		}
		linked = true
		// What cannot be a Secret must not become a Job.
		if _, err := e.secret(&job{}, spec, m, link); err != nil {
			return executor.Handle{}, err
		}
		if found.job, err = e.create(ctx, spec, m); err != nil {
			return executor.Handle{}, err
		}
	}
	if found.job.Metadata.Labels[hashLabel] != hashOf(spec.Hash) || found.job.Metadata.Labels[instanceLabel] != e.config.Instance {
		return executor.Handle{}, fmt.Errorf("job %s: %w", spec.ID, executor.ErrConflict)
	}
	if !e.needsSecret(found) {
		return e.handle(found.job), nil
	}
	if !linked {
		if link, err = e.link(ctx, spec); err != nil {
			return executor.Handle{}, err
		}
	}
	if err := e.createSecret(ctx, found.job, spec, m, link); err != nil {
		return executor.Handle{}, err
	}
	return e.handle(found.job), nil
}

// settled is the job under a name once nothing of it is being deleted. A name whose
// pods still run is not free.
func (e *Executor) settled(ctx context.Context, id string) (look, error) {
	end := time.Now().Add(e.config.Pace.Deletion)
	for {
		found, err := e.direct(ctx, id)
		if err != nil {
			return look{}, err
		}
		leaving := ""
		switch {
		case found.job != nil && !found.job.Metadata.Deleted.IsZero():
			leaving = "its Job is being deleted"
		case found.job == nil:
			for _, p := range found.pods {
				if !p.over() {
					leaving = "a pod of a deleted Job of its name still runs"
				}
			}
		}
		if leaving == "" {
			return found, nil
		}
		if !time.Now().Before(end) {
			// The pods may be those of a Job that another process made between two requests.
			if made, err := e.get(ctx, id); err != nil || made == nil || !made.Metadata.Deleted.IsZero() {
				return look{}, errors.Join(errors.New(leaving), err)
			}
			continue
		}
		if !rest.Sleep(ctx, min(e.config.Pace.Retry, time.Second)) {
			return look{}, ctx.Err()
		}
	}
}

// create makes the Job. Where another one was first, that one is taken.
func (e *Executor) create(ctx context.Context, spec executor.Spec, m machine.Kind) (*job, error) {
	var made job
	err := e.client.call(ctx, request{
		method: http.MethodPost, path: e.jobs(""), query: values("fieldValidation", "Strict"), sent: e.manifest(spec, m),
	}, &made)
	switch {
	case err == nil:
		e.log.Info("job made", zap.String("job", spec.ID), zap.String("uid", made.Metadata.UID))
		return &made, nil
	case rest.Status(err) != http.StatusConflict:
		return nil, refused(spec, err)
	}
	// It was made by another process, or by a request whose answer was lost.
	found, err := e.get(ctx, spec.ID)
	if err == nil && found == nil {
		err = errors.New("its name is taken by a job that cannot be found")
	}
	if err != nil {
		return nil, fmt.Errorf("job %s: %w", spec.ID, advise(err))
	}
	return found, nil
}

// needsSecret says that the pod may be waiting for its Secret, since a crash came
// between the two.
func (e *Executor) needsSecret(found look) bool {
	if made, known := e.secrets.get(found.job.Metadata.UID); known && made {
		return false
	}
	if found.job.ended() != nil || found.job.removed() || finished(found.job) != nil {
		return false
	}
	for _, p := range found.pods {
		if p.over() {
			return false
		}
		if c := p.container(sourceContainer); c != nil && (c.State.Running != nil || c.State.Terminated != nil) {
			return false
		}
	}
	return true
}

func (e *Executor) createSecret(ctx context.Context, j *job, spec executor.Spec, m machine.Kind, link string) error {
	s, err := e.secret(j, spec, m, link)
	if err != nil {
		return err
	}
	err = e.client.call(ctx, request{
		method: http.MethodPost, path: e.secretsPath(""), query: values("fieldValidation", "Strict"), sent: s, secret: link,
	}, nil)
	// Its name is this Job's alone: what is there is what is wanted.
	if err != nil && rest.Status(err) != http.StatusConflict {
		return refused(spec, err)
	}
	e.secrets.put(j.Metadata.UID, true)
	return nil
}

// refused tells what no retry helps against from what an operator must mend.
func refused(spec executor.Spec, err error) error {
	answer, known := errors.AsType[*rest.Error](err)
	if known && (answer.Code == http.StatusUnprocessableEntity || answer.Code == http.StatusBadRequest) {
		return &executor.StartError{Message: fmt.Sprintf("the cluster refuses the job (machine %s, image %s)", cmp.Or(spec.Machine, machine.Default), spec.Image), Err: answer}
	}
	return fmt.Errorf("job %s: %w", spec.ID, advise(err))
}
