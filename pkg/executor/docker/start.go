package docker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"go.uber.org/zap"

	"github.com/litci/litci/pkg/executor"
)

// attempts is how often Start looks again because somebody else works on the same
// container; the caller may call again.
const attempts = 3

// Start creates the job's container, fills it and starts it, or goes on from
// wherever an earlier Start left it. A container that was ever started is adopted,
// whatever became of it.
func (e *Executor) Start(ctx context.Context, job executor.Spec) (executor.Handle, error) {
	h, err := e.begin(ctx, job)
	if client.IsErrConnectionFailed(err) {
		err = &executor.FaultError{Message: "no Docker engine answers", Err: err}
	}
	return h, err
}

func (e *Executor) begin(ctx context.Context, job executor.Spec) (executor.Handle, error) {
	if !validID(job.ID) {
		return executor.Handle{}, fmt.Errorf("job id %q is malformed", job.ID)
	}
	if err := executor.CheckEnv(job.Env); err != nil {
		return executor.Handle{}, err
	}
	if err := e.meet(ctx); err != nil {
		return executor.Handle{}, err
	}
	unlock, err := e.starting.Take(ctx, job.ID)
	if err != nil {
		return executor.Handle{}, fmt.Errorf("job %s: %w", job.ID, err)
	}
	defer unlock()
	s := &start{executor: e, job: job}
	defer func() { s.source.close() }()
	for range attempts {
		var h executor.Handle
		if h, err = s.try(ctx); !errors.Is(err, errMoved) {
			return h, err
		}
	}
	return executor.Handle{}, err
}

// errMoved says that somebody else changed the container meanwhile.
var errMoved = errors.New("its container changed meanwhile")

// start is one Start.
type start struct {
	executor *Executor
	job      executor.Spec
	source   *source
}

func (s *start) try(ctx context.Context) (executor.Handle, error) {
	e, id := s.executor, s.job.ID
	found, err := e.find(ctx, id)
	if err != nil {
		return executor.Handle{}, err
	}
	fresh := found == nil
	if fresh {
		if h, removed, err := e.removed(ctx, s.job); err != nil || removed {
			return h, err
		}
		if found, err = s.create(ctx); err != nil {
			return executor.Handle{}, err
		}
		e.step("created")
		// A Remove leaves its mark before it frees the name, so a job that was removed
		// since the first look is seen now.
		if h, removed, err := e.removed(ctx, s.job); err != nil || removed {
			return h, errors.Join(err, e.discard(ctx, id))
		}
	}
	if !e.isOurs(found.Config.Labels) || found.Config.Labels[labelHash] != s.job.Hash {
		return executor.Handle{}, fmt.Errorf("job %s: %w", id, executor.ErrConflict)
	}
	h := e.handle(id, found.ID)
	if found.State.Status != container.StateCreated {
		return h, nil
	}
	if err := s.begin(ctx, found, fresh); err != nil {
		if _, final := errors.AsType[*executor.StartError](err); final {
			// Nobody will come for it.
			err = errors.Join(err, e.discard(ctx, id))
		}
		return executor.Handle{}, err
	}
	return h, nil
}

// find looks for the container of a job; nil means that there is none.
func (e *Executor) find(ctx context.Context, name string) (*container.InspectResponse, error) {
	limited, cancel := e.call(ctx)
	defer cancel()
	found, err := e.engine.ContainerInspect(limited, name, client.ContainerInspectOptions{})
	if isMissing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("job %s: %w", name, err)
	}
	c := &found.Container
	if c.State == nil || c.Config == nil {
		return nil, fmt.Errorf("job %s: the engine tells nothing about its container", name)
	}
	return c, nil
}

// create makes the container, once all that can be known to be wrong with the job is
// known.
func (s *start) create(ctx context.Context) (*container.InspectResponse, error) {
	e, id := s.executor, s.job.ID
	limits, err := e.options.limits(s.job.Machine)
	if err != nil {
		return nil, err
	}
	if limits, err = limits.grant(s.job.Machine, s.job.Resources); err != nil {
		return nil, err
	}
	image, err := e.imageOf(s.job)
	if err != nil {
		return nil, err
	}
	if err := s.fetch(ctx); err != nil {
		return nil, err
	}
	network, err := e.jobNetwork(ctx)
	if err != nil {
		return nil, err
	}
	if e.options.Pull == PullAlways {
		if err := e.pull(ctx, id, image); err != nil {
			return nil, err
		}
	}
	want := client.ContainerCreateOptions{Name: id, Config: s.config(image), HostConfig: e.options.hostConfig(limits, network)}
	err = e.createOnce(ctx, want)
	if isMissing(err) {
		if e.options.Pull != PullMissing {
			return nil, &executor.StartError{Message: fmt.Sprintf("image %s is not on the machine, and this pool pulls none", reference.FamiliarString(image))}
		}
		if err := e.pull(ctx, id, image); err != nil {
			return nil, err
		}
		err = e.createOnce(ctx, want)
	}
	switch {
	case isConflict(err):
		return nil, fmt.Errorf("job %s: %w", id, errMoved)
	case refusesForGood(err):
		return nil, &executor.StartError{Message: fmt.Sprintf("the engine refuses the job (machine %s, image %s)", orNone(s.job.Machine), reference.FamiliarString(image)), Err: errors.New(says(err))}
	case err != nil:
		return nil, fmt.Errorf("job %s: %w", id, err)
	}
	found, err := e.find(ctx, id)
	if err == nil && found == nil {
		err = fmt.Errorf("job %s: %w", id, errMoved)
	}
	return found, err
}

