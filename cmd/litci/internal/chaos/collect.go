package chaos

import (
	"context"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/pkg/flow"
)

// compare collects the evidence and compares it.
func (p *play) compare(ctx context.Context) error {
	e := Evidence{Events: p.schedule.Events, Commits: p.scene.repo.commits}
	if err := bus.Scan(ctx, p.bus, flow.Jobs, bus.From{}, func(_ bus.Meta, job flow.Job) bool {
		e.Jobs = append(e.Jobs, job)
		return true
	}); err != nil {
		return err
	}
	letters, err := p.bus.Letters(ctx)
	if err != nil {
		return err
	}
	for _, l := range letters {
		e.Letters = append(e.Letters, fmt.Sprintf("%s gave up message %d of %s: %s", l.Service, l.StreamSequence, l.Stream, l.Reason))
	}
	left, err := lags(ctx, p.bus)
	if err != nil {
		return err
	}
	e.Lags = busy(left)
	state, err := p.scene.hub.state(ctx)
	if err != nil {
		return err
	}
	e.Checks = checksOf(state)
	if e.Comments, err = commentsOf(state); err != nil {
		return err
	}
	if e.Marks, e.Unmarked, err = p.scene.marks.read(ctx); err != nil {
		return err
	}
	p.missed = missedOf(state, e.Commits)
	p.findings = Compare(e)
	p.compared = true
	return nil
}

func checksOf(state fakegithub.State) []Check {
	checks := make([]Check, 0, len(state.CheckRuns))
	for _, c := range state.CheckRuns {
		check := Check{Name: c.Name, SHA: c.HeadSHA, ExternalID: c.ExternalID, Status: c.Status}
		if c.Conclusion != nil {
			check.Conclusion = *c.Conclusion
		}
		checks = append(checks, check)
	}
	return checks
}

// commentsOf are the pull requests of litci's comments, by its marker.
func commentsOf(state fakegithub.State) ([]int, error) {
	var pulls []int
	for _, c := range state.Comments {
		if !strings.HasPrefix(c.Body, "<!-- litci:") {
			continue
		}
		number, err := strconv.Atoi(path.Base(c.IssueURL))
		if err != nil {
			return nil, fmt.Errorf("comment %d on %q: %w", c.ID, c.IssueURL, err)
		}
		pulls = append(pulls, number)
	}
	return pulls, nil
}
