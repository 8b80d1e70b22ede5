package demo

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// hello is examples/hello. The copy is here because a module embeds only files of
// its own; a test holds it against the original.
//
//go:generate sh -c "rm -rf hello && cp -R ../../../../examples/hello hello"
//go:embed all:hello
var hello embed.FS

// repository is a bare git repository with one pull request to be opened.
type repository struct {
	dir string
	// base and head are branches; the pull request asks to merge head into base.
	base, baseSHA string
	head, headSHA string
}

const headBranch = "litci-demo"

// exampleRepository commits the example in a fresh repository: all but the last
// change on main, the change on the pull request's branch.
func exampleRepository(ctx context.Context, dir string) (repository, error) {
	work := filepath.Join(dir, "work")
	files, err := fs.Sub(hello, "hello")
	if err != nil {
		return repository{}, fmt.Errorf("example: %w", err)
	}
	if err := os.CopyFS(work, files); err != nil {
		return repository{}, fmt.Errorf("example: %w", err)
	}
	// Embedded files have lost their modes.
	if err := os.Chmod(filepath.Join(work, "test/greet_test.sh"), 0o755); err != nil {
		return repository{}, fmt.Errorf("example: %w", err)
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"},
		{"add", "--all"},
		{"commit", "--quiet", "--message=greet in three languages"},
	} {
		if _, err := git(ctx, work, args...); err != nil {
			return repository{}, err
		}
	}
	readme := filepath.Join(work, "README.md")
	text, err := os.ReadFile(readme)
	if err != nil {
		return repository{}, fmt.Errorf("example: %w", err)
	}
	if err := os.WriteFile(readme, append(text, "\nGreets in English, German and Czech.\n"...), 0o600); err != nil {
		return repository{}, fmt.Errorf("example: %w", err)
	}
	for _, args := range [][]string{
		{"checkout", "--quiet", "-b", headBranch},
		{"commit", "--quiet", "--all", "--message=say which languages"},
	} {
		if _, err := git(ctx, work, args...); err != nil {
			return repository{}, err
		}
	}
	return resolve(ctx, repository{dir: work, base: "main", head: headBranch})
}

// localRepository is a copy of the user's repository, whose newest commit becomes
// the pull request and whose parent the base. The user's own is only read;
// changes that are not committed are not in it.
func localRepository(ctx context.Context, source, dir string) (repository, error) {
	source, err := filepath.Abs(source)
	if err != nil {
		return repository{}, fmt.Errorf("--repo: %w", err)
	}
	if _, err := git(ctx, source, "rev-parse", "--verify", "--quiet", "HEAD^{commit}"); err != nil {
		return repository{}, InputError{fmt.Errorf("--repo %s is not a git repository with a commit: %w", source, err)}
	}
	bare := filepath.Join(dir, "repository.git")
	if _, err := git(ctx, dir, "clone", "--quiet", "--mirror", "--", source, bare); err != nil {
		return repository{}, err
	}
	head, err := git(ctx, source, "rev-parse", "HEAD")
	if err != nil {
		return repository{}, err
	}
	base := head
	if parent, err := git(ctx, source, "rev-parse", "--verify", "--quiet", "HEAD^1"); err == nil {
		base = parent
	}
	r := repository{dir: bare, base: defaultBranch(ctx, source), head: headBranch}
	for branch, commit := range map[string]string{r.base: base, r.head: head} {
		if _, err := git(ctx, bare, "update-ref", "refs/heads/"+branch, commit); err != nil {
			return repository{}, err
		}
	}
	if _, err := git(ctx, bare, "symbolic-ref", "HEAD", "refs/heads/"+r.base); err != nil {
		return repository{}, err
	}
	return resolve(ctx, r)
}

// defaultBranch is what the repository's remote calls its default, else main or
// master if there is one, else the branch that is checked out.
func defaultBranch(ctx context.Context, dir string) string {
	if name, err := git(ctx, dir, "symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD"); err == nil {
		return strings.TrimPrefix(name, "origin/")
	}
	for _, name := range []string{"main", "master"} {
		if _, err := git(ctx, dir, "rev-parse", "--verify", "--quiet", "refs/heads/"+name); err == nil {
			return name
		}
	}
	if name, err := git(ctx, dir, "symbolic-ref", "--quiet", "--short", "HEAD"); err == nil {
		return name
	}
	return "main"
}

func resolve(ctx context.Context, r repository) (repository, error) {
	var err error
	if r.baseSHA, err = git(ctx, r.dir, "rev-parse", "refs/heads/"+r.base); err != nil {
		return r, err
	}
	r.headSHA, err = git(ctx, r.dir, "rev-parse", "refs/heads/"+r.head)
	return r, err
}

// git runs a git command in a folder and returns its trimmed output.
func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir, "-c", "safe.directory=*"}, args...)...)
	// The demo must not depend on who uses the machine.
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=litci demo", "GIT_AUTHOR_EMAIL=demo@litci.example",
		"GIT_COMMITTER_NAME=litci demo", "GIT_COMMITTER_EMAIL=demo@litci.example")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "", errors.New("git is not installed; litci needs it")
	}
	if err != nil {
		return "", fmt.Errorf("git %s: %w %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(string(out)), nil
}
