package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/litci/litci/cmd/litci/internal/terminal"
	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
	"github.com/litci/litci/services/reporter"
)

// Target is what an argument names: a run, a job of it, or an attempt of that.
type Target struct {
	Run string
	// Index is -1 for a whole run, Attempt 0 where none is named.
	Index, Attempt int
}

// Whole says that the target is a run.
func (t Target) Whole() bool { return t.Index < 0 }

func (t Target) String() string {
	switch {
	case t.Whole():
		return t.Run
	case t.Attempt == 0:
		return flow.JobID(t.Run, t.Index)
	}
	return flow.AttemptID(flow.JobID(t.Run, t.Index), t.Attempt)
}

// alphabet is that of run ids, runLength their length.
const (
	alphabet  = "abcdefghijklmnopqrstuvwxyz234567"
	runLength = 20
)

// Parse takes an id apart whose run may be cut short: RUN, RUN-INDEX, RUN-INDEX-aN.
func Parse(arg string) (Target, error) {
	wrong := fmt.Errorf("%q is no id: a run is letters and digits as litci jobs shows them, a job RUN-INDEX, an attempt RUN-INDEX-aN", arg)
	parts := strings.Split(strings.TrimPrefix(arg, "litci-"), "-")
	t := Target{Run: parts[0], Index: -1}
	if t.Run == "" || len(t.Run) > runLength || strings.Trim(t.Run, alphabet) != "" || len(parts) > 3 {
		return t, wrong
	}
	if len(parts) > 1 {
		index, err := strconv.Atoi(parts[1])
		if err != nil || strconv.Itoa(index) != parts[1] || index < 0 {
			return t, wrong
		}
		t.Index = index
	}
	if len(parts) > 2 {
		number, ok := strings.CutPrefix(parts[2], "a")
		attempt, err := strconv.Atoi(number)
		if !ok || err != nil || strconv.Itoa(attempt) != number || attempt < 1 {
			return t, wrong
		}
		t.Attempt = attempt
	}
	return t, nil
}

// CheckIDs tells what is wrong with arguments that are to name runs or jobs, as far
// as that can be told without looking.
func CheckIDs(args []string) error {
	for _, arg := range args {
		if _, err := Parse(arg); err != nil {
			return err
		}
	}
	return nil
}

// Run is a run with what is known of its jobs, by index.
type Run struct {
	ID   string
	Jobs []Job
}

// Job is a job as the reporter knows it, with the record that decides.
type Job struct {
	reporter.Job
	Record verdict.Record
}

// Newest is the number of the job's newest attempt.
func (j Job) Newest() int { return max(j.Record.Attempt, j.Attempt, 1) }

// verdict is the newest attempt's, empty while it has none. The record decides; the
// reporter's word counts where records are gone.
func (j Job) verdict() flow.Conclusion {
	switch {
	case j.Record.Attempt == j.Newest() && j.Record.Result != nil:
		return j.Record.Result.Conclusion
	case j.Attempt == j.Newest():
		return j.Conclusion
	}
	return ""
}

// attemptID names the newest attempt.
func (j Job) attemptID() string { return flow.AttemptID(j.Job.Job, j.Newest()) }

// Find looks up what an argument names.
func Find(ctx context.Context, b *bus.Bus, arg string) (Target, Run, error) {
	t, err := Parse(arg)
	if err != nil {
		return t, Run{}, err
	}
	if t.Run, err = runOf(ctx, b, t.Run); err != nil {
		return t, Run{}, err
	}
	run, err := loadRun(ctx, b, t.Run)
	if err != nil {
		return t, run, err
	}
	if len(run.Jobs) == 0 {
		return t, run, fmt.Errorf("run %s has no jobs", t.Run)
	}
	if t.Whole() {
		return t, run, nil
	}
	switch job, known := run.job(t.Index); {
	case !known:
		return t, run, fmt.Errorf("run %s has %s, counted from 0: there is no %s", t.Run, counted(len(run.Jobs), "job"), t)
	case t.Attempt > job.Newest():
		return t, run, fmt.Errorf("job %s has %s: there is no %s", job.Job.Job, counted(job.Newest(), "attempt"), t)
	}
	return t, run, nil
}

