package launcher

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/concurrency"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

// runs know the runs of which jobs wait for other jobs or for a group, for as long
// as they do. What changes in KV wakes those whom it may concern; what they then
// read decides.
type runs struct {
	bus *bus.Bus

	mu    sync.Mutex
	views map[string]*view
	// interest are the views that wait for a group, by its key, or for a run in it.
	interest map[string]map[*view]struct{}
}

func newRuns(b *bus.Bus) *runs {
	return &runs{bus: b, views: map[string]*view{}, interest: map[string]map[*view]struct{}{}}
}

// view is one run: its jobs, and how far those are that somebody asked about.
type view struct {
	runs *runs
	run  string
	// holds are the waiting jobs that look at it. This and the next four fields belong
	// to runs.mu.
	holds int
	// woken is closed when something has changed.
	woken chan struct{}
	// stale are the jobs that have changed, allStale says that any may have, and
	// groupsStale that a group has.
	stale                 map[int]struct{}
	allStale, groupsStale bool

	// mu is held while the bus is asked.
	mu       sync.Mutex
	jobs     []flow.PlannedJob
	indexes  map[string][]int // of the jobs, by workflow
	outcomes map[int]outcome
	// learned are the workflows of which all outcomes are known.
	learned map[string]bool
	turns   map[string]turn
}

// turn is what a group said of a member.
type turn struct {
	mine bool
	wait reason
	// heed are what the view is interested in until it is its turn.
	heed []string
}

// hold returns the view of a run; drop must be called when the job waits no more.
func (r *runs) hold(run string) *view {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.views[run]
	if v == nil {
		v = &view{
			runs: r, run: run, woken: make(chan struct{}), stale: map[int]struct{}{},
			outcomes: map[int]outcome{}, learned: map[string]bool{}, turns: map[string]turn{},
		}
		r.views[run] = v
	}
	// A job that comes may have overtaken the changes that go with it: it and its needs
	// are run again.
	v.allStale = true
	v.holds++
	return v
}

func (r *runs) drop(v *view) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v.holds--; v.holds > 0 {
		return
	}
	delete(r.views, v.run)
	for key, views := range r.interest {
		delete(views, v)
		if len(views) == 0 {
			delete(r.interest, key)
		}
	}
}

// wake tells the jobs that look at a view that something has changed.
func (v *view) wake() {
	close(v.woken)
	v.woken = make(chan struct{})
}

// follow hears what changes until ctx ends. As a net, every job looks again now and
// then.
func (r *runs) follow(ctx context.Context, every time.Duration) {
	var beside sync.WaitGroup
	defer beside.Wait()
	beside.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				r.recheck()
			}
		}
	})
	patterns := []string{"attempt.>", concurrency.EveryKey}
	r.bus.Runs().Follow(ctx, bus.Following{Patterns: patterns, NewOnly: true, KeysOnly: true}, r.hear)
}

// recheck lets everybody look again.
func (r *runs) recheck() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range r.views {
		v.allStale, v.groupsStale = true, true
		v.wake()
	}
}

