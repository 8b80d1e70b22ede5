package planner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
)

// commitRuns are the runs of a commit, oldest first: how a commit is planned again, and
// how one that was never planned is found. It is written before a plan is published,
// since who finds the plan there looks no further, and after the word that a run ended
// without a job, since nothing else tells that it was said.
type commitRuns struct {
	Runs []commitRun `json:"runs"`
}

type commitRun struct {
	Run string `json:"run"`
	// Fresh says that the run is the one of the commit's arrival.
	Fresh bool `json:"fresh,omitempty"`
	// Cause is why the run ended without a job, empty where it has jobs.
	Cause flow.Cause `json:"cause,omitempty"`
	// At is when this was written.
	At    time.Time  `json:"at"`
	Event flow.Event `json:"event"`
}

// maxCommitRuns bounds what is kept of a commit that is labelled all day.
const maxCommitRuns = 100

func commitKey(repo int64, sha string) string { return fmt.Sprintf("planned.%d.%s", repo, sha) }

// note keeps that a run of the commit is planned now, or ends by cause.
func (p *Planner) note(ctx context.Context, a ask, cause flow.Cause) error {
	_, err := bus.Change(ctx, p.bus.Runs(), commitKey(a.Repo.ID, a.SHA), func(c *commitRuns) bool {
		at := slices.IndexFunc(c.Runs, func(r commitRun) bool { return r.Run == a.Run })
		if at >= 0 && c.Runs[at].Cause == cause {
			return false
		}
		run := commitRun{Run: a.Run, Fresh: a.fresh(), Cause: cause, At: time.Now().UTC(), Event: a.event}
		if at >= 0 {
			c.Runs[at] = run
			return true
		}
		c.Runs = append(c.Runs, run)
		if len(c.Runs) > maxCommitRuns {
			oldest := max(slices.IndexFunc(c.Runs, func(r commitRun) bool { return !r.Fresh }), 0)
			c.Runs = slices.Delete(c.Runs, oldest, oldest+1)
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("runs of commit %s: %w", a.SHA, err)
	}
	return nil
}

// runsOf are the runs of a commit; found is false where nothing is known of it.
func (p *Planner) runsOf(ctx context.Context, repo int64, sha string) (c commitRuns, found bool, err error) {
	data, _, err := p.bus.Runs().Get(ctx, commitKey(repo, sha))
	if errors.Is(err, bus.ErrNotFound) {
		return c, false, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil {
		return c, false, fmt.Errorf("runs of commit %s: %w", sha, err)
	}
	return c, true, nil
}

// renew gives a delivery another run where its own was given up, as when a dead letter
// is replayed: what was said of that run is final.
func (p *Planner) renew(ctx context.Context, a *ask) error {
	c, _, err := p.runsOf(ctx, a.Repo.ID, a.SHA)
	if err != nil {
		return err
	}
	for _, r := range c.Runs {
		if r.Cause == flow.CauseGivenUp && (r.Run == a.Run || a.newCode && r.Run == a.run(a.nonce)) {
			a.planAgain(r.Run)
			return nil
		}
	}
	return nil
}

// planAgain makes the ask one for another run in place of one that came to nothing.
// Its name depends on that one's, so that many clicks plan it once.
func (a *ask) planAgain(instead string) {
	a.again, a.newCode, a.nonce = true, false, "again/"+instead
	a.Run = a.run(a.nonce)
}