// job is the run's job of an index.
func (r Run) job(index int) (Job, bool) {
	at := slices.IndexFunc(r.Jobs, func(j Job) bool { return j.Index == index })
	if at < 0 {
		return Job{}, false
	}
	return r.Jobs[at], true
}

// FindJob is Find for commands that take a single job; a run of one job names it.
func FindJob(ctx context.Context, b *bus.Bus, arg string) (Target, Job, error) {
	t, run, err := Find(ctx, b, arg)
	if err != nil {
		return t, Job{}, err
	}
	if t.Whole() && len(run.Jobs) > 1 {
		text := fmt.Sprintf("run %s has %s; name one:", t.Run, counted(len(run.Jobs), "job"))
		for _, j := range run.Jobs {
			text += fmt.Sprintf("\n  %s  %s", j.Job.Job, terminal.Plain(j.Check))
		}
		return t, Job{}, errors.New(text)
	}
	if t.Whole() {
		t.Index = run.Jobs[0].Index
	}
	job, _ := run.job(t.Index)
	return t, job, nil
}

// runOf completes a run's id.
func runOf(ctx context.Context, b *bus.Bus, prefix string) (string, error) {
	found, err := reporter.Runs(ctx, b, prefix)
	if err != nil {
		return "", err
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		const shown = 5
		names := found[:min(len(found), shown)]
		more := ""
		if len(found) > shown {
			more = ", …"
		}
		return "", fmt.Errorf("%s begins the ids of %s, write more of it: %s%s", prefix, counted(len(found), "run"), strings.Join(names, ", "), more)
	case len(prefix) < runLength:
		return "", fmt.Errorf("no run's id begins with %s; litci jobs --all lists what is known", prefix)
	}
	// The reporter may not have heard of it yet.
	if _, err := bus.PlanOf(ctx, b, prefix); errors.Is(err, bus.ErrNotFound) {
		return "", fmt.Errorf("there is no run %s; litci jobs --all lists what is known", prefix)
	} else if err != nil {
		return "", err
	}
	return prefix, nil
}

// loadRun reads a run's jobs: from the reporter's state, or from the plan where the
// reporter has not heard of it, with the records.
func loadRun(ctx context.Context, b *bus.Bus, id string) (Run, error) {
	run := Run{ID: id}
	err := reporter.EachJob(ctx, b, id, func(j reporter.Job) error {
		run.Jobs = append(run.Jobs, Job{Job: j})
		return nil
	})
	if err != nil {
		return run, err
	}
	if len(run.Jobs) == 0 {
		plan, err := bus.PlanOf(ctx, b, id)
		if err != nil && !errors.Is(err, bus.ErrNotFound) {
			return run, err
		}
		for index, p := range plan.Jobs {
			run.Jobs = append(run.Jobs, Job{Job: reporter.Job{
				Identity: plan.Identity, Job: p.Job, Index: index, Attempt: 1, Check: p.Check, State: flow.Queued, QueuedAt: plan.PlannedAt,
			}})
		}
	}
	slices.SortFunc(run.Jobs, func(a, b Job) int { return a.Index - b.Index })
	err = b.Runs().Each(ctx, bus.Following{Patterns: []string{verdict.Keys(id)}}, func(key string, value []byte) error {
		_, index, ok := parseKey(key)
		at := slices.IndexFunc(run.Jobs, func(j Job) bool { return j.Index == index })
		if !ok || at < 0 {
			return nil
		}
		if err := json.Unmarshal(value, &run.Jobs[at].Record); err != nil {
			return fmt.Errorf("verdict of %s: %w", flow.JobID(id, index), err)
		}
		return nil
	})
	return run, err
}

// parseKey takes the key of a verdict's record apart.
func parseKey(key string) (run string, index int, ok bool) {
	parts := strings.Split(key, ".")
	if len(parts) != 3 {
		return "", 0, false
	}
	index, err := strconv.Atoi(parts[2])
	return parts[1], index, err == nil && verdict.Key(parts[1], index) == key
}