func (r *runs) hear(e bus.Entry) {
	if e.Current {
		r.recheck()
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key := e.Key
	if run, index, is := parseAttemptKey(key); is {
		if v := r.views[run]; v != nil {
			v.stale[index] = struct{}{}
			v.wake()
		}
		key = run
	}
	for v := range r.interest[key] {
		v.groupsStale = true
		v.wake()
	}
}

// parseAttemptKey takes the key of a verdict's record apart.
func parseAttemptKey(key string) (run string, index int, ok bool) {
	rest, is := strings.CutPrefix(key, "attempt.")
	run, number, found := strings.Cut(rest, ".")
	index, err := strconv.Atoi(number)
	return run, index, is && found && err == nil
}

// changes returns the channel that closes at the next change.
func (v *view) changes() <-chan struct{} {
	v.runs.mu.Lock()
	defer v.runs.mu.Unlock()
	return v.woken
}

// forget drops what has changed from what is known.
func (v *view) forget() {
	v.runs.mu.Lock()
	defer v.runs.mu.Unlock()
	if v.allStale || len(v.stale) > 0 {
		clear(v.learned)
	}
	if v.allStale {
		clear(v.outcomes) // what has ended may run again
	}
	for index := range v.stale {
		delete(v.outcomes, index)
	}
	clear(v.stale)
	if v.groupsStale {
		for key, t := range v.turns {
			if t.mine {
				continue
			}
			delete(v.turns, key)
			for _, heeded := range t.heed {
				delete(v.runs.interest[heeded], v)
			}
		}
	}
	v.allStale, v.groupsStale = false, false
}

func (v *view) heed(keys []string) {
	v.runs.mu.Lock()
	defer v.runs.mu.Unlock()
	for _, key := range keys {
		if v.runs.interest[key] == nil {
			v.runs.interest[key] = map[*view]struct{}{}
		}
		v.runs.interest[key][v] = struct{}{}
	}
}

// check tells what a job of the run has to wait for: first what it needs, then its
// group, then its siblings.
func (v *view) check(ctx context.Context, job flow.Job) (step, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.forget()
	if v.jobs == nil {
		plan, err := bus.PlanOf(ctx, v.runs.bus, v.run)
		if err != nil {
			return step{}, fmt.Errorf("plan of run %s: %w", v.run, err)
		}
		v.show(plan.Jobs)
	}
	if job.Index < 0 || job.Index >= len(v.jobs) {
		return step{}, bus.Drop(fmt.Errorf("plan of run %s has no job %d", v.run, job.Index))
	}
	of := func(i int) outcome { return v.outcomes[i] }
	if len(job.Options.Needs) > 0 {
		for _, need := range job.Options.Needs {
			if err := v.learn(ctx, need); err != nil {
				return step{}, err
			}
		}
		if s := needsStep(v.jobs, func(w string) []int { return v.indexes[w] }, of, job.Options); s != (step{}) {
			return s, nil
		}
	}
	if job.Options.Concurrency != nil {
		t, err := v.turn(ctx, job)
		if err != nil || !t.mine {
			return step{wait: t.wait}, err
		}
	}
	if most := job.Options.MaxParallel; most > 0 {
		workflow := workflowOf(v.jobs[job.Index])
		if err := v.learn(ctx, workflow); err != nil {
			return step{}, err
		}
		return parallelStep(workflow, v.indexes[workflow], of, job.Index, most), nil
	}
	return step{}, nil
}

// show makes the run's jobs known.
func (v *view) show(jobs []flow.PlannedJob) { v.jobs, v.indexes = jobs, byWorkflow(jobs) }

// learn reads how far the jobs of a workflow are of which that is not known.
func (v *view) learn(ctx context.Context, workflow string) error {
	if v.learned[workflow] {
		return nil
	}
	for _, index := range v.indexes[workflow] {
		if _, known := v.outcomes[index]; known {
			continue
		}
		record, err := verdict.RecordOf(ctx, v.runs.bus, v.run, index)
		if err != nil {
			return err
		}
		v.outcomes[index] = outcomeOf(record)
	}
	v.learned[workflow] = true
	return nil
}

// turn asks the job's group once for all jobs of a member.
func (v *view) turn(ctx context.Context, job flow.Job) (turn, error) {
	c := *job.Options.Concurrency
	workflow := workflowOf(v.jobs[job.Index])
	member := concurrency.MemberOf(job, workflow)
	key := workflow
	if member.Attempts == nil {
		member.Jobs = v.indexes[workflow]
	} else {
		key = fmt.Sprintf("%s/%d/%d", workflow, job.Index, member.Attempts[job.Index])
	}
	if t, known := v.turns[key]; known {
		return t, nil
	}
	// Interest in the group comes before the question, so that no change is missed.
	t := turn{heed: []string{concurrency.Key(job.Repo.ID, c)}}
	v.heed(t.heed)
	mine, ahead, err := concurrency.Turn(ctx, v.runs.bus, job.Repo.ID, c, member)
	if err != nil {
		return t, err
	}
	t.mine, t.wait = mine, reason{waitsGroup, "waits for group " + c.Group}
	if !mine && ahead.Run != "" {
		t.heed = append(t.heed, ahead.Run)
		v.heed(t.heed[1:])
		// The member ahead may have ended while nobody was interested in it.
		if mine, _, err = concurrency.Turn(ctx, v.runs.bus, job.Repo.ID, c, member); err != nil {
			return t, err
		}
		t.mine = mine
	}
	v.turns[key] = t
	return t, nil
}
