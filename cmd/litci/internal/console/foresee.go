package console

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/litci/litci/cmd/litci/internal/terminal"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/services/planner"
)

// Planner tells what it would make of an event; *planner.Planner does.
type Planner interface {
	Preview(ctx context.Context, e flow.Event) (planner.Preview, error)
}

// Foreseen is what planning a stored delivery now would come to; the JSON is a
// public interface.
type Foreseen struct {
	Delivery
	// Ignored says why nothing would happen.
	Ignored string `json:"ignored,omitempty"`
	// Jobs would start, in this order; where there are none Message says why.
	Jobs    []ForeseenJob `json:"jobs,omitempty"`
	Message string        `json:"message,omitempty"`
	flow.Outcome
	// Ends are the runs whose end would be asked for, Again the attempts that would
	// begin, Replanned the runs that would be planned once more.
	Ends      []string `json:"ends,omitempty"`
	Again     []string `json:"again,omitempty"`
	Replanned []string `json:"replanned,omitempty"`
}

// ForeseenJob is a job that would start.
type ForeseenJob struct {
	Check          string `json:"check"`
	Pool           string `json:"pool,omitempty"`
	Image          string `json:"image"`
	Machine        string `json:"machine"`
	TimeoutMinutes int    `json:"timeout_minutes"`
}

// Foresee asks what planning deliveries now, each as another run, would come to.
func Foresee(ctx context.Context, p Planner, deliveries []Stored) ([]Foreseen, error) {
	all := []Foreseen{}
	for _, s := range deliveries {
		e := s.Event
		e.Replay = nonce()
		v, err := p.Preview(ctx, e)
		if err != nil {
			return all, fmt.Errorf("delivery %s: %w", terminal.Plain(s.Event.Delivery), err)
		}
		f := Foreseen{Delivery: deliveryOf(s), Ignored: v.Ignored, Ends: v.Ends, Again: v.Again, Replanned: v.Replanned}
		switch {
		case v.Plan != nil:
			f.Outcome = v.Plan.Outcome
		case v.Result != nil:
			f.Outcome, f.Message = v.Result.Outcome, v.Result.Message
		}
		for _, j := range v.Jobs {
			f.Jobs = append(f.Jobs, ForeseenJob{j.Check, j.Pool, j.Image, j.Machine, j.TimeoutMinutes})
		}
		all = append(all, f)
	}
	return all, nil
}

// PrintForeseen writes for each delivery what it would come to.
func PrintForeseen(all []Foreseen, out io.Writer, screen terminal.Screen) error {
	for _, f := range all {
		if err := f.print(out, screen); err != nil {
			return err
		}
	}
	return nil
}

func (f Foreseen) print(out io.Writer, screen terminal.Screen) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%d  %s  %s of %s: %s\n", f.Sequence, terminal.Plain(f.Delivery.Delivery), f.what(), f.about(), f.summary())
	if len(f.Jobs) > 0 {
		t := terminal.Table{Narrow: []int{0, 1}}
		t.Head("  JOB", "IMAGE", "MACHINE", "TIMEOUT", "POOL")
		for _, j := range f.Jobs {
			pool := terminal.Plain(j.Pool)
			if pool == "" {
				pool = "-"
			}
			t.Add(terminal.Cell{Text: "  " + terminal.Plain(j.Check)}, terminal.Cell{Text: terminal.Plain(j.Image)}, terminal.Cell{Text: terminal.Plain(j.Machine)},
				terminal.Cell{Text: fmt.Sprintf("%d min", j.TimeoutMinutes)}, terminal.Cell{Text: pool})
		}
		if err := t.Print(&text, screen); err != nil {
			return err
		}
	}
	line := func(format string, args ...any) { fmt.Fprintf(&text, "  "+format+"\n", args...) }
	for _, s := range f.Skipped {
		line("%s: skipped: %s", terminal.Plain(s.Check), terminal.Plain(s.Reason))
	}
	for _, p := range f.Problems {
		line("%s:%d:%d: %s: %s", terminal.Plain(p.File), p.Line, p.Column, terminal.Plain(p.Severity), terminal.Plain(p.Message))
	}
	for _, n := range f.Notices {
		line("%s", terminal.Plain(n))
	}
	for _, run := range f.Ends {
		line("ends run %s", run)
	}
	for _, attempt := range f.Again {
		line("begins %s", attempt)
	}
	for _, run := range f.Replanned {
		line("plans run %s again", run)
	}
	return terminal.Write(out, text.String())
}

// summary is what would happen in a few words.
func (f Foreseen) summary() string {
	switch {
	case f.Ignored != "":
		return "ignored: " + terminal.Plain(f.Ignored)
	case len(f.Jobs) > 0:
		return "starts " + counted(len(f.Jobs), "job")
	case len(f.Again)+len(f.Replanned) > 0:
		return "runs again"
	case f.Message != "":
		return "starts nothing: " + terminal.Plain(f.Message)
	}
	return "starts nothing"
}
