package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/litci/litci/cmd/litci/internal/terminal"
	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/cancellation"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

// Order is what the commands that change something have in common.
type Order struct {
	Bus *bus.Bus
	// By is who gives it.
	By string
	// Patience is how long its effect is waited for; 0 does not wait.
	Patience time.Duration
	// Out takes the effects, Words what is said beside them.
	Out, Words io.Writer
}

// expected is an attempt of which something is awaited.
type expected struct {
	Job
	attempt int
	// only says that just this attempt is meant, and no later one.
	only bool
}

// pending are such attempts by their jobs' ids.
type pending map[string]expected

func (p pending) runs() (runs []string) {
	for _, j := range p {
		if !slices.Contains(runs, j.Run) {
			runs = append(runs, j.Run)
		}
	}
	return runs
}

// Cancel asks for the end of what the arguments name, and waits for the verdicts. It
// returns false where something had ended already, or where a verdict is missing.
func (o Order) Cancel(ctx context.Context, args []string, reason string) (bool, error) {
	targets, runs, err := o.find(ctx, args)
	if err != nil {
		return false, err
	}
	request := cancellation.Request{
		ID: nonce(), Reason: cmp.Or(reason, fmt.Sprintf("Cancelled by %s.", o.By)), By: o.By, At: time.Now().UTC(),
	}
	ok, left := true, pending{}
	for i, t := range targets {
		asked, err := o.ask(ctx, t, runs[i], request, left)
		if err != nil {
			return false, err
		}
		ok = ok && asked
	}
	if len(left) == 0 || o.Patience == 0 {
		return ok, nil
	}
	ended, err := o.untilEnded(ctx, left, request)
	return ok && ended, err
}

// find looks all arguments up before anything is done.
func (o Order) find(ctx context.Context, args []string) (targets []Target, runs []Run, err error) {
	for _, arg := range args {
		t, run, err := Find(ctx, o.Bus, arg)
		if err != nil {
			return nil, nil, err
		}
		targets, runs = append(targets, t), append(runs, run)
	}
	return targets, runs, nil
}

// ask asks for the end of one target and adds what it ends to left. It returns
// false where there is nothing to end.
func (o Order) ask(ctx context.Context, t Target, run Run, request cancellation.Request, left pending) (bool, error) {
	if t.Whole() {
		open := slices.DeleteFunc(slices.Clone(run.Jobs), func(j Job) bool { return j.verdict() != "" })
		if len(open) == 0 {
			fmt.Fprintf(o.Words, "Run %s has ended already.\n", t.Run)
			return false, nil
		}
		if err := cancellation.Run(ctx, o.Bus, t.Run, request); err != nil {
			return false, err
		}
		fmt.Fprintf(o.Words, "Asked for the end of run %s: %s open.\n", t.Run, portion(len(open), len(run.Jobs)))
		for _, j := range open {
			left[j.Job.Job] = expected{Job: j, attempt: j.Newest()}
		}
		return true, nil
	}
	job, _ := run.job(t.Index)
	switch has := job.verdict(); {
	case t.Attempt > 0 && t.Attempt < job.Newest():
		fmt.Fprintf(o.Words, "%s gave way to attempt %d.\n", t, job.Newest())
		return false, nil
	case has != "":
		fmt.Fprintf(o.Words, "%s has ended already: %s.\n", job.attemptID(), has)
		return false, nil
	}
	attempt, only := job.Newest(), t.Attempt > 0
	var err error
	if only {
		err = cancellation.Job(ctx, o.Bus, t.Run, t.Index, attempt, request)
	} else {
		attempt, err = verdict.Stop(ctx, o.Bus, t.Run, t.Index, attempt, request)
	}
	if err != nil {
		return false, err
	}
	fmt.Fprintf(o.Words, "Asked for the end of %s, %s.\n", flow.AttemptID(job.Job.Job, attempt), terminal.Plain(job.Check))
	left[job.Job.Job] = expected{Job: job, attempt: attempt, only: only}
	return true, nil
}

// untilEnded waits for the verdicts. It returns false where one did not come.
func (o Order) untilEnded(ctx context.Context, left pending, request cancellation.Request) (bool, error) {
	waiting, cancel := context.WithTimeout(ctx, o.Patience)
	defer cancel()
	var failed error
	err := await(waiting, o.Bus, left.runs(), func(run string, index int, r verdict.Record) bool {
		id := flow.JobID(run, index)
		j, known := left[id]
		switch {
		case !known:
		case r.Attempt > j.attempt && j.only:
			failed = o.say(flow.AttemptID(id, j.attempt), j.Check, "gave way to attempt "+fmt.Sprint(r.Attempt), "")
			delete(left, id)
		case r.Attempt >= j.attempt && r.Result != nil:
			failed = o.say(flow.AttemptID(id, r.Attempt), j.Check, string(r.Result.Conclusion), r.Result.Message)
			delete(left, id)
		case r.Attempt > j.attempt:
			// It was being tried again as we asked: the new attempt is meant too.
			j.attempt = r.Attempt
			left[id] = j
			failed = cancellation.Job(waiting, o.Bus, run, index, r.Attempt, request)
		}
		return failed != nil || len(left) == 0
	})
	switch {
	case failed != nil:
		return false, failed
	case err == nil:
		return true, nil
	}
	return false, o.gaveUp(ctx, err, fmt.Sprintf("%s no verdict yet; the request stands, and holds once a launcher or watcher has the job in hand", have(len(left), "job")))
}

// say prints an effect.
func (o Order) say(id, check, word, message string) error {
	text := fmt.Sprintf("%s  %s  %s", id, terminal.Plain(check), word)
	if message != "" {
		text += "  " + terminal.Plain(message)
	}
	return terminal.Write(o.Out, text+"\n")
}

// gaveUp says what is still expected when the wait is over. Being interrupted is
// no fault.
func (o Order) gaveUp(ctx context.Context, err error, text string) error {
	switch {
	case ctx.Err() != nil:
		fmt.Fprintf(o.Words, "Interrupted: %s.\n", text)
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("within %s: %s", o.Patience, text)
	}
	return err
}

func have(n int, noun string) string {
	if n == 1 {
		return "1 " + noun + " has"
	}
	return fmt.Sprintf("%d %ss have", n, noun)
}

// portion is "1 of 2 jobs is", "3 of 3 jobs are".
func portion(n, of int) string {
	verb := "are"
	if n == 1 {
		verb = "is"
	}
	return fmt.Sprintf("%d of %s %s", n, counted(of, "job"), verb)
}
