package localrun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// tree is a working tree: the files that a commit of it would hold now.
type tree struct {
	dir string
	// git says that the folder is in a git repository, which tells what is ignored.
	git bool
	// files are relative to dir, with slashes, in order. Some may be gone by now.
	files   []string
	notices []string
	// unread are the workflow files that a problem says are not read; their absence
	// stops nothing.
	unread []string
}

// noSHA stands for a commit where there is none.
const noSHA = "0000000000000000000000000000000000000000"

// readTree lists the files of a folder: in a git repository those that are tracked
// or could be added, elsewhere all but .git.
func readTree(ctx context.Context, dir string) (tree, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return tree{}, &UseError{fmt.Errorf("folder %s: %w", dir, errors.Unwrap(err))}
	}
	if !info.IsDir() {
		return tree{}, &UseError{fmt.Errorf("%s is not a folder", dir)}
	}
	if dir, err = filepath.Abs(dir); err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return tree{}, fmt.Errorf("folder: %w", err)
	}
	t := tree{dir: dir}
	// Tracked files are listed by what the index knows, others by what is on the disk.
	list, err := git(ctx, dir, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if errors.Is(err, errNoRepository) {
		return t, t.walk()
	}
	if err != nil {
		return t, err
	}
	for name := range strings.SplitSeq(list, "\x00") {
		if name != "" {
			t.files = append(t.files, name)
		}
	}
	if len(t.files) == 0 {
		// The folder itself may be ignored by a repository around it.
		return t, t.walk()
	}
	t.git = true
	slices.Sort(t.files)
	t.files = slices.Compact(t.files) // a conflict lists a file three times
	t.files = slices.DeleteFunc(t.files, t.nested)
	return t, nil
}

// nested tells whether a name that git lists is a repository of its own, which a
// commit's archive does not hold, and says so.
func (t *tree) nested(name string) bool {
	info, err := os.Lstat(t.at(name))
	if err != nil || !info.IsDir() {
		return false
	}
	t.notices = append(t.notices, strings.TrimSuffix(name, "/")+" is a submodule or a repository of its own, and its files are left out, as in a commit's archive.")
	return true
}

// walk lists all files but those of git.
func (t *tree) walk() error {
	err := filepath.WalkDir(t.dir, func(at string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // gone meanwhile
		case err != nil:
			return err
		case entry.Name() == ".git" && at != t.dir && entry.IsDir():
			return filepath.SkipDir
		case entry.Name() == ".git", entry.IsDir():
			return nil
		}
		name, err := filepath.Rel(t.dir, at)
		if err != nil {
			return err
		}
		t.files = append(t.files, filepath.ToSlash(name))
		return nil
	})
	if err != nil {
		return fmt.Errorf("files of %s: %w", t.dir, err)
	}
	slices.Sort(t.files)
	return nil
}

func (t *tree) at(name string) string { return filepath.Join(t.dir, filepath.FromSlash(name)) }

// place is what git knows of the tree's place in a history; all of it may be
// missing.
type place struct {
	// sha is the commit that is checked out, branch the branch.
	sha, branch string
	// base is the branch that a pull request would go to, owner and name the repository
	// that it would go to.
	base, owner, name string
	user              string
}

// place looks the tree's place up.
func (t *tree) place(ctx context.Context) place {
	p := place{sha: noSHA, owner: "local", name: repositoryName(filepath.Base(t.dir))}
	if !t.git {
		return p
	}
	p.sha = cmp.Or(line(ctx, t.dir, "rev-parse", "--verify", "--quiet", "HEAD^{commit}"), noSHA)
	p.branch = line(ctx, t.dir, "symbolic-ref", "--quiet", "--short", "HEAD")
	p.user = line(ctx, t.dir, "config", "user.name")
	p.base = strings.TrimPrefix(line(ctx, t.dir, "symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD"), "origin/")
	for _, name := range []string{"main", "master"} {
		if p.base == "" && t.commit(ctx, name) != "" {
			p.base = name
		}
	}
	p.base = cmp.Or(p.base, p.branch, "main")
	if owner, name, ok := ownerOf(line(ctx, t.dir, "remote", "get-url", "origin")); ok {
		p.owner, p.name = owner, name
	}
	return p
}

// commit is the commit that a branch stands at, on the server if that is known.
func (t *tree) commit(ctx context.Context, branch string) string {
	for _, ref := range []string{"refs/remotes/origin/", "refs/heads/"} {
		if sha := line(ctx, t.dir, "rev-parse", "--verify", "--quiet", ref+branch+"^{commit}"); sha != "" {
			return sha
		}
	}
	return ""
}

// changed lists the files that differ from where the tree's history left a branch;
// known is false where that cannot be told.
func (t *tree) changed(ctx context.Context, branch string) (files []string, known bool, err error) {
	if !t.git || len(t.files) == 0 {
		return nil, false, nil
	}
	from := t.commit(ctx, branch)
	if from == "" {
		return nil, false, nil
	}
	if base := line(ctx, t.dir, "merge-base", from, "HEAD"); base != "" {
		from = base
	}
	for _, args := range [][]string{
		{"diff", "-z", "--name-only", "--no-renames", "--no-ext-diff", "--relative", from},
		{"ls-files", "-z", "--others", "--exclude-standard"},
	} {
		out, err := git(ctx, t.dir, args...)
		if err != nil {
			return nil, false, fmt.Errorf("changed files: %w", err)
		}
		for name := range strings.SplitSeq(out, "\x00") {
			if name != "" {
				files = append(files, name)
			}
		}
	}
	return files, true, nil
}

// ownerOf reads owner and name from the address of a repository: of
// git@github.com:octo/hello.git it is octo and hello.
func ownerOf(address string) (owner, name string, ok bool) {
	address = strings.TrimSuffix(strings.TrimRight(address, "/"), ".git")
	if !strings.Contains(address, ":") {
		return "", "", false // a folder
	}
	dir, name := path.Split(strings.ReplaceAll(address, ":", "/"))
	owner = path.Base(dir)
	return owner, name, owner != "." && owner != "/" && name != ""
}

// repositoryName is a folder's name as the name of a repository.
func repositoryName(base string) string {
	name := strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r == '.' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '-'
	}, base)
	return cmp.Or(strings.Trim(name, "."), "repository")
}
