package console

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/litci/litci/cmd/litci/internal/terminal"
	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

// nonce names an order.
func nonce() string { return "operator-" + strings.ToLower(rand.Text()[:16]) }

// Rerun asks the planner for new attempts of what the arguments name, and waits for
// them. It returns false where something cannot be run again, or where an attempt
// does not appear.
func (o Order) Rerun(ctx context.Context, args []string, onlyFailed bool) (bool, error) {
	targets, runs, err := o.find(ctx, args)
	if err != nil {
		return false, err
	}
	ok, left := true, pending{}
	for i, t := range targets {
		wanted, why := again(t, runs[i], onlyFailed)
		if why != "" {
			fmt.Fprintln(o.Words, why)
			ok = false
			continue
		}
		if err := o.rerun(ctx, t, runs[i], wanted); err != nil {
			return false, err
		}
		for _, j := range wanted {
			left[j.Job.Job] = expected{Job: j, attempt: j.Newest()}
		}
	}
	if len(left) == 0 || o.Patience == 0 {
		return ok, nil
	}
	begun, err := o.untilBegun(ctx, left)
	return ok && begun, err
}

// again returns the jobs of a target that are to be run again, or why there are
// none.
func again(t Target, run Run, onlyFailed bool) (wanted []Job, why string) {
	if !t.Whole() {
		job, _ := run.job(t.Index)
		switch has := job.verdict(); {
		case t.Attempt > 0 && t.Attempt < job.Newest():
			return nil, fmt.Sprintf("%s gave way to attempt %d already.", t, job.Newest())
		case has == "":
			return nil, fmt.Sprintf("%s has not ended; litci cancel ends it.", job.attemptID())
		case onlyFailed && !red(has):
			return nil, fmt.Sprintf("%s did not fail: %s.", job.attemptID(), has)
		}
		return []Job{job}, ""
	}
	open := 0
	for _, j := range run.Jobs {
		switch has := j.verdict(); {
		case has == "":
			open++
		case !onlyFailed || red(has):
			wanted = append(wanted, j)
		}
	}
	switch {
	case open > 0:
		return nil, fmt.Sprintf("Run %s is not over: %s not ended; litci cancel ends it.", run.ID, have(open, "job"))
	case len(wanted) == 0:
		return nil, fmt.Sprintf("Nothing of run %s failed.", run.ID)
	}
	return wanted, ""
}

// red is what --failed means: whatever somebody would want to see pass.
func red(c flow.Conclusion) bool { return c != flow.Success && c != flow.Skip }

// rerun publishes a wish for each job, so that it is just these that are run again.
func (o Order) rerun(ctx context.Context, t Target, run Run, wanted []Job) error {
	plan, err := bus.PlanOf(ctx, o.Bus, t.Run)
	if errors.Is(err, bus.ErrNotFound) {
		return fmt.Errorf("run %s is too old to be run again: plans are kept for a week", t.Run)
	}
	if err != nil {
		return err
	}
	for _, j := range wanted {
		err := bus.Publish(ctx, o.Bus, flow.Events, flow.Event{
			Delivery: nonce(), Kind: flow.KindRerun, ReceivedAt: time.Now().UTC(), Installation: plan.Installation, Repo: plan.Repo,
			Sender: flow.User{Login: o.By}, Rerun: &flow.Rerun{Run: t.Run, Attempt: j.attemptID()},
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(o.Words, "Asked for another attempt of %s, %s.\n", j.Job.Job, terminal.Plain(j.Check))
	}
	return nil
}

// untilBegun waits for the new attempts. It returns false where one did not come.
func (o Order) untilBegun(ctx context.Context, left pending) (bool, error) {
	waiting, cancel := context.WithTimeout(ctx, o.Patience)
	defer cancel()
	var failed error
	err := await(waiting, o.Bus, left.runs(), func(run string, index int, r verdict.Record) bool {
		id := flow.JobID(run, index)
		if j, known := left[id]; known && r.Attempt > j.attempt {
			failed = o.say(flow.AttemptID(id, r.Attempt), j.Check, "queued", "")
			delete(left, id)
		}
		return failed != nil || len(left) == 0
	})
	switch {
	case failed != nil:
		return false, failed
	case err == nil:
		return true, nil
	}
	ids := []string{}
	for id := range left {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return false, o.gaveUp(ctx, err, fmt.Sprintf("no new attempt of %s; the planner's log says what became of the wish", strings.Join(ids, ", ")))
}
