package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/litci/litci/pkg/executor"
)

// orphanAge is how old a container must be that was never started before Collect
// takes it for forgotten.
const orphanAge = 10 * time.Minute

// tombstone is what is left of a removed job: an empty volume, which costs nothing
// and lasts as containers do.
type tombstone struct {
	hash, container string
	state           executor.State
}

func (e *Executor) tombstone(ctx context.Context, id string) (*tombstone, error) {
	ctx, cancel := e.call(ctx)
	defer cancel()
	found, err := e.engine.VolumeInspect(ctx, id, client.VolumeInspectOptions{})
	if isMissing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("job %s: what is left of it: %w", id, err)
	}
	return e.readTombstone(found.Volume.Labels), nil
}

func (e *Executor) readTombstone(labels map[string]string) *tombstone {
	t := tombstone{hash: labels[labelHash], container: labels[labelContainer]}
	if !e.isOurs(labels) || json.Unmarshal([]byte(labels[labelState]), &t.state) != nil || t.state.Phase != executor.Ended {
		return nil
	}
	return &t
}

// removed gives the handle of a job that was removed: it is not run again.
func (e *Executor) removed(ctx context.Context, job executor.Spec) (executor.Handle, bool, error) {
	left, err := e.tombstone(ctx, job.ID)
	if err != nil || left == nil {
		return executor.Handle{}, false, err
	}
	if left.hash != job.Hash {
		return executor.Handle{}, false, fmt.Errorf("job %s: %w", job.ID, executor.ErrConflict)
	}
	return e.handle(job.ID, left.container), true, nil
}

// bury leaves the tombstone.
func (e *Executor) bury(ctx context.Context, c *container.InspectResponse, state executor.State) error {
	said, err := json.Marshal(state)
	if err != nil {
		return err
	}
	labels := e.labels()
	labels[labelHash], labels[labelContainer], labels[labelState] = c.Config.Labels[labelHash], c.ID, string(said)
	labels[labelJob] = c.Config.Labels[labelJob]
	ctx, cancel := e.call(ctx)
	defer cancel()
	if _, err := e.engine.VolumeCreate(ctx, client.VolumeCreateOptions{Name: labels[labelJob], Labels: labels}); err != nil {
		return fmt.Errorf("job %s: what is to be left of it: %w", labels[labelJob], err)
	}
	return nil
}

func (e *Executor) unbury(ctx context.Context, id string) error {
	ctx, cancel := e.call(ctx)
	defer cancel()
	if _, err := e.engine.VolumeRemove(ctx, id, client.VolumeRemoveOptions{}); err != nil && !isMissing(err) {
		return fmt.Errorf("job %s: what is left of it: %w", id, err)
	}
	return nil
}

// Remove deletes a job's container and its volumes. What is left is the tombstone,
// which is made first: a crash in between leaves no job that could run again, and
// Observe goes on to tell how it ended.
func (e *Executor) Remove(ctx context.Context, h executor.Handle) error {
	if err := e.owns(ctx, h); err != nil {
		return err
	}
	unlock, err := e.starting.Take(ctx, h.ID)
	if err != nil {
		return fmt.Errorf("job %s: %w", h.ID, err)
	}
	defer unlock()
	c, err := e.find(ctx, h.ID)
	if err != nil {
		return err
	}
	if c == nil || !e.isOurs(c.Config.Labels) {
		return nil
	}
	switch c.State.Status {
	case container.StateCreated:
		return e.removeUnstarted(ctx, c)
	case container.StateExited, container.StateDead:
	case container.StateRemoving:
		return nil
	default:
		return fmt.Errorf("job %s: %w", h.ID, executor.ErrRunning)
	}
	state, err := e.state(ctx, c)
	if err != nil {
		return err
	}
	if err := e.bury(ctx, c, state); err != nil {
		return err
	}
	return e.erase(ctx, c)
}

// removeUnstarted ends a job before it begins.
func (e *Executor) removeUnstarted(ctx context.Context, c *container.InspectResponse) error {
	id := strings.TrimPrefix(c.Name, "/")
	err := e.bury(ctx, c, executor.State{
		Phase: executor.Ended, Reason: executor.ReasonLost, Message: "the job was removed before it began", FinishedAt: time.Now().UTC(),
	})
	if err != nil {
		return err
	}
	err = e.discard(ctx, id)
	if errors.Is(err, executor.ErrRunning) {
		// Another launcher has begun it; how it ends is still to be seen.
		err = errors.Join(err, e.unbury(ctx, id))
	}
	return err
}

// erase deletes a container that has ended. By force, because somebody may have
// started it again: nothing of the job runs in it.
func (e *Executor) erase(ctx context.Context, c *container.InspectResponse) error {
	ctx, cancel := context.WithTimeout(ctx, e.options.Copy) // a large one takes its time
	defer cancel()
	_, err := e.engine.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !isMissing(err) && !beingRemoved(err) {
		return fmt.Errorf("container of job %s: %w", strings.TrimPrefix(c.Name, "/"), err)
	}
	e.memory.forget(c.ID)
	e.log.Debug("container removed", zap.String("job", strings.TrimPrefix(c.Name, "/")))
	return nil
}

