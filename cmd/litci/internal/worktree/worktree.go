// Package worktree reads the workflow files that stand in a folder of this
// machine, as the planner reads those of a commit: same selection, same parser.
package worktree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/litci/litci/pkg/workflow"
)

// Load reads and checks the workflow files of the repository whose root is dir.
// A folder without any is an empty Set; faults in files are its Problems. An
// error means that the folder or one of the files cannot be read.
func Load(dir string) (workflow.Set, error) {
	files, notices, err := Files(dir)
	if err != nil {
		return workflow.Set{}, err
	}
	set := workflow.Load(files)
	set.Notices = append(notices, set.Notices...)
	return set, nil
}

// Files reads the workflow files under dir, with paths relative to it, and says
// in notices what is not read and why.
func Files(dir string) (files []workflow.File, notices []string, err error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("folder %s: %w", dir, errors.Unwrap(err))
	}
	if !info.IsDir() {
		return nil, nil, fmt.Errorf("%s is not a folder", dir)
	}
	paths, err := candidates(dir)
	if err != nil {
		return nil, nil, err
	}
	paths, notices = workflow.Select(paths)
	for _, p := range paths {
		data, err := Read(filepath.Join(dir, filepath.FromSlash(p)))
		if err != nil {
			return nil, nil, err
		}
		files = append(files, workflow.File{Path: p, Data: data})
	}
	return files, notices, nil
}

// LoadAny is Load for a folder that people name: where it is no repository, the
// YAML files in it are read as workflow files, with a notice.
func LoadAny(dir string) (workflow.Set, error) {
	files, notices, err := filesOfAny(dir)
	if err != nil {
		return workflow.Set{}, err
	}
	set := workflow.Load(files)
	set.Notices = append(notices, set.Notices...)
	return set, nil
}

func filesOfAny(dir string) (files []workflow.File, notices []string, err error) {
	if files, notices, err = Files(dir); err != nil || len(files) > 0 {
		return files, notices, err
	}
	if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
		return nil, notices, nil // its YAML files are something else
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("folder of workflow files: %w", err)
	}
	for _, e := range entries {
		ext := filepath.Ext(e.Name())
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") || ext != ".yml" && ext != ".yaml" {
			continue
		}
		data, err := Read(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, nil, err
		}
		files = append(files, workflow.File{Path: e.Name(), Data: data})
	}
	if len(files) > 0 {
		notices = append(notices, fmt.Sprintf("%s is no repository, so the YAML files in it are read as workflow files.", dir))
	}
	return files, notices, nil
}

// Read returns the content of one workflow file.
func Read(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("workflow file %s: %w", name, errors.Unwrap(err))
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("workflow file %s is not a regular file", name)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("workflow file %s: %w", name, errors.Unwrap(err))
	}
	return data, nil
}

// candidates are the paths in dir that may be workflow files.
func candidates(dir string) (paths []string, err error) {
	for _, folder := range []string{".", workflow.Folder} {
		entries, err := os.ReadDir(filepath.Join(dir, filepath.FromSlash(folder)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("folder of workflow files: %w", err)
		}
		for _, e := range entries {
			if !e.IsDir() {
				paths = append(paths, filepath.ToSlash(filepath.Join(folder, e.Name())))
			}
		}
	}
	return paths, nil
}
