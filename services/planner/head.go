package planner

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/cancellation"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
	"github.com/litci/litci/pkg/workflow"
)

// head is what is kept of a pull request: the commit at which it stands, and the runs
// that must end when it stands elsewhere or is closed. A merge group has one too.
type head struct {
	SHA string `json:"sha"`
	// At is when the stream took the newest delivery that brought a run or the commit.
	At     time.Time `json:"at,omitzero"`
	Closed bool      `json:"closed,omitempty"`
	// Runs are the runs since the last change of SHA.
	Runs []headRun `json:"runs,omitempty"`
	// Gone are runs whose end is decided. They stand here until it was asked for, so
	// that a crash in between loses none.
	Gone []goneRun `json:"gone,omitempty"`
}

type headRun struct {
	Run string `json:"run"`
	// Fresh says that the run is the one of the commit's arrival, as opposed to one of a
	// label or of a job that was run again.
	Fresh bool `json:"fresh,omitempty"`
}

type goneRun struct {
	Run string `json:"run"`
	// ID and Reason are those of the request.
	ID     string    `json:"id"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// The reasons for which the planner itself ends runs, as the ids of its requests
// begin.
const (
	goneByHead  = "head/"
	goneByClose = "closed/"
)

// headKey is the key of the record that a delivery is about, empty for pushes, which
// end no other's run. A merge group is known by its branch and commit: queues make
// branches of the same name again.
func headKey(id flow.Identity) string {
	switch id.Event {
	case workflow.EventPullRequest:
		return fmt.Sprintf("head.%d.%d", id.Repo.ID, id.PullRequest)
	case workflow.EventMergeGroup:
		sum := sha256.Sum256([]byte(id.Ref + " " + id.SHA))
		return fmt.Sprintf("head.%d.group-%s", id.Repo.ID, hex.EncodeToString(sum[:10]))
	}
	return ""
}

func (h head) clone() head {
	h.Runs, h.Gone = slices.Clone(h.Runs), slices.Clone(h.Gone)
	return h
}

func (h head) lists(run string) bool {
	return slices.ContainsFunc(h.Runs, func(r headRun) bool { return r.Run == run })
}

func (h head) loses(run string) bool {
	return slices.ContainsFunc(h.Gone, func(g goneRun) bool { return g.Run == run })
}

// list adds a run that a delivery brings.
func (h *head) list(a ask, run string) {
	if h.lists(run) {
		return
	}
	h.Runs = append(h.Runs, headRun{run, a.fresh()})
	if a.stored.After(h.At) {
		h.At = a.stored
	}
}

// part decides the end of all runs.
func (h *head) part(a ask, cause, reason string) {
	for _, r := range h.Runs {
		h.Gone = append(h.Gone, goneRun{Run: r.Run, ID: cause + a.Delivery, Reason: reason, At: a.stored})
	}
	h.Runs = nil
}

const closedReason = "The pull request was closed."

// take is what a delivery makes of the record, once GitHub has said that the pull
// request is open and stands at the delivery's commit. Of new code it also says
// which run it is: the one without a nonce, unless that was cancelled, and no second
// one for as long as the commit stays. cancelled tells that of the run without a nonce.
func (h head) take(a ask, cancelled bool) (next head, run, ignored string) {
	next, run = h.clone(), a.Run
	if next.SHA != a.SHA {
		next.part(a, goneByHead+a.SHA+"/", fmt.Sprintf("Superseded by %s.", a.SHA[:7]))
		next.SHA, next.At = a.SHA, a.stored
	}
	next.Closed = false
	switch {
	case a.again:
		next.list(a, run)
	case a.newCode:
		for _, r := range next.Runs {
			switch {
			case !r.Fresh:
			case r.Run == a.run("") || r.Run == a.run(a.nonce):
				return next, r.Run, ""
			default:
				return next, "", "the commit has the run " + r.Run + " already"
			}
		}
		if run = a.run(""); cancelled || next.loses(run) {
			run = a.run(a.nonce)
		}
		next.list(a, run)
	case a.fresh(): // reopened: what ran before was closed, whether that was heard of or not
		if !next.lists(run) {
			next.part(a, goneByClose, closedReason)
			next.list(a, run)
		}
	}
	return next, run, ""
}

// takeGroup is take for a merge group, which nothing supersedes.
func (h head) takeGroup(a ask) (next head, ignored string) {
	next = h.clone()
	next.SHA = a.SHA
	switch {
	case next.Closed:
		return next, "the merge queue is done with the group"
	case !a.again && len(next.Runs) > 0 && !next.lists(a.Run):
		return next, "the merge group has the run " + next.Runs[0].Run + " already"
	}
	next.list(a, a.Run)
	return next, ""
}

// shut is what the end of a pull request or a merge group makes of the record.
func (h head) shut(a ask, reason string) head {
	next := h.clone()
	next.part(a, goneByClose, reason)
	next.Closed = true
	if a.stored.After(next.At) {
		next.At = a.stored
	}
	return next
}

// record reads the record of a key; revision is 0 where there is none.
func (p *Planner) record(ctx context.Context, key string) (h head, revision uint64, err error) {
	data, revision, err := p.bus.Runs().Get(ctx, key)
	if errors.Is(err, bus.ErrNotFound) {
		return h, 0, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &h)
	}
	if err != nil {
		return h, 0, fmt.Errorf("head %s: %w", key, err)
	}
	return h, revision, nil
}

// write replaces a record that nobody has changed since it was read; done is false
// where somebody has. A record that stays as it is is written too: the read may come
// from a server that is behind.
func (p *Planner) write(ctx context.Context, key string, next head, revision uint64) (done bool, err error) {
	data, err := json.Marshal(next)
	if err != nil {
		return false, fmt.Errorf("head %s: %w", key, err)
	}
	_, err = p.bus.Runs().Put(ctx, key, data, revision)
	if errors.Is(err, bus.ErrConflict) {
		return false, nil
	}
	return err == nil, err
}

// claim makes the delivery's commit the head of its pull request if GitHub says so
// now, and ends the runs of the heads before it. The record is read before GitHub is
// asked and written only if it is still the same, so of two planners the one with
// the older answer starts over. It chooses the ask's run.
func (p *Planner) claim(ctx context.Context, log *zap.Logger, repo repository, a *ask) (ignored string, err error) {
	key := headKey(a.Identity)
	if key == "" {
		return "", p.choose(ctx, a)
	}
	for {
		have, revision, err := p.record(ctx, key)
		if err != nil {
			return "", err
		}
		next, ignored, err := p.look(ctx, repo, a, have)
		if err != nil || ignored != "" && revision == 0 {
			return ignored, err
		}
		if ignored != "" {
			next = have
		}
		done, err := p.write(ctx, key, next, revision)
		if err != nil || done && ignored != "" {
			return ignored, err
		}
		if done {
			return "", p.dismiss(ctx, log, key, next)
		}
	}
}

// choose gives a push its run. Pushes end no other's run, so they have no record.
func (p *Planner) choose(ctx context.Context, a *ask) error {
	if !a.newCode {
		return nil
	}
	cancelled, err := p.cancelled(ctx, a.run(""))
	if cancelled {
		a.Run = a.run(a.nonce)
	}
	return err
}

// look asks GitHub how the pull request stands and says what that makes of its
// record. It writes nothing.
func (p *Planner) look(ctx context.Context, repo repository, a *ask, have head) (next head, ignored string, err error) {
	if a.Event == workflow.EventMergeGroup {
		next, ignored = have.takeGroup(*a)
		return next, ignored, nil
	}
	pull, err := repo.pull(ctx, a.PullRequest)
	if err != nil {
		return have, "", err
	}
	if pull.headSHA != a.SHA && p.young(ctx) {
		return have, "", bus.Later(fmt.Errorf("pull request %d stands at %s: the delivery or GitHub's answer is old", a.PullRequest, pull.headSHA), lag)
	}
	if ignored := a.see(pull); ignored != "" {
		return have, ignored, nil
	}
	if have.SHA != a.SHA && p.contradicts(ctx, have, *a) {
		return have, "", bus.Later(fmt.Errorf("pull request %d was at %s for a later delivery: GitHub's answer may be old", a.PullRequest, have.SHA), lag)
	}
	cancelled := false
	if a.newCode {
		if cancelled, err = p.cancelled(ctx, a.run("")); err != nil {
			return have, "", err
		}
	}
	next, run, ignored := have.take(*a, cancelled)
	a.Run = run
	return next, ignored, nil
}

// contradicts tells whether a later delivery was answered otherwise, and GitHub's
// answer to this one may come from a replica that is behind.
func (p *Planner) contradicts(ctx context.Context, have head, a ask) bool {
	return a.stored.Before(have.At) && p.young(ctx)
}

// hold makes sure, right before something is published, that the run is still wanted:
// its end was not asked for, and its commit is the head. It lists the run, so that
// the next head ends it.
func (p *Planner) hold(ctx context.Context, a ask) (ignored string, err error) {
	if key := headKey(a.Identity); key != "" {
		h, err := bus.Change(ctx, p.bus.Runs(), key, func(h *head) bool {
			switch {
			case h.SHA != a.SHA || h.Closed || h.loses(a.Run):
				return true // written as it is: see write
			case h.lists(a.Run):
				return false
			}
			h.list(a, a.Run)
			return true
		})
		switch {
		case err != nil:
			return "", fmt.Errorf("head %s: %w", key, err)
		case h.Closed:
			return "it was closed while it was planned", nil
		case h.SHA != a.SHA:
			return "stale: " + h.SHA + " became the head while it was planned", nil
		case h.loses(a.Run):
			return "the run was cancelled before it was planned", nil
		}
	}
	request, err := cancellation.OfRun(ctx, p.bus, a.Run)
	if err == nil && request != nil {
		ignored = "the run was cancelled before it was planned"
	}
	return ignored, err
}

// dismiss asks for the end of the runs that are gone and takes them off the record.
func (p *Planner) dismiss(ctx context.Context, log *zap.Logger, key string, h head) error {
	if len(h.Gone) == 0 {
		return nil
	}
	for _, g := range h.Gone {
		if err := cancellation.Run(ctx, p.bus, g.Run, cancellation.Request{ID: g.ID, Reason: g.Reason, At: g.At}); err != nil {
			return err
		}
		log.Info("cancelled", zap.String("gone", g.Run), zap.String("reason", g.Reason))
	}
	_, err := bus.Change(ctx, p.bus.Runs(), key, func(now *head) bool {
		before := len(now.Gone)
		now.Gone = slices.DeleteFunc(now.Gone, func(g goneRun) bool {
			return slices.ContainsFunc(h.Gone, func(asked goneRun) bool { return g.Run == asked.Run && g.ID == asked.ID })
		})
		return len(now.Gone) < before
	})
	if err != nil {
		return fmt.Errorf("head %s: %w", key, err)
	}
	return nil
}

// cancelled tells whether the end of a run was asked for before it came by itself. A
// commit whose run came to its end has its checks, and is not run again.
func (p *Planner) cancelled(ctx context.Context, run string) (bool, error) {
	request, err := cancellation.OfRun(ctx, p.bus, run)
	if err != nil || request == nil {
		return false, err
	}
	plan, err := bus.PlanOf(ctx, p.bus, run)
	if errors.Is(err, bus.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	for index := range plan.Jobs {
		r, err := verdict.RecordOf(ctx, p.bus, run, index)
		if err != nil {
			return false, err
		}
		if r.Result == nil || r.Result.Conclusion == flow.Cancelled {
			return true, nil
		}
	}
	return false, nil
}

// finish ends the runs of a pull request that GitHub says is closed now, or of a
// merge group.
func (p *Planner) finish(ctx context.Context, log *zap.Logger, repo repository, a ask) (ignored string, err error) {
	key := headKey(a.Identity)
	for {
		have, revision, err := p.record(ctx, key)
		if err != nil {
			return "", err
		}
		next, ignored, err := p.ending(ctx, repo, a, have)
		if err != nil || ignored != "" {
			return ignored, err
		}
		done, err := p.write(ctx, key, next, revision)
		if err != nil {
			return "", err
		}
		if done {
			return "", p.dismiss(ctx, log, key, next)
		}
	}
}

// ending says what an end makes of the record. It writes nothing.
func (p *Planner) ending(ctx context.Context, repo repository, a ask, have head) (next head, ignored string, err error) {
	if a.Event == workflow.EventMergeGroup {
		return have.shut(a, "The merge queue is done with this commit."), "", nil
	}
	pull, err := repo.pull(ctx, a.PullRequest)
	if err != nil {
		return have, "", err
	}
	if pull.open || p.contradicts(ctx, have, a) {
		if p.young(ctx) {
			return have, "", bus.Later(fmt.Errorf("pull request %d: the delivery or GitHub's answer is old", a.PullRequest), lag)
		}
		return have, "the pull request is open", nil
	}
	reason := closedReason
	if pull.merged {
		reason = "The pull request was merged."
	}
	return have.shut(a, reason), "", nil
}
