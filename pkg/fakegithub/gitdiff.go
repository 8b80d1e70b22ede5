package fakegithub

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// emptyTree is the id of the tree without entries, which git always knows.
const emptyTree = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"

// change is one file that differs between two commits.
type change struct {
	path, previous       string // previous: the name before a rename
	status               string // GitHub's word
	sha                  string // the blob after; before, when it was removed
	additions, deletions int
	patch                string // "" for binary and very large files
}

// maxPatch bounds the patch of one file, in bytes; GitHub leaves larger out.
const maxPatch = 100_000

// diff lists what changed from one commit or tree to another, with renames.
func (g gitDir) diff(ctx context.Context, from, to string) ([]change, error) {
	base := []string{"diff-tree", "-r", "-M", "--no-ext-diff", "--no-textconv", "--no-commit-id", "--full-index"}
	with := func(more ...string) ([]byte, error) {
		return g.run(ctx, "", append(append(append([]string{}, base...), more...), from, to)...)
	}
	raw, err := with("--raw", "-z", "--abbrev=40")
	if err != nil {
		return nil, err
	}
	changes, err := parseRaw(string(raw))
	if err != nil || len(changes) == 0 {
		return changes, err
	}
	counts, err := with("--numstat", "-z")
	if err != nil {
		return nil, err
	}
	if err := addCounts(changes, string(counts)); err != nil {
		return nil, err
	}
	patches, err := with("-p")
	if err != nil {
		return nil, err
	}
	addPatches(changes, string(patches))
	return changes, nil
}

// parseRaw reads git's --raw -z: a head with modes, ids and a status letter,
// then one path, or two for renames and copies.
func parseRaw(raw string) ([]change, error) {
	words := map[byte]string{'A': "added", 'M': "modified", 'D': "removed", 'R': "renamed", 'C': "copied", 'T': "changed"}
	fields := strings.Split(strings.TrimSuffix(raw, "\x00"), "\x00")
	var changes []change
	for i := 0; i+1 < len(fields); {
		head := strings.Fields(strings.TrimPrefix(fields[i], ":"))
		if len(head) != 5 {
			return nil, fmt.Errorf("git diff: unreadable record %q", fields[i])
		}
		letter := head[4][0]
		c := change{status: words[letter], sha: head[3], path: fields[i+1]}
		i += 2
		if letter == 'D' {
			c.sha = head[2]
		}
		if letter == 'R' || letter == 'C' {
			if i >= len(fields) {
				return nil, errors.New("git diff: a rename without its new name")
			}
			c.previous, c.path = c.path, fields[i]
			i++
		}
		changes = append(changes, c)
	}
	return changes, nil
}

// addCounts reads git's --numstat -z, whose records stand in the order of
// --raw: "added TAB deleted TAB path", or for renames an empty path and two more fields.
func addCounts(changes []change, numstat string) error {
	fields := strings.Split(strings.TrimSuffix(numstat, "\x00"), "\x00")
	for i, n := 0, 0; i < len(fields) && n < len(changes); n++ {
		parts := strings.SplitN(fields[i], "\t", 3)
		if len(parts) != 3 {
			return fmt.Errorf("git diff: unreadable count %q", fields[i])
		}
		i++
		if parts[2] == "" {
			i += 2
		}
		if parts[0] == "-" {
			continue // binary
		}
		var err error
		if changes[n].additions, err = strconv.Atoi(parts[0]); err != nil {
			return fmt.Errorf("additions to %s: %w", changes[n].path, err)
		}
		if changes[n].deletions, err = strconv.Atoi(parts[1]); err != nil {
			return fmt.Errorf("deletions from %s: %w", changes[n].path, err)
		}
	}
	return nil
}

// addPatches cuts git's -p, whose files stand in the order of --raw, and
// keeps the hunks. A change of type is two patches under one record; then no
// patch is kept for any.
func addPatches(changes []change, text string) {
	parts := strings.Split("\n"+text, "\ndiff --git ")[1:]
	if len(parts) != len(changes) {
		return
	}
	for i, part := range parts {
		if at := strings.Index(part, "\n@@ "); at >= 0 && len(part) <= maxPatch {
			changes[i].patch = strings.TrimSuffix(part[at+1:], "\n")
		}
	}
}

// exitCode returns the status a command ended with, -1 when it is no such error.
func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}
