package fakegithub

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// treeEntry is one entry of a git tree.
type treeEntry struct {
	mode, kind, sha, path string
	size                  int64 // bytes; blobs only
}

// tree lists a tree, with all below it when recursive. With paths it lists
// only those entries.
func (g gitDir) tree(ctx context.Context, sha string, recursive bool, paths ...string) ([]treeEntry, error) {
	args := []string{"ls-tree", "-z", "-l", "--full-tree"}
	if recursive {
		args = append(args, "-r", "-t")
	}
	args = append(args, sha, "--")
	out, err := g.run(ctx, "", append(args, paths...)...)
	if err != nil {
		return nil, err
	}
	var entries []treeEntry
	for record := range strings.SplitSeq(string(out), "\x00") {
		meta, path, found := strings.Cut(record, "\t")
		fields := strings.Fields(meta)
		if !found || len(fields) != 4 {
			continue
		}
		entry := treeEntry{mode: fields[0], kind: fields[1], sha: fields[2], path: path}
		if fields[3] != "-" {
			if entry.size, err = strconv.ParseInt(fields[3], 10, 64); err != nil {
				return nil, fmt.Errorf("size of %s: %w", path, err)
			}
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

// signature is who wrote or committed, and when.
type signature struct {
	name, email string
	at          time.Time
}

// commit is a git commit.
type commit struct {
	sha, tree         string
	parents           []string
	author, committer signature
	message           string
}

// commitFormat prints a commit as fields parted by unit separators, the
// message last since it may hold anything but NUL.
const commitFormat = "--format=%H%x1f%T%x1f%P%x1f%an%x1f%ae%x1f%aI%x1f%cn%x1f%ce%x1f%cI%x1f%B"

// commits walks the history as rev-list would: the ids to start from, those
// to leave out written ^ID, then limits. All arguments are ids or built here.
func (g gitDir) commits(ctx context.Context, revisions []string, options []string, paths ...string) ([]commit, error) {
	args := append([]string{"log", "-z", commitFormat, "--no-show-signature"}, options...)
	args = append(args, revisions...)
	args = append(args, "--")
	out, err := g.run(ctx, "", append(args, paths...)...)
	if err != nil {
		return nil, err
	}
	var commits []commit
	for record := range strings.SplitSeq(string(out), "\x00") {
		if record == "" {
			continue
		}
		c, err := parseCommit(record)
		if err != nil {
			return nil, err
		}
		commits = append(commits, c)
	}
	return commits, nil
}

func parseCommit(record string) (commit, error) {
	f := strings.SplitN(record, "\x1f", 10)
	if len(f) != 10 {
		return commit{}, errors.New("git log: a record with too few fields")
	}
	authored, err := time.Parse(time.RFC3339, f[5])
	if err != nil {
		return commit{}, fmt.Errorf("author date of %s: %w", f[0], err)
	}
	committed, err := time.Parse(time.RFC3339, f[8])
	if err != nil {
		return commit{}, fmt.Errorf("commit date of %s: %w", f[0], err)
	}
	return commit{
		sha: f[0], tree: f[1], parents: strings.Fields(f[2]),
		author:    signature{f[3], f[4], authored.UTC()},
		committer: signature{f[6], f[7], committed.UTC()},
		message:   strings.TrimRight(f[9], "\n"),
	}, nil
}

// commit returns one commit by its id.
func (g gitDir) commit(ctx context.Context, sha string) (commit, error) {
	found, err := g.commits(ctx, []string{sha}, []string{"-1"})
	if err != nil {
		return commit{}, err
	}
	if len(found) != 1 {
		return commit{}, errNoObject
	}
	return found[0], nil
}

// submoduleURL returns where .gitmodules at a commit says that the submodule at
// path comes from, "" when it does not say.
func (g gitDir) submoduleURL(ctx context.Context, sha, path string) (string, error) {
	if _, err := g.lookup(ctx, sha+":.gitmodules"); errors.Is(err, errNoObject) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	out, err := g.run(ctx, "", "config", "--blob="+sha+":.gitmodules", "-z", "--list")
	if err != nil {
		return "", err
	}
	settings := map[string]string{}
	section := ""
	for record := range strings.SplitSeq(string(out), "\x00") {
		key, value, _ := strings.Cut(record, "\n")
		settings[key] = value
		if name, isPath := strings.CutSuffix(key, ".path"); isPath && value == path {
			section = name
		}
	}
	return settings[section+".url"], nil
}

// mergeBase returns the best common ancestor, "" when there is none.
func (g gitDir) mergeBase(ctx context.Context, a, b string) (string, error) {
	out, err := g.run(ctx, "", "merge-base", a, b)
	if exitCode(err) == 1 {
		return "", nil
	}
	return strings.TrimSpace(string(out)), err
}

// countBetween counts what head has that base has not, and the other way.
func (g gitDir) countBetween(ctx context.Context, base, head string) (ahead, behind int, err error) {
	out, err := g.run(ctx, "", "rev-list", "--left-right", "--count", base+"..."+head)
	if err != nil {
		return 0, 0, err
	}
	if _, err := fmt.Sscan(string(out), &behind, &ahead); err != nil {
		return 0, 0, fmt.Errorf("git rev-list --count: %w", err)
	}
	return ahead, behind, nil
}
