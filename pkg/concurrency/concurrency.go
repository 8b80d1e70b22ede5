// Package concurrency keeps the groups of which one member runs at a time.
//
// A member is what one run has of one workflow. It enters its group before its
// jobs are published, so that the order of the group is the order in which events
// were planned. Whether a member has ended is read from the verdicts of its jobs;
// nothing is counted and nobody leaves by himself, so a crash leaves no group
// closed.
package concurrency

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/cancellation"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

const (
	// full is how many members may stand in line in a group with queue: all.
	full = 100
	// patience is how long a member stays whose jobs were never published.
	patience = 2 * time.Hour
	// QueueAll lets a group's members stand in line; otherwise the newest replaces what waits.
	QueueAll = "all"
)

// Member is what one run has of one workflow: those of its jobs that must not run
// beside other members.
type Member struct {
	Run string `json:"run"`
	// Workflow is the workflow's name in the plan (flow.PlannedJob).
	Workflow string `json:"workflow"`
	// Jobs are the indexes of the workflow's jobs.
	Jobs []int `json:"jobs"`
	// Attempts are the attempts that are meant, by job, where somebody asked for one
	// again: the first attempt from then on.
	Attempts map[int]int `json:"attempts,omitempty"`
	// At is when the member entered; a member without jobs is dropped two hours later.
	At time.Time `json:"at"`

	// Begun says that it had its turn, and Leaves why it must go, a sentence for
	// people. This package sets both, with By, which names who made it leave.
	Begun  bool   `json:"begun,omitempty"`
	Leaves string `json:"leaves,omitempty"`
	By     string `json:"by,omitempty"`
}

// attempt is the first attempt of a job that belongs to the member.
func (m Member) attempt(index int) int { return max(m.Attempts[index], 1) }

// same tells whether two members are of the same workflow of the same run.
func (m Member) same(other Member) bool { return m.Run == other.Run && m.Workflow == other.Workflow }

// MemberOf is the member that an attempt of a job belongs to, as Turn takes it.
func MemberOf(job flow.Job, workflow string) Member {
	m := Member{Run: job.Run, Workflow: workflow, Jobs: []int{job.Index}, At: job.QueuedAt}
	for _, e := range slices.Backward(job.Earlier) {
		if e.Rerun {
			m.Attempts = map[int]int{job.Index: e.Attempt + 1}
			break
		}
	}
	return m
}

// group is the value of a group's key: the members that may not have ended, in the
// order in which they entered.
type group struct {
	Name    string   `json:"name"`
	Members []Member `json:"members"`
}

// Key is a group's key in the bucket runs. Case does not matter, and a name may
// have any letters: hence the hash.
func Key(repo int64, c flow.Concurrency) string {
	sum := sha256.Sum256([]byte(strings.ToLower(c.Group)))
	return "group." + strconv.FormatInt(repo, 10) + "." + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:26]
}

// EveryKey matches the keys of all groups.
const EveryKey = "group.>"

// Enter puts a member at the end of its group, before its jobs are published, and
// asks for the end of those that it replaces: what waits, unless the group's queue
// is all, and what runs, where cancel_in_progress says so. Members of the same run
// never replace each other. A member that finds a hundred waiting is refused: its
// own end is asked for.
//
// Entering again does nothing but repeat what a crash may have left out. A re-run
// enters with the attempts that it is about to raise.
func Enter(ctx context.Context, b *bus.Bus, repo int64, c flow.Concurrency, m Member) error {
	g, err := change(ctx, b, repo, c, func(g *group) (bool, error) {
		if over, err := ended(ctx, b, m); over || err != nil {
			return false, err
		}
		return g.enter(c, m), nil
	})
	if err != nil {
		return err
	}
	for _, other := range g.Members {
		if err := dismiss(ctx, b, other); err != nil {
			return err
		}
	}
	return nil
}

