package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/litci/litci/pkg/executor"
)

var (
	_ executor.Lister    = (*Executor)(nil)
	_ executor.Collector = (*Executor)(nil)
)

// List returns the jobs of the state directory, running and ended. Tombstones and
// folders in which nothing was prepared are left out.
func (e *Executor) List(ctx context.Context) ([]executor.Handle, error) {
	e.reap()
	entries, err := os.ReadDir(e.dir)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	var list []executor.Handle
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if !entry.IsDir() || !ValidID(entry.Name()) {
			continue
		}
		f := folder{filepath.Join(e.dir, entry.Name())}
		// Both files are written once and stay until the job is removed.
		for _, name := range []string{jobFile, stateFile} {
			_, err = os.Stat(f.at(name))
			if err == nil {
				break
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("job %s: %w", f.id(), err)
			}
		}
		if err != nil {
			continue
		}
		// A state that cannot be read is Observe's to report, for this one job.
		if s, err := f.status(); err == nil && s != nil && s.Removed {
			continue
		}
		list = append(list, e.handle(f.id()))
	}
	return list, nil
}
