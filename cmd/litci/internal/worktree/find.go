package worktree

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/litci/litci/pkg/workflow"
)

// Unit are workflow files that are checked together, because their workflows may
// need each other: those of one repository, or loose ones.
type Unit struct {
	// Root is the folder that Files' paths are relative to.
	Root string
	Contents
	// Wanted are the paths of files that were asked for; the others are there so that
	// needs can name them. All of them where it is nil.
	Wanted []string
}

// Wants tells whether a file was asked for. The workflow folder is with any of its
// files.
func (u Unit) Wants(path string) bool {
	return u.Wanted == nil || path == workflow.Folder || slices.Contains(u.Wanted, path)
}

// Root is the root of the repository around dir: the nearest folder upwards that
// holds workflow files or .git, or dir itself where there is none.
func Root(dir string) string {
	at, err := filepath.Abs(dir)
	if err != nil {
		return dir
	}
	for {
		for _, name := range []string{workflow.Folder, workflow.SingleFile, ".git"} {
			if exists(filepath.Join(at, filepath.FromSlash(name))) {
				return relative(at)
			}
		}
		if filepath.Dir(at) == at {
			return dir
		}
		at = filepath.Dir(at)
	}
}

// Printable is a file's name for a terminal: quoted as in Go where it holds what a
// terminal would obey, or what would end the line.
func Printable(name string) string {
	if utf8.ValidString(name) && !strings.ContainsFunc(name, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return name
	}
	return strconv.Quote(name)
}

// FromRoot is the path of a file, slashed, as the git repository around it names it.
// Outside of git it is seen from the root of the repository around the current
// folder, and as it is where it lies elsewhere.
func FromRoot(name string) string {
	full, err := filepath.Abs(name)
	if err != nil {
		return name
	}
	root := filepath.Dir(full)
	for !exists(filepath.Join(root, ".git")) {
		if filepath.Dir(root) == root {
			if root, err = filepath.Abs(Root(".")); err != nil {
				return name
			}
			break
		}
		root = filepath.Dir(root)
	}
	if short, err := filepath.Rel(root, full); err == nil && filepath.IsLocal(short) {
		return filepath.ToSlash(short)
	}
	return name
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// relative is a path as seen from the current folder.
func relative(name string) string {
	here, err := os.Getwd()
	if err != nil {
		return name
	}
	if short, err := filepath.Rel(here, name); err == nil {
		return short
	}
	return name
}

// Find reads the workflow files that paths name: a file, a repository, a folder
// with repositories somewhere beneath it, or a folder of workflow files.
func Find(paths []string) ([]Unit, error) {
	var f finder
	for _, p := range paths {
		if _, err := os.Lstat(p); err != nil {
			return nil, fmt.Errorf("%s: no such file or folder", p)
		}
		info, err := os.Stat(p)
		if err == nil && info.IsDir() {
			err = f.folder(filepath.Clean(p))
		} else {
			err = f.file(filepath.Clean(p))
		}
		if err != nil {
			return nil, err
		}
	}
	if !f.loose.empty() {
		f.units = append(f.units, f.loose)
	}
	return f.units, nil
}

type finder struct {
	units []Unit
	loose Unit
}

// folder adds the repository that dir is, or is the workflow folder of, or else
// all that lie beneath it.
func (f *finder) folder(dir string) error {
	if root, ok := rootOf(filepath.Join(dir, "x.yml")); ok {
		return f.repository(root, nil)
	}
	c, err := Files(dir)
	if err != nil {
		return err
	}
	if !c.empty() {
		return f.repository(dir, nil)
	}
	found := false
	err = filepath.WalkDir(dir, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !entry.IsDir() || name == dir:
			return nil
		case strings.HasPrefix(entry.Name(), "."), entry.Name() == "node_modules":
			return fs.SkipDir
		}
		c, err := Files(name)
		if err != nil || c.empty() {
			return err
		}
		found = true
		return f.repository(name, nil)
	})
	if err != nil || found {
		return err
	}
	if c, err = filesOfAny(dir); err != nil {
		return err
	}
	if c.empty() {
		return fmt.Errorf("%s holds no workflow files: neither %s nor %s", dir, workflow.Folder, workflow.SingleFile)
	}
	f.units = append(f.units, Unit{Root: dir, Contents: c})
	return nil
}

// file adds one file, with its neighbours where it lies in a repository.
func (f *finder) file(name string) error {
	if root, ok := rootOf(name); ok {
		return f.repository(root, []string{path.Join(workflow.Folder, filepath.Base(name))})
	}
	slashed := filepath.ToSlash(name)
	if filepath.Base(name) == workflow.SingleFile {
		var c Contents
		c.add(name, slashed)
		f.units = append(f.units, Unit{Contents: c})
	} else if !slices.Contains(f.loose.Paths(), slashed) {
		f.loose.add(name, slashed)
	}
	return nil
}

// repository adds a repository, or more of its files to those that are wanted.
func (f *finder) repository(root string, wanted []string) error {
	for i := range f.units {
		if u := &f.units[i]; u.Root == root {
			if wanted == nil {
				u.Wanted = nil
			} else if u.Wanted != nil {
				u.Wanted = append(u.Wanted, wanted...)
			}
			return nil
		}
	}
	c, err := Files(root)
	if err != nil {
		return err
	}
	f.units = append(f.units, Unit{Root: root, Contents: c, Wanted: wanted})
	return nil
}

// rootOf is the root of the repository whose workflow folder a file lies in.
func rootOf(name string) (string, bool) {
	full, err := filepath.Abs(name)
	if err != nil || filepath.Ext(full) != ".yml" && filepath.Ext(full) != ".yaml" {
		return "", false
	}
	root, ok := strings.CutSuffix(filepath.ToSlash(filepath.Dir(full)), "/"+workflow.Folder)
	if !ok {
		return "", false
	}
	return relative(filepath.FromSlash(root)), true
}
