package chaos

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// repository is a bare git repository for each installation. Each holds the commits
// of all events from the start; branches move to them as the events happen.
type repository struct {
	dirs []string
	// commits are the events' by number.
	commits []string
}

// newRepository makes the commits of the events, and n repositories below dir. Jobs
// leave their marks in a folder.
func newRepository(ctx context.Context, dir, marks string, n int, events []Event) (*repository, error) {
	r := &repository{}
	for i := range n {
		r.dirs = append(r.dirs, filepath.Join(dir, fmt.Sprintf("%d.git", i)))
	}
	first := r.dirs[0]
	if err := os.MkdirAll(first, 0o700); err != nil {
		return nil, fmt.Errorf("repository: %w", err)
	}
	if _, err := git(ctx, first, nil, "init", "--quiet", "--bare", "--initial-branch="+mainBranch); err != nil {
		return nil, err
	}
	list := filepath.Join(dir, "commits")
	if _, err := git(ctx, first, stream(marks, events), "fast-import", "--quiet", "--export-marks="+list); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(list)
	if err != nil {
		return nil, fmt.Errorf("repository: %w", err)
	}
	r.commits = make([]string, len(events))
	for line := range strings.Lines(string(text)) {
		var mark int
		var sha string
		if _, err := fmt.Sscanf(line, ":%d %s", &mark, &sha); err != nil {
			return nil, fmt.Errorf("repository: commit %q: %w", line, err)
		}
		if mark >= firstMark {
			r.commits[mark-firstMark] = sha
		}
	}
	for _, copied := range r.dirs[1:] {
		if _, err := git(ctx, first, nil, "clone", "--quiet", "--mirror", first, copied); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// The marks by which the stream names commits: the repository's first, and from
// firstMark on the events'.
const (
	rootMark  = 1
	firstMark = 2
)

// stream is all commits in the language of git fast-import.
func stream(marks string, events []Event) []byte {
	var b bytes.Buffer
	commit := func(ref string, mark, parent int, message, path, text string) {
		fmt.Fprintf(&b, "commit %s\nmark :%d\ncommitter litci chaos <chaos@litci.example> %d +0000\ndata %d\n%s\n", ref, mark, 1_700_000_000+mark, len(message), message)
		if parent > 0 {
			fmt.Fprintf(&b, "from :%d\n", parent)
		}
		fmt.Fprintf(&b, "M 100644 inline %s\ndata %d\n%s\n", path, len(text), text)
	}
	commit("refs/heads/"+mainBranch, rootMark, 0, "begin", "README.md", "Nothing but chaos.\n")
	for _, e := range events {
		parent := rootMark
		if e.Parent >= 0 {
			parent = firstMark + e.Parent
		}
		// A ref of its own keeps each commit; branches follow as events happen.
		commit(fmt.Sprintf("refs/chaos/%d", e.Number), firstMark+e.Number, parent, fmt.Sprintf("event %d: %s", e.Number, e.Kind),
			".lightning/workflows/"+workflowFile, workflowText(marks, e.Jobs))
	}
	return b.Bytes()
}

// move sets a branch to an event's commit.
func (r *repository) move(ctx context.Context, e Event) error {
	_, err := git(ctx, r.dirs[e.Home], nil, "update-ref", "refs/heads/"+e.Branch, r.commits[e.Number])
	return err
}

func git(ctx context.Context, dir string, input []byte, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"--git-dir=" + dir, "-c", "safe.directory=*"}, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0"}
	cmd.Stdin = bytes.NewReader(input)
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
