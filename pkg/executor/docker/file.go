package docker

import (
	"archive/tar"
	"context"
	"fmt"
	"io"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// readFile reads a regular file of a container, running or not; false means that it
// is not there, or is something else. What a job could have put there is not
// trusted, least of all its size.
func (e *Executor) readFile(ctx context.Context, container, path string, limit int64) (data []byte, found bool, err error) {
	ctx, cancel := e.call(ctx)
	defer cancel()
	answer, err := e.engine.CopyFromContainer(ctx, container, client.CopyFromContainerOptions{SourcePath: path})
	if isMissing(err) && !noContainer(err) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("%s of container %s: %w", path, container, err)
	}
	defer answer.Content.Close()
	archive := tar.NewReader(answer.Content)
	header, err := archive.Next()
	if err != nil {
		return nil, false, fmt.Errorf("%s of container %s: %w", path, container, err)
	}
	if header.Typeflag != tar.TypeReg || header.Size > limit {
		return nil, false, nil
	}
	if data, err = io.ReadAll(archive); err != nil {
		return nil, false, fmt.Errorf("%s of container %s: %w", path, container, err)
	}
	return data, true, nil
}

// stat looks at a path of a container, which costs far less than reading it.
func (e *Executor) stat(ctx context.Context, id, path string) (stat container.PathStat, found bool, err error) {
	ctx, cancel := e.call(ctx)
	defer cancel()
	answer, err := e.engine.ContainerStatPath(ctx, id, client.ContainerStatPathOptions{Path: path})
	if isMissing(err) {
		return stat, false, nil
	}
	if err != nil {
		return stat, false, fmt.Errorf("%s of container %s: %w", path, id, err)
	}
	return answer.Stat, true, nil
}