// Turn tells whether jobs of a member may run: the member is the first of its
// group that has not ended. Members of one run pass each other, since one of them
// may need the other. If it is not its turn, ahead is the member that it waits
// for. A member that never entered enters now.
func Turn(ctx context.Context, b *bus.Bus, repo int64, c flow.Concurrency, m Member) (mine bool, ahead Member, err error) {
	if len(m.Jobs) == 0 {
		return false, ahead, errors.New("a member of a group has no jobs")
	}
	var leaves Member
	_, err = change(ctx, b, repo, c, func(g *group) (bool, error) {
		mine, ahead, leaves = false, Member{}, Member{}
		place := g.find(m)
		entered := false
		if place < 0 {
			if m.At.IsZero() {
				m.At = time.Now().UTC()
			}
			entered = g.enter(c, m)
			if place = g.find(m); place < 0 {
				return false, fmt.Errorf("workflow %s of run %s does not find its place", m.Workflow, m.Run)
			}
		}
		if g.Members[place].Leaves != "" {
			leaves = g.Members[place]
			return entered, nil
		}
		if i := g.blocker(place); i >= 0 {
			ahead = g.Members[i]
			return entered, nil
		}
		mine = true
		begins := !g.Members[place].Begun
		g.Members[place].Begun = true
		return entered || begins, nil
	})
	if err == nil && leaves.Leaves != "" {
		// The attempt that asks may be newer than the one that was asked to end.
		err = dismiss(ctx, b, leaves)
	}
	return mine, ahead, err
}

// enter places a member and says whether anything changed. g has only members that
// have not ended.
func (g *group) enter(c flow.Concurrency, m Member) bool {
	if i := slices.IndexFunc(g.Members, func(o Member) bool { return o.same(m) && o.covers(m) }); i >= 0 {
		return false
	}
	// More jobs of a member that is there, or newer attempts of them, belong to it,
	// unless it must leave.
	if i := slices.IndexFunc(g.Members, func(o Member) bool { return o.same(m) && o.Leaves == "" }); i >= 0 {
		g.Members[i] = g.Members[i].with(m)
		return true
	}
	g.Name = c.Group
	holder := g.first()
	waiting := 0
	for i := range g.Members {
		o := &g.Members[i]
		if o.Leaves != "" || o.Run == m.Run {
			continue
		}
		waits := i != holder && !o.Begun
		if waits {
			waiting++
		}
		if c.CancelInProgress || waits && c.Queue != QueueAll {
			o.Leaves, o.By = fmt.Sprintf("Replaced by a newer run of group %s.", c.Group), m.Run
		}
	}
	if c.Queue == QueueAll && !c.CancelInProgress && waiting >= full {
		m.Leaves, m.By = fmt.Sprintf("Group %s is full.", c.Group), m.Run
	}
	g.Members = append(g.Members, m)
	return true
}

// covers tells whether all jobs of another member are in this one.
func (m Member) covers(other Member) bool {
	for _, index := range other.Jobs {
		if !slices.Contains(m.Jobs, index) || m.attempt(index) < other.attempt(index) {
			return false
		}
	}
	return true
}

// with is the member with the jobs of another one.
func (m Member) with(other Member) Member {
	jobs, attempts := slices.Clone(m.Jobs), map[int]int{}
	for _, index := range other.Jobs {
		if !slices.Contains(jobs, index) {
			jobs = append(jobs, index)
		}
	}
	slices.Sort(jobs)
	for _, index := range jobs {
		attempt := 1
		for _, o := range []Member{m, other} {
			if slices.Contains(o.Jobs, index) {
				attempt = max(attempt, o.attempt(index))
			}
		}
		if attempt > 1 {
			attempts[index] = attempt
		}
	}
	m.Jobs, m.Attempts = jobs, attempts
	return m
}

// find is the place of the member that the jobs of m belong to, -1 where there is none.
func (g *group) find(m Member) int {
	for i, o := range slices.Backward(g.Members) {
		if o.same(m) && o.covers(m) {
			return i
		}
	}
	return -1
}

// blocker is the place of the member that another one waits for, -1 where it is the
// other one's turn.
func (g *group) blocker(place int) int {
	for i, o := range g.Members {
		switch {
		case i == place || o.Leaves != "" && !o.Begun:
		case o.Begun, i < place && o.Run != g.Members[place].Run:
			return i
		}
	}
	return -1
}

