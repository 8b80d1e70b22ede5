package chaos

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/executor/docker"
)

// marks are what jobs leave outside of litci, a line each time they run.
type marks interface {
	// folder is where a job's script finds the folder of the marks.
	folder() string
	// begin comes before the first job, end behind the last.
	begin(ctx context.Context) error
	end() error
	// read returns how often each attempt ran, and the attempts whose marks were removed.
	read(ctx context.Context) (times map[string]int, removed []string, err error)
}

// newMarks are those of the executor: below dir, or in the jobs' containers.
func newMarks(c *config.Config, dir string) (marks, error) {
	if c.Executor == docker.Kind {
		return newContainerMarks(c.Docker)
	}
	return localMarks(filepath.Join(dir, "marks")), nil
}

// localMarks is a folder of this machine, with a file for each attempt.
type localMarks string

func (m localMarks) folder() string { return string(m) }

// begin makes the folder: open to the account that jobs run under, whichever it is.
func (m localMarks) begin(context.Context) error {
	if err := os.Mkdir(string(m), 0o700); err != nil {
		return fmt.Errorf("marks: %w", err)
	}
	if err := os.Chmod(string(m), 0o777|os.ModeSticky); err != nil {
		return fmt.Errorf("marks: %w", err)
	}
	return nil
}

func (m localMarks) end() error { return nil }

func (m localMarks) read(context.Context) (map[string]int, []string, error) {
	entries, err := os.ReadDir(string(m))
	if err != nil {
		return nil, nil, fmt.Errorf("marks: %w", err)
	}
	times := make(map[string]int, len(entries))
	for _, entry := range entries {
		text, err := os.ReadFile(filepath.Join(string(m), entry.Name()))
		if err != nil {
			return nil, nil, fmt.Errorf("marks: %w", err)
		}
		times[entry.Name()] = bytes.Count(text, []byte{'\n'})
	}
	return times, nil, nil
}
