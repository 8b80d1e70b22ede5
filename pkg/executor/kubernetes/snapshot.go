package kubernetes

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/litci/litci/pkg/executor/internal/rest"
)

// look is a job with its pods, oldest first; the job is nil where there is none.
type look struct {
	job  *job
	pods []pod
}

// get is a Job, nil where there is none.
func (e *Executor) get(ctx context.Context, id string) (*job, error) {
	var found job
	err := e.client.call(ctx, request{method: http.MethodGet, path: e.jobs(id)}, &found)
	if rest.Missing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &found, nil
}

// direct looks at one job.
func (e *Executor) direct(ctx context.Context, id string) (look, error) {
	found, err := e.get(ctx, id)
	if err != nil {
		return look{}, err
	}
	pods, err := all[pod](ctx, e.client, e.pods(""), jobLabel+"="+id)
	if err != nil {
		return look{}, err
	}
	return look{found, podsOf(found, pods)}, nil
}

// podsOf are the Job's own pods; without a Job, those that another one left.
func podsOf(j *job, pods []pod) []pod {
	if j != nil {
		pods = slices.DeleteFunc(pods, func(p pod) bool {
			return !slices.ContainsFunc(p.Metadata.Owners, func(o owner) bool { return o.UID == j.Metadata.UID })
		})
	}
	slices.SortFunc(pods, func(a, b pod) int {
		if c := a.Metadata.Created.Compare(b.Metadata.Created); c != 0 {
			return c
		}
		return strings.Compare(a.Metadata.Name, b.Metadata.Name)
	})
	return pods
}

const (
	// pageSize is how many objects one request lists.
	pageSize = 500
	// listTries is how often a list is begun that changed too much to be read on.
	listTries = 3
)

// all lists objects, page by page. A list whose next page has expired begins anew.
func all[T any](ctx context.Context, c *client, path, selector string) ([]T, error) {
	var items []T
	token, begun := "", 1
	for {
		query := url.Values{"limit": {strconv.Itoa(pageSize)}, "labelSelector": {selector}}
		if token != "" {
			query.Set("continue", token)
		}
		var page list[T]
		err := c.call(ctx, request{method: http.MethodGet, path: path, query: query}, &page)
		if rest.Status(err) == http.StatusGone && token != "" && begun < listTries {
			items, token = nil, ""
			begun++
			continue
		}
		if err != nil {
			return nil, err
		}
		items = append(items, page.Items...)
		if token = page.Metadata.Continue; token == "" {
			return items, nil
		}
	}
}

// snapshot is one look at all jobs, which serves for a moment: many jobs are followed
// with two requests.
type snapshot struct {
	mu      sync.Mutex
	looking chan struct{} // closed when a look is over; nil where there is none
	at      time.Time
	changes int
	jobs    map[string]look
}

// forget makes the next look a new one.
func (s *snapshot) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at, s.jobs = time.Time{}, nil
	s.changes++
}

// look is the state of all jobs, not older than Pace.Fresh.
func (e *Executor) look(ctx context.Context) (map[string]look, error) {
	s := &e.seen
	for {
		s.mu.Lock()
		if s.jobs != nil && time.Since(s.at) < e.config.Pace.Fresh {
			defer s.mu.Unlock()
			return s.jobs, nil
		}
		if s.looking == nil {
			break
		}
		busy := s.looking
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-busy:
		}
	}
	over, changes := make(chan struct{}), s.changes
	s.looking = over
	s.mu.Unlock()
	at := time.Now()
	jobs, err := e.lookAll(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looking = nil
	close(over)
	if err == nil && s.changes == changes {
		s.jobs, s.at = jobs, at
	}
	return jobs, err
}

// lookAll lists jobs before pods, so that a job that has ended is not seen without the
// pod that tells how.
func (e *Executor) lookAll(ctx context.Context) (map[string]look, error) {
	list, err := all[job](ctx, e.client, e.jobs(""), e.selector())
	if err != nil {
		return nil, fmt.Errorf("jobs of namespace %s: %w", e.config.Namespace, err)
	}
	pods, err := all[pod](ctx, e.client, e.pods(""), e.selector())
	if err != nil {
		return nil, fmt.Errorf("pods of namespace %s: %w", e.config.Namespace, err)
	}
	byJob := map[string][]pod{}
	for _, p := range pods {
		id := p.Metadata.Labels[jobLabel]
		byJob[id] = append(byJob[id], p)
	}
	jobs := make(map[string]look, len(list))
	for i := range list {
		id := list[i].Metadata.Name
		jobs[id] = look{&list[i], podsOf(&list[i], byJob[id])}
	}
	return jobs, nil
}
