package mesh

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/docker"
	"github.com/litci/litci/pkg/executor/open"
)

// Private makes the settings those of a mesh that ends with its command, whose
// executor nobody else uses: RemoveJobs removes all that it has. It fails unless the
// executor would take jobs. What must be built for it comes into dir.
func Private(ctx context.Context, cfg *config.Config, dir string) error {
	if cfg.Executor != docker.Kind {
		return nil
	}
	cfg.Docker.Instance = "own-" + strings.ToLower(rand.Text()[:12])
	e, err := open.Executor(cfg, nil, zap.NewNop())
	if errors.Is(err, docker.ErrDynamic) && cfg.Docker.Shim == "" && buildShim(ctx, dir) == nil {
		cfg.Docker.Shim = filepath.Join(dir, docker.ShimName)
		e, err = open.Executor(cfg, nil, zap.NewNop())
	}
	if err != nil {
		return err
	}
	if c, ok := e.(executor.Checker); ok {
		err = c.Check(ctx)
	}
	if c, ok := e.(io.Closer); ok {
		err = errors.Join(err, c.Close())
	}
	return err
}

// buildShim makes the program for the containers, as "go run ./cmd/litci" needs it
// where there is a C compiler. It works in litci's own working tree alone.
func buildShim(ctx context.Context, dir string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(dir, docker.ShimName),
		"github.com/litci/litci/pkg/executor/docker/cmd/"+docker.ShimName)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", docker.ShimName, err, out)
	}
	return nil
}