// List returns the jobs that have a container, running, ended and not yet begun.
func (e *Executor) List(ctx context.Context) ([]executor.Handle, error) {
	if err := e.meet(ctx); err != nil {
		return nil, err
	}
	found, err := e.list(ctx)
	if err != nil {
		return nil, err
	}
	var list []executor.Handle
	for _, c := range found {
		if c.State != container.StateRemoving && !isAside(c) {
			list = append(list, e.handle(c.Labels[labelJob], c.ID))
		}
	}
	return list, nil
}

func (e *Executor) list(ctx context.Context) ([]container.Summary, error) {
	ctx, cancel := e.call(ctx)
	defer cancel()
	found, err := e.engine.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: e.ours()})
	if err != nil {
		return nil, fmt.Errorf("list of containers: %w", err)
	}
	jobs := found.Items[:0]
	for _, c := range found.Items {
		if e.isOurs(c.Labels) && validID(c.Labels[labelJob]) {
			jobs = append(jobs, c)
		}
	}
	return jobs, nil
}

// isAside says that a container lost its job's name, because somebody began to
// discard it.
func isAside(c container.Summary) bool {
	for _, name := range c.Names {
		if strings.Contains(name, asideInfix) {
			return true
		}
	}
	return false
}

// Collect deletes the jobs that ended before a time, tombstones too, and containers
// that a launcher left before their start more than ten minutes ago. It returns how
// many there were. What runs, what is younger, and what is not this installation's
// stays. The time must be longer ago than any message that starts a job can live, or
// the job could run again.
func (e *Executor) Collect(ctx context.Context, before time.Time) (int, error) {
	found, err := e.list(ctx)
	if err != nil {
		return 0, err
	}
	collected := 0
	var failed []error
	note := func(done bool, err error) {
		if done {
			collected++
		}
		if err != nil {
			failed = append(failed, err)
		}
	}
	for _, c := range found {
		if ctx.Err() != nil {
			return collected, errors.Join(append(failed, ctx.Err())...)
		}
		note(e.collect(ctx, c, before))
	}
	limited, cancel := e.call(ctx)
	defer cancel()
	volumes, err := e.engine.VolumeList(limited, client.VolumeListOptions{Filters: e.ours()})
	if err != nil {
		return collected, errors.Join(append(failed, fmt.Errorf("list of volumes: %w", err))...)
	}
	for _, v := range volumes.Items {
		if left := e.readTombstone(v.Labels); left != nil && left.state.FinishedAt.Before(before) {
			err := e.unbury(ctx, v.Name)
			note(err == nil, err)
		}
	}
	return collected, errors.Join(failed...)
}

// Clear deletes everything of this installation, running jobs too, and its network:
// for an installation that ends.
func (e *Executor) Clear(ctx context.Context) error {
	found, err := e.list(ctx)
	if err != nil {
		return err
	}
	// Removing takes the engine longer than answering.
	var group errgroup.Group
	group.SetLimit(8)
	for _, c := range found {
		group.Go(func() error {
			_, err := e.engine.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
			if err != nil && !isMissing(err) && !beingRemoved(err) {
				return fmt.Errorf("container of job %s: %w", c.Labels[labelJob], err)
			}
			return nil
		})
	}
	failed := []error{group.Wait()}
	// What is left of jobs that ended, whenever that was.
	_, err = e.Collect(ctx, time.Now().Add(time.Hour))
	failed = append(failed, err)
	for { // an engine before API 1.44 may have several
		network, err := e.oldestNetwork(ctx)
		if err == nil && network != "" {
			_, err = e.engine.NetworkRemove(ctx, network, client.NetworkRemoveOptions{})
		}
		if err != nil || network == "" {
			return errors.Join(append(failed, err)...)
		}
	}
}

// collect deletes one container if it is over for long enough, or was forgotten.
func (e *Executor) collect(ctx context.Context, c container.Summary, before time.Time) (bool, error) {
	id := c.Labels[labelJob]
	if e.starting.Held(id) {
		return false, nil
	}
	switch c.State {
	case container.StateCreated:
		if time.Since(time.Unix(c.Created, 0)) < orphanAge {
			return false, nil
		}
		err := e.discardOrphan(ctx, c)
		if errors.Is(err, executor.ErrRunning) {
			return false, nil
		}
		return err == nil, err
	case container.StateExited, container.StateDead:
		full, err := e.find(ctx, c.ID)
		if err != nil || full == nil {
			return false, err
		}
		state, err := e.state(ctx, full)
		if err != nil || state.Phase != executor.Ended || !state.FinishedAt.Before(before) {
			return false, err
		}
		err = e.erase(ctx, full)
		return err == nil, err
	}
	return false, nil
}

// discardOrphan removes a container that nobody started, under whichever name.
func (e *Executor) discardOrphan(ctx context.Context, c container.Summary) error {
	if !isAside(c) {
		return e.discard(ctx, c.Labels[labelJob])
	}
	ctx, cancel := e.call(ctx)
	defer cancel()
	_, err := e.engine.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{RemoveVolumes: true})
	if isMissing(err) {
		return nil
	}
	return err
}
