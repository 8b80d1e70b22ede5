package lightning

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/internal/rest"
)

// pageJobs is how many jobs one request lists; maxPages bounds a list that never ends.
const (
	pageJobs = 100
	maxPages = 10_000
)

type jobPage struct {
	Jobs []job  `json:"jobs"`
	Next string `json:"nextPageToken"`
}

func (e *Executor) page(ctx context.Context, p place, token string, limit int) (jobPage, error) {
	query := url.Values{"standalone": {"true"}, "limit": {strconv.Itoa(limit)}}
	if token != "" {
		query.Set("pageToken", token)
	}
	var answer jobPage
	err := e.client.call(ctx, http.MethodGet, p.jobs(), query, nil, &answer)
	return answer, err
}

// all lists the teamspace's jobs, everybody's.
func (e *Executor) all(ctx context.Context, p place) ([]job, error) {
	var list []job
	token := ""
	for range maxPages {
		answer, err := e.page(ctx, p, token, pageJobs)
		if err != nil {
			return nil, advise(fmt.Errorf("jobs of teamspace %s: %w", p.name(), err))
		}
		list = append(list, answer.Jobs...)
		if token = answer.Next; token == "" {
			return list, nil
		}
	}
	return nil, fmt.Errorf("jobs of teamspace %s: the list does not end", p.name())
}

// ours says that this installation of litci made the job.
func (e *Executor) ours(j *job) bool {
	return j.env(jobVariable) != "" && j.env(instanceVariable) == e.config.Instance && !gone(j)
}

// twin says that the service gave the job another name than was asked for.
func twin(j *job) bool {
	id := j.env(jobVariable)
	return j.Name != id && j.Name != id+removedSuffix
}

// List returns the jobs that were not removed, running and ended.
func (e *Executor) List(ctx context.Context) ([]executor.Handle, error) {
	p, err := e.place(ctx)
	if err != nil {
		return nil, err
	}
	list, err := e.all(ctx, p)
	if err != nil {
		return nil, err
	}
	var handles []executor.Handle
	for _, one := range list {
		if e.ours(&one) && one.Name == one.env(jobVariable) {
			handles = append(handles, e.handle(p, one.ID, one.Name))
		}
	}
	return handles, nil
}

// Remove gives an ended job the name of a removed one. Its page stays until Collect
// deletes it, under the new name.
func (e *Executor) Remove(ctx context.Context, h executor.Handle) error {
	p, err := e.place(ctx)
	if err != nil {
		return err
	}
	found, err := e.known(ctx, p, h)
	if err != nil || found == nil || found.Name == h.ID+removedSuffix {
		return err
	}
	if !terminal(found.State) {
		return fmt.Errorf("job %s: %w", h.ID, executor.ErrRunning)
	}
	err = e.client.call(ctx, http.MethodPut, p.jobs()+"/"+url.PathEscape(found.ID), nil, map[string]string{"name": h.ID + removedSuffix}, nil)
	if err != nil && !rest.Missing(err) {
		return fmt.Errorf("job %s: %w", h.ID, advise(err))
	}
	return nil
}

// Collect deletes the removed jobs that ended before a time, and twins.
func (e *Executor) Collect(ctx context.Context, before time.Time) (int, error) {
	p, err := e.place(ctx)
	if err != nil {
		return 0, err
	}
	list, err := e.all(ctx, p)
	if err != nil {
		return 0, err
	}
	count, err := e.tidy(ctx, p, list)
	failed := []error{err}
	for _, one := range list {
		if !e.ours(&one) || one.Name != one.env(jobVariable)+removedSuffix || !terminal(one.State) || !endOf(&one).Before(before) {
			continue
		}
		if err := e.erase(ctx, p, one.ID); err != nil {
			failed = append(failed, fmt.Errorf("job %s: %w", one.Name, err))
			continue
		}
		count++
	}
	return count, errors.Join(failed...)
}

// Tidy ends and deletes jobs that came to be twice, and returns how many it deleted.
// Each costs money while it runs, so it is worth calling every ten minutes.
func (e *Executor) Tidy(ctx context.Context) (int, error) {
	p, err := e.place(ctx)
	if err != nil {
		return 0, err
	}
	list, err := e.all(ctx, p)
	if err != nil {
		return 0, err
	}
	return e.tidy(ctx, p, list)
}

func (e *Executor) tidy(ctx context.Context, p place, list []job) (int, error) {
	count := 0
	var failed []error
	for _, one := range list {
		if !e.ours(&one) || !twin(&one) {
			continue
		}
		e.log.Warn("job was made twice", zap.String("job", one.env(jobVariable)), zap.String("twin", one.Name))
		if err := e.discard(ctx, p, one.ID); err != nil {
			failed = append(failed, fmt.Errorf("twin %s: %w", one.Name, err))
			continue
		}
		count++
	}
	return count, errors.Join(failed...)
}

// erase deletes a job at the service.
func (e *Executor) erase(ctx context.Context, p place, id string) error {
	err := e.client.call(ctx, http.MethodDelete, p.jobs()+"/"+url.PathEscape(id), nil, nil, nil)
	if err == nil || rest.Missing(err) {
		e.jobs.drop(id)
		return nil
	}
	return advise(err)
}
