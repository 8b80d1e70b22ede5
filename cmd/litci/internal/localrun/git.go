package localrun

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// errNoRepository says that a folder is in no git repository.
var errNoRepository = errors.New("not a git repository")

// git runs a git command in a folder and returns what it prints.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	// Whoever owns the folder: nothing of its configuration is run by what we ask.
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir, "-c", "safe.directory=*", "-c", "core.fsmonitor=false"}, args...)...)
	cmd.Env = gitEnviron(os.Environ())
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	switch {
	case err == nil:
		return string(out), nil
	case ctx.Err() != nil:
		return "", ctx.Err()
	case errors.Is(err, exec.ErrNotFound):
		return "", errors.New("git is not installed; litci needs it to tell which files are ignored")
	case strings.Contains(stderr.String(), "not a git repository"):
		return "", errNoRepository
	}
	return "", fmt.Errorf("git %s: %w %s", args[0], err, strings.TrimSpace(stderr.String()))
}

// gitEnviron is the environment without what binds git to another repository, as
// git rev-parse --local-env-vars lists it: hooks that call litci have it set.
func gitEnviron(environ []string) []string {
	local := []string{
		"GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_CONFIG", "GIT_CONFIG_PARAMETERS", "GIT_CONFIG_COUNT", "GIT_OBJECT_DIRECTORY",
		"GIT_DIR", "GIT_WORK_TREE", "GIT_IMPLICIT_WORK_TREE", "GIT_GRAFT_FILE", "GIT_INDEX_FILE", "GIT_NO_REPLACE_OBJECTS",
		"GIT_REPLACE_REF_BASE", "GIT_PREFIX", "GIT_SHALLOW_FILE", "GIT_COMMON_DIR",
	}
	kept := slices.DeleteFunc(slices.Clone(environ), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(local, name)
	})
	return append(kept, "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0")
}

// line is the first line that a git command prints, empty where it fails.
func line(ctx context.Context, dir string, args ...string) string {
	out, err := git(ctx, dir, args...)
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(out, "\n")
	return first
}