func orNone(text string) string {
	if text == "" {
		return "not named"
	}
	return text
}

func (e *Executor) createOnce(ctx context.Context, want client.ContainerCreateOptions) error {
	ctx, cancel := e.call(ctx)
	defer cancel()
	_, err := e.engine.ContainerCreate(ctx, want)
	return err
}

func (s *start) config(image reference.Named) *container.Config {
	e := s.executor
	labels := e.labels()
	labels[labelHash], labels[labelJob] = s.job.Hash, s.job.ID
	// An operator's "docker stop" leaves the supervisor the time to end the job.
	patience := int((s.job.Grace + 5*time.Second).Seconds())
	return &container.Config{
		Image: reference.FamiliarString(image), User: e.options.User, Labels: labels, WorkingDir: "/",
		Entrypoint: []string{shimPath}, Cmd: e.options.ShimArgs,
		StopSignal: "SIGTERM", StopTimeout: &patience,
		// Nothing but the job runs in its container.
		Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
	}
}

// fetch opens the source, once, and looks whether it may be unpacked.
func (s *start) fetch(ctx context.Context) error {
	if s.job.Source == nil || s.source != nil {
		return nil
	}
	fetched, err := fetchSource(ctx, s.job, s.executor.options.TempDir)
	if err != nil {
		return err
	}
	s.source = fetched
	s.executor.step("fetched")
	return nil
}

// begin brings a created container to its start.
func (s *start) begin(ctx context.Context, c *container.InspectResponse, fresh bool) error {
	e, id := s.executor, s.job.ID
	ready := false
	if !fresh {
		// Whoever died on the way may have got that far.
		var err error
		if _, ready, err = e.stat(ctx, id, readyPath); err != nil {
			return err
		}
	}
	if !ready {
		if err := s.fetch(ctx); err != nil {
			return err
		}
		if err := s.fill(ctx, c); err != nil {
			return err
		}
		e.step("filled")
	}
	limited, cancel := e.call(ctx)
	defer cancel()
	_, err := e.engine.ContainerStart(limited, id, client.ContainerStartOptions{})
	if err != nil {
		return e.startError(ctx, s.job, err)
	}
	e.log.Info("container started", zap.String("job", id), zap.String("container", c.ID))
	e.step("started")
	return nil
}

// startError says what to make of a container that the engine could not start. One
// that it refuses to start is removed: the next try makes another, and until then
// there is nothing that takes a slot.
func (e *Executor) startError(ctx context.Context, job executor.Spec, err error) error {
	if !answered(err) {
		return fmt.Errorf("start of job %s: %w", job.ID, err)
	}
	text := says(err)
	if strings.Contains(text, "network") && strings.Contains(text, "not found") {
		e.network.forget()
	}
	discarded := e.discard(ctx, job.ID)
	if errors.Is(discarded, executor.ErrRunning) {
		return fmt.Errorf("job %s: %w", job.ID, errMoved)
	}
	for _, sign := range []string{"could not select device driver", "nvidia-container-cli", "unresolvable CDI devices"} {
		if strings.Contains(text, sign) {
			return errors.Join(&executor.StartError{
				Message: fmt.Sprintf("machine %s has a GPU, and the engine has none to give: its machine needs the NVIDIA driver and Container Toolkit", orNone(job.Machine)),
				Err:     errors.New(text),
			}, discarded)
		}
	}
	return errors.Join(fmt.Errorf("start of job %s: %w", job.ID, err), discarded)
}

// refusesForGood says that the engine does not take what was asked for: a number of
// CPUs that it does not have, for example.
func refusesForGood(err error) bool {
	return err != nil && answered(err) && isInvalid(err)
}

// discard removes a container that was never started. Under another name nobody can
// start it while we look: what turns out to be running, or to have run, gets its name
// back.
func (e *Executor) discard(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.options.Call)
	defer cancel()
	aside := id + asideInfix + strings.ToLower(rand.Text())
	_, err := e.engine.ContainerRename(ctx, id, client.ContainerRenameOptions{NewName: aside})
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("job %s: unstarted container: %w", id, err)
	}
	c, err := e.find(ctx, aside)
	if err != nil || c == nil {
		return err
	}
	if c.State.Status != container.StateCreated {
		if _, err := e.engine.ContainerRename(ctx, c.ID, client.ContainerRenameOptions{NewName: id}); err != nil {
			return fmt.Errorf("job %s: name of its container: %w", id, err)
		}
		return fmt.Errorf("job %s: %w", id, executor.ErrRunning)
	}
	if _, err := e.engine.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{RemoveVolumes: true}); err != nil && !isMissing(err) {
		return fmt.Errorf("job %s: unstarted container: %w", id, err)
	}
	e.memory.forget(c.ID)
	return nil
}

// asideInfix is in the names of containers that are just being removed. No job's id
// has a dot.
const asideInfix = ".aside-"
