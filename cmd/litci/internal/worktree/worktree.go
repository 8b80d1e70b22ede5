// Package worktree reads the workflow files that stand in a folder of this
// machine, as the planner reads those of a commit: same selection, same parser.
package worktree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/workflow"
)

// Contents are the workflow files of a folder, as far as they can be read.
type Contents struct {
	Files []workflow.File
	// Notices say what is not read and why.
	Notices []string
	// Problems are those of files that are there and are not read.
	Problems []flow.Problem
}

// Paths are those of all workflow files, read or not.
func (c Contents) Paths() []string {
	var paths []string
	for _, f := range c.Files {
		paths = append(paths, f.Path)
	}
	for _, p := range c.Problems {
		if p.File != workflow.Folder {
			paths = append(paths, p.File)
		}
	}
	slices.Sort(paths)
	return paths
}

// Set checks the files.
func (c Contents) Set() workflow.Set {
	set := workflow.Load(c.Files)
	set.Notices = append(slices.Clone(c.Notices), set.Notices...)
	set.Problems = append(slices.Clone(c.Problems), set.Problems...)
	return set
}

func (c Contents) empty() bool { return len(c.Files) == 0 && len(c.Problems) == 0 }

func (c *Contents) problem(file, message string) {
	c.Problems = append(c.Problems, flow.Problem{File: file, Severity: "error", Message: message})
}

// add reads a file, which gets another name in c.
func (c *Contents) add(name, path string) {
	data, message := read(name)
	if message != "" {
		c.problem(path, message)
		return
	}
	c.Files = append(c.Files, workflow.File{Path: path, Data: data})
}

// Load reads and checks the workflow files of the repository whose root is dir.
// A folder without any is an empty Set; faults in files, and files that cannot be
// read, are its Problems. An error means that the folder cannot be read.
func Load(dir string) (workflow.Set, error) {
	c, err := Files(dir)
	if err != nil {
		return workflow.Set{}, err
	}
	return c.Set(), nil
}

// Files reads the workflow files under dir, with paths relative to it. What the
// planner refuses of a commit is a problem here too, in the same words.
func Files(dir string) (Contents, error) {
	var c Contents
	info, err := os.Stat(dir)
	if err != nil {
		return c, fmt.Errorf("folder %s: %w", dir, errors.Unwrap(err))
	}
	if !info.IsDir() {
		return c, fmt.Errorf("%s is not a folder", dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return c, fmt.Errorf("folder %s: %w", dir, errors.Unwrap(err))
	}
	var paths []string
	for _, e := range entries {
		paths = append(paths, e.Name())
	}
	selected, notices := workflow.Select(append(paths, c.folder(dir)...))
	c.Notices = append(c.Notices, notices...)
	for _, p := range selected {
		c.add(filepath.Join(dir, filepath.FromSlash(p)), p)
	}
	return c, nil
}

// folder lists what the workflow folder under dir holds. A link on the way to it is
// not followed: git knows no files behind one.
func (c *Contents) folder(dir string) (paths []string) {
	at := ""
	for step := range strings.SplitSeq(workflow.Folder, "/") {
		at = path.Join(at, step)
		info, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(at)))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			c.problem(workflow.Folder, "the folder cannot be read: "+reason(err))
			return nil
		case info.IsDir():
		case info.Mode()&fs.ModeSymlink != 0 && at == workflow.Folder:
			c.problem(at, "the folder is a symbolic link, which is not followed")
			return nil
		case info.Mode()&fs.ModeSymlink != 0:
			c.Notices = append(c.Notices, at+" is a symbolic link, which is not followed.")
			return nil
		default:
			c.Notices = append(c.Notices, at+" is no folder, so no workflow files are in it.")
			return nil
		}
	}
	entries, err := os.ReadDir(filepath.Join(dir, filepath.FromSlash(at)))
	if err != nil {
		c.problem(at, "the folder cannot be read: "+reason(err))
	}
	for _, e := range entries {
		paths = append(paths, path.Join(at, e.Name()))
	}
	return paths
}

// LoadAny is Load for a folder that people name: where it is no repository, the
// YAML files in it are read as workflow files, with a notice.
func LoadAny(dir string) (workflow.Set, error) {
	c, err := filesOfAny(dir)
	if err != nil {
		return workflow.Set{}, err
	}
	return c.Set(), nil
}

func filesOfAny(dir string) (Contents, error) {
	c, err := Files(dir)
	if err != nil || !c.empty() {
		return c, err
	}
	if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
		return c, nil // its YAML files are something else
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return c, fmt.Errorf("folder of workflow files: %w", err)
	}
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") || ext != ".yml" && ext != ".yaml" {
			continue
		}
		c.add(filepath.Join(dir, e.Name()), e.Name())
	}
	if !c.empty() {
		c.Notices = append(c.Notices, fmt.Sprintf("%s is no repository, so the YAML files in it are read as workflow files.", dir))
	}
	return c, nil
}

// read returns the content of one workflow file, or why it is not read. Nothing but
// a plain file is opened: a pipe would be waited for.
func read(name string) (data []byte, message string) {
	info, err := os.Lstat(name)
	if err != nil {
		return nil, "the file cannot be read: " + reason(err)
	}
	switch mode := info.Mode(); {
	case mode.IsRegular():
	case mode&fs.ModeSymlink != 0:
		return nil, "the file is a symbolic link; a workflow file must be a plain file"
	case mode.IsDir():
		return nil, "this is a folder; a workflow file must be a plain file"
	default:
		return nil, "this is a pipe, a socket or a device; a workflow file must be a plain file"
	}
	if data, err = os.ReadFile(name); err != nil {
		return nil, "the file cannot be read: " + reason(err)
	}
	return data, ""
}

// reason is an error without the path, which stands beside it.
func reason(err error) string {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err.Error()
	}
	return err.Error()
}
