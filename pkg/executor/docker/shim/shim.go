// Package shim is what runs inside the containers of package docker. It stands apart
// because it is copied into each of them: it links little.
package shim

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/litci/litci/pkg/executor/local"
)

// Paths inside a container; package docker says what is there.
const (
	Root = "/litci"
	// ReadyPath is the link to the preparation that is whole, whose name begins with
	// Preparation.
	ReadyPath   = Root + "/ready"
	Preparation = "in-"
	// JobPath is the preparation that was begun.
	JobPath = Root + "/job"
)

// Run runs the job of the container that it is in, and returns the exit status for
// its process. It is the body of a hidden subcommand, must be called on the main
// goroutine, and takes its process over.
func Run() int {
	if err := takeJob(Root); err != nil {
		fmt.Fprintf(os.Stderr, "litci: %v\n", err)
		if errors.Is(err, fs.ErrExist) {
			return local.ExitRefused
		}
		return local.ExitFailed
	}
	return local.Supervise(JobPath)
}

// takeJob makes the preparation that is ready the job, which is possible once: a
// container that is started again finds that there is one.
func takeJob(root string) error {
	job := filepath.Join(root, filepath.Base(JobPath))
	if _, err := os.Lstat(job); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the job was begun before: %w", errors.Join(err, fs.ErrExist))
	}
	name, err := os.Readlink(filepath.Join(root, filepath.Base(ReadyPath)))
	if err != nil {
		return fmt.Errorf("the job's files: %w", err)
	}
	if !strings.HasPrefix(name, Preparation) || strings.Contains(name, "/") {
		return fmt.Errorf("the job's files: %q is not a preparation", name)
	}
	prepared := filepath.Join(root, name)
	bash, err := exec.LookPath("bash")
	if err != nil {
		return fmt.Errorf("the image has no bash: %w", err)
	}
	if err := local.Equip(prepared, bash, surroundings(os.Environ(), filepath.Join(job, local.HomeDir), filepath.Join(job, local.TempDir))); err != nil {
		return err
	}
	if err := os.Rename(prepared, job); err != nil {
		return fmt.Errorf("the job's files: %w", err)
	}
	return nil
}

// surroundings is the image's environment as the engine gives it, without the
// container's name, and with a home and a temporary directory that are there.
func surroundings(env []string, home, temp string) []string {
	var list []string
	var hasHome, hasTemp bool
	for _, entry := range env {
		name, value, _ := strings.Cut(entry, "=")
		switch name {
		case "HOSTNAME":
			continue
		case "HOME":
			// The engine says "/" for users that the image does not know.
			if value == "/" || !isDir(value) {
				continue
			}
			hasHome = true
		case "TMPDIR":
			hasTemp = true
		}
		list = append(list, entry)
	}
	if !hasHome {
		list = append(list, "HOME="+home)
	}
	if !hasTemp && !isDir("/tmp") {
		list = append(list, "TMPDIR="+temp)
	}
	return list
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
