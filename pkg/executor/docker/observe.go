package docker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/local"
)

// Observe asks the engine, and the supervisor's state file, in this order: a file
// that says how the job ended counts more than the container's exit code, which a
// container that was started again overwrites.
func (e *Executor) Observe(ctx context.Context, h executor.Handle) (executor.State, error) {
	if err := e.owns(ctx, h); err != nil {
		return executor.State{}, err
	}
	c, err := e.find(ctx, h.ID)
	if err != nil {
		return executor.State{}, err
	}
	if c == nil || !e.isOurs(c.Config.Labels) {
		return e.unseen(ctx, h.ID)
	}
	return e.state(ctx, c)
}

// unseen is the state of a job without a container.
func (e *Executor) unseen(ctx context.Context, id string) (executor.State, error) {
	left, err := e.tombstone(ctx, id)
	switch {
	case err != nil:
		return executor.State{}, err
	case left != nil:
		return left.state, nil
	case e.starting.Held(id):
		return executor.State{Phase: executor.Pending, Message: e.pulls.of(id)}, nil
	}
	return executor.State{Phase: executor.Absent}, nil
}

func (e *Executor) state(ctx context.Context, c *container.InspectResponse) (executor.State, error) {
	known := e.memory.of(c.ID)
	if known.ended != nil {
		return *known.ended, nil
	}
	switch c.State.Status {
	case container.StateCreated:
		return executor.State{Phase: executor.Pending, Message: c.State.Error}, nil
	case container.StateExited, container.StateDead:
		return e.endState(ctx, c)
	case container.StateRemoving:
		return e.unseen(ctx, strings.TrimPrefix(c.Name, "/"))
	}
	if known.begun == nil {
		state, err := e.recorded(ctx, c)
		switch {
		case err != nil:
			return executor.State{}, err
		case state == nil:
			return executor.State{Phase: executor.Pending, Message: "the container begins"}, nil
		case state.Phase == executor.Ended && parseTime(c.State.StartedAt).After(state.FinishedAt):
			// Somebody started the container again; nothing runs in it.
			state.Image = e.digest(ctx, c.Image, c.Config.Image)
			return e.conclude(c, *state), nil
		}
		// Until its container is gone, an ended job may still turn out to have run out of
		// memory.
		begun := executor.State{Phase: executor.Running, StartedAt: state.StartedAt}
		if state.Phase == executor.Running {
			e.memory.change(c.ID, func(r *remembered) { r.begun = &begun })
		}
		known.begun = &begun
	}
	state := *known.begun
	state.Image = e.digest(ctx, c.Image, c.Config.Image)
	size, err := e.logSize(ctx, c.ID)
	if err != nil {
		return executor.State{}, err
	}
	state.LogSize = size
	return state, nil
}

// maxState bounds a state file.
const maxState = 64 << 10

// recorded is what the supervisor wrote; nil means nothing that makes sense.
func (e *Executor) recorded(ctx context.Context, c *container.InspectResponse) (*executor.State, error) {
	data, found, err := e.readFile(ctx, c.ID, path.Join(jobPath, local.StateFile), maxState)
	if err != nil || !found {
		return nil, err
	}
	id, state, err := local.ParseState(data)
	if err != nil || id != strings.TrimPrefix(c.Name, "/") {
		return nil, nil
	}
	return &state, nil
}

// endState settles how the job of an ended container ended.
func (e *Executor) endState(ctx context.Context, c *container.InspectResponse) (executor.State, error) {
	recorded, err := e.recorded(ctx, c)
	if err != nil {
		return executor.State{}, err
	}
	if recorded == nil {
		// A container that is removed just now has no files either.
		again, err := e.find(ctx, c.ID)
		if err != nil {
			return executor.State{}, err
		}
		if again == nil {
			return e.unseen(ctx, strings.TrimPrefix(c.Name, "/"))
		}
		recorded = &executor.State{}
	}
	state := *recorded
	if state.Phase != executor.Ended {
		if state, err = e.lostState(ctx, c, state); err != nil {
			return executor.State{}, err
		}
	}
	state.Image = e.digest(ctx, c.Image, c.Config.Image)
	return e.conclude(c, state), nil
}

// conclude adds what only the engine knows, and remembers the result.
func (e *Executor) conclude(c *container.InspectResponse, state executor.State) executor.State {
	// The mark is there too when a child was killed that the script could do without.
	if c.State.OOMKilled && state.Reason == executor.ReasonExit && state.ExitCode != nil && *state.ExitCode != 0 {
		state.Reason, state.Message = executor.ReasonMemory, memoryMessage(c)
	}
	e.memory.change(c.ID, func(r *remembered) { r.ended = &state })
	return state
}

func memoryMessage(c *container.InspectResponse) string {
	if c.HostConfig == nil || c.HostConfig.Memory == 0 {
		return "the machine had no memory left"
	}
	return fmt.Sprintf("the job may use %d MiB", c.HostConfig.Memory>>20)
}

// lostState is the end of a job whose supervisor did not write one.
func (e *Executor) lostState(ctx context.Context, c *container.InspectResponse, state executor.State) (executor.State, error) {
	state.Phase, state.ExitCode = executor.Ended, nil
	state.FinishedAt = parseTime(c.State.FinishedAt)
	if state.FinishedAt.IsZero() {
		state.FinishedAt = time.Now().UTC()
	}
	segments, err := e.segments(ctx, c.ID)
	if err != nil {
		return state, err
	}
	if len(segments) > 0 {
		state.LogSize = segments[len(segments)-1].end()
	}
	_, stopped, err := e.stat(ctx, c.ID, stopPath)
	if err != nil {
		return state, err
	}
	switch {
	case c.State.OOMKilled:
		state.Reason, state.Message = executor.ReasonMemory, memoryMessage(c)
	case stopped:
		state.Reason = executor.ReasonStopped
	case state.StartedAt.IsZero():
		state.Reason = executor.ReasonInfrastructure
		state.Message = fmt.Sprintf("the job's supervisor did not begin it: exit code %d: %s", c.State.ExitCode, e.complaint(ctx, c.ID))
	default:
		state.Reason = executor.ReasonLost
		state.Message = fmt.Sprintf("the job's container was ended from outside: exit code %d", c.State.ExitCode)
	}
	return state, nil
}

// maxComplaint bounds what is quoted of a supervisor's words.
const maxComplaint = 1000

// complaint is what the supervisor said in the container's own log.
func (e *Executor) complaint(ctx context.Context, id string) string {
	ctx, cancel := e.call(ctx)
	defer cancel()
	log, err := e.engine.ContainerLogs(ctx, id, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Tail: "20"})
	if err != nil {
		return err.Error()
	}
	defer log.Close()
	var text bytes.Buffer
	// What arrives before an error is worth as much.
	_, _ = stdcopy.StdCopy(&text, &text, io.LimitReader(log, 16*maxComplaint))
	said := strings.TrimSpace(strings.ToValidUTF8(text.String(), "?"))
	if said == "" {
		return "it said nothing"
	}
	return said[max(0, len(said)-maxComplaint):]
}

// parseTime reads the engine's times; the year 1 is none.
func parseTime(text string) time.Time {
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || at.Year() < 1970 {
		return time.Time{}
	}
	return at.UTC()
}
