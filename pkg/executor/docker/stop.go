package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/local"
)

// overdue is how long after its grace a container is killed that did not end by
// itself: its supervisor must hang.
const overdue = time.Minute

// Stop leaves a request in the container and wakes its supervisor. The request holds
// even when the container was not started yet: the supervisor looks for it before it
// begins the script. A second request can only shorten the grace of the first.
func (e *Executor) Stop(ctx context.Context, h executor.Handle, grace time.Duration) error {
	if err := e.owns(ctx, h); err != nil {
		return err
	}
	grace = max(grace, 0)
	c, err := e.find(ctx, h.ID)
	if err != nil {
		return err
	}
	if c == nil || !e.isOurs(c.Config.Labels) {
		return nil
	}
	switch c.State.Status {
	case container.StateExited, container.StateDead, container.StateRemoving:
		return nil
	}
	asked, before, err := e.stat(ctx, c.ID, stopPath)
	if err != nil {
		return err
	}
	running := c.State.Status != container.StateCreated
	if running && before && time.Since(asked.Mtime) > grace+overdue {
		return e.signal(ctx, c.ID, "SIGKILL")
	}
	if err := e.askToStop(ctx, c.ID, grace); err != nil {
		if again, findErr := e.find(ctx, c.ID); findErr == nil && (again == nil || again.State.Status == container.StateExited) {
			return nil // it ended meanwhile
		}
		return fmt.Errorf("job %s: request to stop: %w", h.ID, err)
	}
	// It may have been started since we looked.
	return e.signal(ctx, c.ID, "SIGUSR1")
}

// askToStop writes the request. The engine does not write files in one step, but it
// does so with links.
func (e *Executor) askToStop(ctx context.Context, id string, grace time.Duration) error {
	now := time.Now()
	request, err := local.StopRequest(grace, now)
	if err != nil {
		return err
	}
	top, name := strings.TrimPrefix(root, "/"), "stop-"+strings.ToLower(rand.Text())
	var b bytes.Buffer
	archive := tar.NewWriter(&b)
	err = archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path.Join(top, name), Size: int64(len(request)), Mode: 0o644, ModTime: now})
	if err == nil {
		_, err = archive.Write(request)
	}
	if err == nil {
		err = archive.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: path.Join(top, path.Base(stopPath)), Linkname: name, Mode: 0o777, ModTime: now})
	}
	if err = errors.Join(err, archive.Close()); err != nil {
		return err
	}
	ctx, cancel := e.call(ctx)
	defer cancel()
	_, err = e.engine.CopyToContainer(ctx, id, client.CopyToContainerOptions{DestinationPath: "/", Content: &b})
	return err
}

// signal reaches the supervisor; a container that does not run needs none.
func (e *Executor) signal(ctx context.Context, id, signal string) error {
	ctx, cancel := e.call(ctx)
	defer cancel()
	_, err := e.engine.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: signal})
	if isConflict(err) || isMissing(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("signal for container %s: %w", id, err)
	}
	return nil
}
