package console

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/litci/litci/cmd/litci/internal/terminal"
	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

// Log shows the log of an attempt.
type Log struct {
	Bus *bus.Bus
	// Attempt is the one that is meant, 0 for the newest.
	Attempt int
	// Follow stays until the attempt has ended.
	Follow bool
	// Out takes the log, Words what is said beside it.
	Out, Words io.Writer
}

// Show writes the log of a job and returns the verdict of the attempt, empty while
// it has none.
func (l Log) Show(ctx context.Context, job Job) (flow.Conclusion, error) {
	number := l.Attempt
	if number == 0 {
		number = job.Newest()
	}
	for {
		a := attempt{Log: l, job: job, number: number}
		a.at = splice{out: l.Out, note: func(gap int64) {
			fmt.Fprintf(l.Words, "[%d bytes of the log are not here]\n", gap)
		}}
		end := a.ending(job.Record)
		if end == nil && !l.Follow {
			return "", a.stored(ctx)
		}
		if end == nil {
			var err error
			if end, err = a.follow(ctx); err != nil {
				return "", err
			}
		}
		if err := a.rest(ctx, *end); err != nil {
			return "", err
		}
		if !end.retried || l.Attempt > 0 || !l.Follow {
			return end.conclusion, nil
		}
		number++
		fmt.Fprintf(l.Words, "%s gave way to attempt %d: %s\n", a.id(), number, terminal.Plain(cmp.Or(end.message, string(end.cause))))
	}
}

// attempt is the log of one attempt on its way out.
type attempt struct {
	Log
	job    Job
	number int
	at     splice
}

func (a *attempt) id() string { return flow.AttemptID(a.job.Job.Job, a.number) }

// ending is how an attempt ended.
type ending struct {
	conclusion flow.Conclusion
	cause      flow.Cause
	message    string
	log        string
	// dropped says that the archive leaves something out.
	dropped bool
	// retried says that litci itself tried again.
	retried bool
}

// ending returns how the attempt ended, as the record has it; nil while it has not.
func (a *attempt) ending(r verdict.Record) *ending {
	if r.Attempt == a.number && r.Result != nil {
		return &ending{
			conclusion: r.Result.Conclusion, cause: r.Result.Cause, message: r.Result.Message, log: r.Result.Log,
			dropped: r.Result.LogDropped > 0,
		}
	}
	for _, e := range r.Earlier {
		if e.Attempt == a.number {
			return &ending{conclusion: cmp.Or(e.Conclusion, flow.Failure), cause: e.Cause, message: e.Message, log: e.Log, retried: !e.Rerun}
		}
	}
	if r.Attempt > a.number {
		return &ending{conclusion: flow.Failure, message: "another attempt took its place"}
	}
	// The reporter remembers what has no record any more.
	if r.Attempt == 0 && a.job.Attempt == a.number && !a.job.Open() {
		return &ending{conclusion: a.job.Conclusion, cause: a.job.Cause, message: a.job.Message, log: a.job.Job.Log}
	}
	return nil
}

// stored writes what there is of a log that still grows.
func (a *attempt) stored(ctx context.Context) error {
	if err := a.live(ctx); err != nil {
		return err
	}
	if a.at.next == 0 {
		fmt.Fprintf(a.Words, "%s has written nothing yet: %s.\n", a.id(), a.standing())
	}
	return nil
}

func (a *attempt) standing() string {
	text := a.job.Word()
	if a.job.Message != "" {
		text += ", " + terminal.Plain(a.job.Message)
	}
	return text
}

// live writes the live blocks that are stored now.
func (a *attempt) live(ctx context.Context) error {
	var failed error
	err := bus.Scan(ctx, a.Bus, flow.LogOf(a.job.Job.Job), bus.From{}, func(_ bus.Meta, b flow.LogBlock) bool {
		if b.Attempt == a.number {
			failed = a.at.block(b)
		}
		return failed == nil
	})
	if failed != nil {
		return failed
	}
	return err
}

// rest writes what the archive has beyond what was written. Where there is no
// archive the live blocks must do.
func (a *attempt) rest(ctx context.Context, end ending) error {
	archive, err := a.Bus.Logs().Get(ctx, cmp.Or(end.log, flow.LogName(a.job.Job.Job, a.number)))
	if errors.Is(err, bus.ErrNotFound) {
		if err := a.live(ctx); err != nil {
			return err
		}
		if a.at.next == 0 {
			fmt.Fprintf(a.Words, "There is no log of %s: %s\n", a.id(), a.absence(end))
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer archive.Close()
	return a.at.archive(archive, end.dropped)
}

func (a *attempt) absence(end ending) string {
	if end.log != "" {
		return "logs are kept for 14 days."
	}
	return terminal.Plain(cmp.Or(end.message, "the attempt wrote none."))
}

// follow writes the log while it grows, and returns how the attempt ended.
func (a *attempt) follow(ctx context.Context) (*ending, error) {
	if a.job.State.Rank() <= flow.Queued.Rank() {
		fmt.Fprintf(a.Words, "%s waits: %s.\n", a.id(), a.standing())
	}
	tailing, stop := context.WithCancel(ctx)
	waiting, quit := context.WithCancel(ctx)
	defer quit()
	var failed error
	var tail sync.WaitGroup
	tail.Go(func() {
		if failed = a.tail(tailing); failed != nil {
			quit()
		}
	})
	var end *ending
	err := await(waiting, a.Bus, []string{a.job.Run}, func(_ string, index int, r verdict.Record) bool {
		if index == a.job.Index {
			end = a.ending(r)
		}
		return end != nil
	})
	stop()
	tail.Wait()
	if failed != nil {
		return nil, failed
	}
	return end, err
}

// tail writes live blocks until ctx ends. It begins again after the server was
// away; what was written is not written again.
func (a *attempt) tail(ctx context.Context) error {
	for {
		var failed error
		away := bus.Tail(ctx, a.Bus, flow.LogOf(a.job.Job.Job), func(b flow.LogBlock) bool {
			if b.Attempt == a.number {
				failed = a.at.block(b)
			}
			return failed == nil
		})
		if failed != nil || away == nil {
			return failed
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}
