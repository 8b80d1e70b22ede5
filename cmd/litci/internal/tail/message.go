package tail

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/litci/litci/cmd/litci/internal/board"
	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
)

// message is what a stored message says.
type message struct {
	bus.Stored
	flow.Identity
	// job is the id of the job that it is about, empty where it is about none.
	job     string
	attempt int
	// word is what happened, in a colour, and text says more.
	word, paint, text string
}

// read reads a stored message. What cannot be decoded says that.
func read(m bus.Stored) message {
	if !strings.HasPrefix(m.Subject, flow.DeadLettersOf("")) {
		return decode(m.Subject, m)
	}
	subject, reason := m.Letter()
	letter := decode(subject, m)
	letter.word, letter.paint, letter.text = "given up", board.Red, reason
	return letter
}

func decode(subject string, m bus.Stored) message {
	is := func(family string) bool { return subject == family || strings.HasPrefix(subject, family+".") }
	switch {
	case is(string(flow.Events)):
		return decoded(m, ofEvent)
	case is(string(flow.Jobs)):
		return decoded(m, ofJob)
	case is(string(flow.States)):
		return decoded(m, ofStatus)
	case is(string(flow.Results)):
		return decoded(m, ofResult)
	case is("jobs.plan"):
		return decoded(m, ofPlan)
	case is("jobs.log"):
		return decoded(m, ofLog)
	}
	return message{Stored: m, word: "unknown", paint: board.Red, text: "a message of another kind"}
}

func decoded[T any](m bus.Stored, of func(T) message) message {
	var payload T
	if err := json.Unmarshal(m.Body, &payload); err != nil {
		return message{Stored: m, word: "unreadable", paint: board.Red, text: err.Error()}
	}
	said := of(payload)
	said.Stored = m
	return said
}

func ofEvent(e flow.Event) message {
	m := message{Identity: flow.Identity{Delivery: e.Delivery, Installation: e.Installation, Repo: e.Repo, Event: e.Kind, SHA: e.SHA()}, word: e.Kind}
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if e.Action != "" {
		add("%s", e.Action)
	}
	switch {
	case e.PullRequest != nil:
		m.PullRequest = e.PullRequest.Number
	case e.Push != nil:
		m.Ref = e.Push.Ref
		switch {
		case e.Push.Deleted:
			add("deleted")
		case e.Push.Forced:
			add("forced")
		}
	case e.Comment != nil && e.Comment.OnPullRequest:
		m.PullRequest = e.Comment.Issue
	case e.Review != nil:
		m.PullRequest = e.Review.PullRequest
		add("%s", e.Review.State)
	case e.MergeGroup != nil:
		m.Ref = e.MergeGroup.HeadRef
	case e.CheckRun != nil:
		add("%s", e.CheckRun.Name)
		m.named(e.CheckRun.ExternalID)
	case e.Rerun != nil:
		m.Run = e.Rerun.Run
		m.named(e.Rerun.Attempt)
	}
	if m.SHA != "" {
		add("%s", short(m.SHA))
	}
	if e.Sender.Login != "" {
		add("by %s", e.Sender.Login)
	}
	if e.Replay != "" {
		add("replayed")
	}
	m.text = strings.Join(parts, ", ")
	return m
}

// named notes which job an attempt's id names.
func (m *message) named(id string) {
	if run, index, attempt, ok := flow.ParseAttemptID(id); ok {
		m.Run, m.job, m.attempt = run, flow.JobID(run, index), attempt
	}
}

func ofPlan(p flow.Plan) message {
	m := message{Identity: p.Identity, word: "planned", text: counted(len(p.Jobs), "job")}
	if n := len(p.Skipped); n > 0 {
		m.text += fmt.Sprintf(", %d skipped", n)
	}
	if n := len(p.Problems); n > 0 {
		m.text += ", " + counted(n, "problem")
	}
	m.text += fmt.Sprintf(", for %s %s", p.Event, short(p.SHA))
	if p.Actor != "" {
		m.text += ", by " + p.Actor
	}
	return m
}

func ofJob(j flow.Job) message {
	m := message{Identity: j.Identity, job: j.Job, attempt: j.Attempt, word: "wanted", text: j.Check}
	for _, machine := range []string{j.Machine, j.Image} {
		if machine != "" {
			m.text += ", " + machine
		}
	}
	return m
}

func ofStatus(s flow.Status) message {
	m := message{Identity: s.Identity, job: s.Job, attempt: s.Attempt, word: string(s.State), paint: board.Yellow, text: s.Check}
	if s.State == flow.Queued {
		m.paint = board.Grey
	}
	if s.Message != "" {
		m.text += ": " + s.Message
	}
	var at struct{ Executor, Host string }
	if len(s.Handle) > 0 && json.Unmarshal(s.Handle, &at) == nil {
		m.text += ", on " + strings.TrimSuffix(at.Executor+" at "+at.Host, " at ")
	}
	return m
}

func ofResult(r flow.Result) message {
	m := message{Identity: r.Identity, job: r.Job, attempt: r.Attempt, word: string(r.Conclusion), paint: board.Red, text: r.Check}
	switch r.Conclusion {
	case flow.Success:
		m.paint = board.Green
	case flow.Skip, flow.Cancelled:
		m.paint = board.Grey
	}
	for _, more := range []string{r.Message, r.FirstError} {
		if more != "" && m.text != "" {
			m.text += ": "
		}
		m.text += more
	}
	if !r.StartedAt.IsZero() && !r.FinishedAt.IsZero() {
		m.text += ", after " + board.Elapsed(r.FinishedAt.Sub(r.StartedAt))
	}
	return m
}

// ofLog shows the block's last line: a message is a line.
func ofLog(b flow.LogBlock) message {
	m := message{word: "log", paint: board.Grey}
	m.named(flow.AttemptID(b.Job, b.Attempt))
	lines := strings.Split(strings.TrimSpace(b.Text), "\n")
	m.text = lines[len(lines)-1]
	if n := len(lines) - 1; n > 0 {
		m.text = fmt.Sprintf("(and %s) %s", counted(n, "line"), m.text)
	}
	if b.Last {
		m.text = strings.TrimSpace(m.text + " (end)")
	}
	return m
}

func short(sha string) string { return sha[:min(7, len(sha))] }

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
