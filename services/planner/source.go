package planner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
)

const (
	// maxArchive is the size of the largest source archive in bytes, packed.
	maxArchive = 512 << 20
	// maxAge leaves a job half of the day for which the store keeps an archive: it may
	// wait for a slot.
	maxAge = 12 * time.Hour
)

// errTooLarge says that an archive is beyond the limit.
var errTooLarge = errors.New("source archive is too large")

// store puts the commits' archives that jobs are to have into the object store, once
// for half a day: jobs take them from there, since nobody who runs them may read GitHub.
func (p *Planner) store(ctx context.Context, id flow.Identity, jobs []flow.Job) error {
	var stored []string
	for _, job := range jobs {
		if slices.Contains(stored, job.Source) {
			continue
		}
		if err := p.storeSource(ctx, id, job.Source); err != nil {
			return err
		}
		stored = append(stored, job.Source)
	}
	return nil
}

func (p *Planner) storeSource(ctx context.Context, id flow.Identity, name string) error {
	_, sha, _ := strings.Cut(name, "/")
	_, err, _ := p.archives.Do(name, func() (any, error) {
		age, err := p.bus.Sources().Age(ctx, name)
		switch {
		case err == nil && age < p.archiveAge:
			return nil, nil
		case err != nil && !errors.Is(err, bus.ErrNotFound):
			return nil, err
		}
		archive, err := p.app.Archive(ctx, id.Installation, id.Repo.ID, id.Repo.Owner, id.Repo.Name, sha)
		if err != nil {
			return nil, err
		}
		defer func() { _ = archive.Close() }()
		return nil, p.bus.Sources().Put(ctx, name, &limited{archive, p.archiveLimit})
	})
	if err != nil {
		return fmt.Errorf("source of %s: %w", sha, err)
	}
	return nil
}

// limited reads up to a limit and fails beyond it; io.LimitReader would store a
// part as if it were the whole. It fills what it is given, since the object store
// makes a message of every read.
type limited struct {
	from io.Reader
	left int64
}

func (l *limited) Read(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var more int
		more, err = l.from.Read(p[n:])
		n += more
	}
	if l.left -= int64(n); l.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}
