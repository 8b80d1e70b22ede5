// Package tail shows what passes on litci's subjects, a line a message.
package tail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/litci/litci/cmd/litci/internal/board"
	"github.com/litci/litci/cmd/litci/internal/terminal"
	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
)

// Options say what is shown, and how.
type Options struct {
	// Subjects may have NATS's wildcards; none stand for Default.
	Subjects []string
	Filter   Filter
	// The tail begins with all that is stored, with what was stored since a time, or
	// with the last messages.
	All    bool
	Since  time.Time
	Last   int
	Follow bool
	// JSON prints messages as they are, an object a line.
	JSON   bool
	Screen terminal.Screen
	// Out takes the messages, Words what is said beside them.
	Out, Words io.Writer
}

// Default are the four subjects, those of pools too.
func Default() []string {
	jobs, states := string(flow.Jobs), string(flow.States)
	return []string{string(flow.Events), jobs, jobs + ".>", states, states + ".>", string(flow.Results)}
}

// Check tells what is wrong with the options, as far as that can be told without
// looking.
func (o Options) Check() error {
	begins := 0
	for _, set := range []bool{o.All, !o.Since.IsZero(), o.Last > 0} {
		if set {
			begins++
		}
	}
	if begins > 1 {
		return errors.New("--all, --since and --last each say where to begin; keep one")
	}
	return errors.Join(bus.CheckSubjects(o.Subjects), o.Filter.Check())
}

// Show shows the messages until ctx ends, or until the present is reached where they
// are not followed.
func Show(ctx context.Context, b *bus.Bus, o Options) error {
	subjects := o.Subjects
	if len(subjects) == 0 {
		subjects = Default()
	}
	filter, err := o.Filter.look(ctx, b)
	if err != nil {
		return err
	}
	show := (&printer{Options: o}).line
	if o.JSON {
		show = o.object
	}
	return b.View(ctx, bus.Viewing{
		Subjects: subjects, Wants: filter.wants, All: o.All, Since: o.Since, Last: o.Last, Follow: o.Follow,
		Away: func(err error) {
			if err != nil {
				fmt.Fprintf(o.Words, "[%s; it goes on when the server answers]\n", terminal.Plain(err.Error()))
				return
			}
			fmt.Fprintln(o.Words, "[the server answers again]")
		},
	}, show)
}

// raw is a message as it is; the JSON is a public interface.
type raw struct {
	Stream   string            `json:"stream"`
	Sequence uint64            `json:"seq"`
	Time     time.Time         `json:"time"`
	Subject  string            `json:"subject"`
	Headers  map[string]string `json:"headers"`
	// Body is the message's own JSON; a string where it is none.
	Body any `json:"body"`
}

func (o Options) object(m bus.Stored) error {
	r := raw{Stream: m.Stream, Sequence: m.Sequence, Time: m.At, Subject: m.Subject, Headers: m.Headers, Body: json.RawMessage(m.Body)}
	if !json.Valid(m.Body) {
		r.Body = string(m.Body)
	}
	var text strings.Builder
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("message %d of %s: %w", m.Sequence, m.Stream, err)
	}
	return terminal.Write(o.Out, text.String())
}

// printer writes lines, in columns that grow with what they hold.
type printer struct {
	Options
	widths [4]int
}

// The columns begin with the width of what is common, and grow to most.
var usual = [4]int{len("jobs.status"), len("octo/hello#1"), len("abcdefg-0"), len("success")}

const most = 32

func (p *printer) line(stored bus.Stored) error {
	m := read(stored)
	when := m.At.UTC().Format("15:04:05.000")
	if now := time.Now().UTC(); m.At.UTC().YearDay() != now.YearDay() || m.At.UTC().Year() != now.Year() {
		when = m.At.UTC().Format("2006-01-02 ") + when
	}
	line := board.Paint(p.Screen.Color, board.Grey, when)
	for i, column := range [4][2]string{{stored.Subject}, {m.about()}, {m.id()}, {m.word, m.paint}} {
		text := terminal.Plain(column[0])
		p.widths[i] = max(p.widths[i], usual[i], min(most, ansi.StringWidth(text)))
		line += "  " + board.Paint(p.Screen.Color, column[1], text) + strings.Repeat(" ", max(0, p.widths[i]-ansi.StringWidth(text)))
	}
	line = strings.TrimRight(line+"  "+terminal.Plain(m.text), " ")
	if p.Screen.Width > 0 {
		line = ansi.Truncate(line, p.Screen.Width, "…")
	}
	return terminal.Write(p.Out, line+"\n")
}

// about is what is tested: a pull request, a ref, or a repository.
func (m message) about() string {
	switch {
	case m.Repo.Name == "":
		return "-"
	case m.PullRequest > 0:
		return fmt.Sprintf("%s#%d", m.Repo.FullName(), m.PullRequest)
	case m.Ref != "":
		return m.Repo.FullName() + "@" + strings.TrimPrefix(strings.TrimPrefix(m.Ref, "refs/heads/"), "refs/tags/")
	}
	return m.Repo.FullName()
}

// shortRun is as much of a run's id as is shown: it names the run to other commands.
const shortRun = 7

// id is the job that the message is about, or its run; from the second attempt on the
// attempt.
func (m message) id() string {
	if m.Run == "" {
		return "-"
	}
	run, rest := m.Run[:min(shortRun, len(m.Run))], strings.TrimPrefix(m.job, m.Run)
	if m.attempt > 1 {
		return flow.AttemptID(run+rest, m.attempt)
	}
	return run + rest
}
