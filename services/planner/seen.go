package planner

import (
	"context"
	"fmt"
	"time"

	"github.com/google/go-github/v62/github"

	"github.com/litci/litci/pkg/bus"
)

// seen is what is kept of an installation between two looks, since GitHub does not say
// when a repository was added to it.
type seen struct {
	// At is when the repositories were listed last.
	At time.Time `json:"at"`
	// Repos are their ids with the Unix time of the look before they were first
	// listed; 0 for those of the first list.
	Repos map[int64]int64 `json:"repos"`
}

func seenKey(installation int64) string { return fmt.Sprintf("seen.%d", installation) }

// see keeps which repositories an installation has now.
func (p *Planner) see(ctx context.Context, installation int64, repos []*github.Repository) (seen, error) {
	now := time.Now().UTC()
	s, err := bus.Change(ctx, p.bus.Runs(), seenKey(installation), func(s *seen) bool {
		next := seen{At: now, Repos: make(map[int64]int64, len(repos))}
		for _, repo := range repos {
			at, known := s.Repos[repo.GetID()]
			if !known && !s.At.IsZero() {
				at = s.At.Unix()
			}
			next.Repos[repo.GetID()] = at
		}
		*s = next
		return true
	})
	if err != nil {
		return s, fmt.Errorf("repositories of installation %d: %w", installation, err)
	}
	return s, nil
}

// added is the time before which a repository was not the installation's, zero where
// that is the installation's own beginning.
func (s seen) added(repo int64) time.Time {
	if at := s.Repos[repo]; at > 0 {
		return time.Unix(at, 0)
	}
	return time.Time{}
}