// first is the place of the member whose turn comes first, -1 in an empty group. Who
// must leave before it has begun will never begin.
func (g *group) first() int {
	return slices.IndexFunc(g.Members, func(o Member) bool { return o.Leaves == "" || o.Begun })
}

// change lets fn alter a group from which the ended members were taken, and writes
// it by compare-and-set.
func change(ctx context.Context, b *bus.Bus, repo int64, c flow.Concurrency, fn func(*group) (bool, error)) (group, error) {
	key := Key(repo, c)
	for {
		var g group
		data, revision, err := b.Runs().Get(ctx, key)
		if err == nil {
			err = json.Unmarshal(data, &g)
		} else if errors.Is(err, bus.ErrNotFound) {
			err = nil
		}
		if err != nil {
			return g, fmt.Errorf("group %s: %w", c.Group, err)
		}
		if err := g.prune(ctx, b); err != nil {
			return g, fmt.Errorf("group %s: %w", c.Group, err)
		}
		write, err := fn(&g)
		if err != nil {
			return g, fmt.Errorf("group %s: %w", c.Group, err)
		}
		if !write {
			return g, nil
		}
		if data, err = json.Marshal(g); err != nil {
			return g, fmt.Errorf("group %s: %w", c.Group, err)
		}
		if _, err = b.Runs().Put(ctx, key, data, revision); err == nil {
			return g, nil
		}
		if !errors.Is(err, bus.ErrConflict) {
			return g, fmt.Errorf("group %s: %w", c.Group, err)
		}
	}
}

// prune takes out the members that have ended.
func (g *group) prune(ctx context.Context, b *bus.Bus) error {
	var left []Member
	for _, m := range g.Members {
		over, err := ended(ctx, b, m)
		if err != nil {
			return err
		}
		if !over {
			left = append(left, m)
		}
	}
	g.Members = left
	return nil
}

// ended tells whether all jobs of a member have. The last one is looked at first:
// while a member runs, one look is mostly enough.
func ended(ctx context.Context, b *bus.Bus, m Member) (bool, error) {
	for _, index := range slices.Backward(m.Jobs) {
		record, err := verdict.RecordOf(ctx, b, m.Run, index)
		if err != nil {
			return false, err
		}
		if over(record, m.attempt(index)) {
			continue
		}
		unborn, err := neverPublished(ctx, b, m, index, record)
		if !unborn || err != nil {
			return false, err
		}
		if time.Since(m.At) < patience {
			// Its planner may be about to publish it, unless it must not any more.
			unwanted, err := cancellation.OfRun(ctx, b, m.Run)
			if unwanted == nil || err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

// over tells whether an attempt, and what litci itself tried after it, has ended. A
// re-run of it is another matter.
func over(r verdict.Record, attempt int) bool {
	if r.Result != nil && r.Attempt >= attempt {
		return true
	}
	return slices.ContainsFunc(r.Earlier, func(e flow.Earlier) bool { return e.Rerun && e.Attempt >= attempt })
}

// neverPublished tells whether a job was announced and never came, or is older than
// the stream.
func neverPublished(ctx context.Context, b *bus.Bus, m Member, index int, r verdict.Record) (bool, error) {
	if m.attempt(index) > max(r.Attempt, 1) {
		return true, nil
	}
	_, err := bus.PlanOf(ctx, b, m.Run)
	if errors.Is(err, bus.ErrNotFound) {
		return true, nil
	}
	return false, err
}

// dismiss asks for the end of the jobs of a member that must leave.
func dismiss(ctx context.Context, b *bus.Bus, m Member) error {
	if m.Leaves == "" {
		return nil
	}
	for _, index := range m.Jobs {
		record, err := verdict.RecordOf(ctx, b, m.Run, index)
		if err != nil {
			return err
		}
		if over(record, m.attempt(index)) {
			continue
		}
		request := cancellation.Request{ID: "group-" + m.By, Reason: m.Leaves, At: time.Now().UTC()}
		if _, err := verdict.Stop(ctx, b, m.Run, index, max(record.Attempt, m.attempt(index)), request); err != nil {
			return err
		}
	}
	return nil
}
