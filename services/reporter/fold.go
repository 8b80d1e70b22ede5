package reporter

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/flow"
)

// The bounds of what is kept of a message, in bytes and lines. A value of the
// bucket must stay well under the server's 1 MiB.
const (
	keptProblems  = 200
	keptLine      = 1 << 10
	keptNotes     = 20
	keptWindow    = 24 << 10
	keptTail      = 96 << 10
	excerptLines  = 20
	excerptBytes  = 4 << 10
	keptErrorLine = 300
	keptEarlier   = 20
)

// foldPlan learns a run's plan. The first word counts: a run is planned once.
func foldPlan(r *runState, p flow.Plan) bool {
	if r.Plan != nil {
		return false
	}
	p.Outcome = boundOutcome(p.Outcome)
	r.Plan = &p
	return true
}

// foldEnd learns that a plan ended without a job. The first word counts, but for a
// service that gave up: somebody may have had it tried again.
func foldEnd(r *runState, end flow.Result) bool {
	if r.End != nil && (r.End.Cause != flow.CauseGivenUp || end.Cause == flow.CauseGivenUp) {
		return false
	}
	end.Outcome = boundOutcome(end.Outcome)
	end.Message = elide(end.Message, keptLine)
	end.Window, end.Tail = nil, nil
	r.End = &end
	return true
}

func boundOutcome(o flow.Outcome) flow.Outcome {
	o.Problems = slices.Clone(o.Problems[:min(len(o.Problems), keptProblems)])
	for i := range o.Problems {
		o.Problems[i].Message = elide(o.Problems[i].Message, keptLine)
	}
	o.Notices = slices.Clone(o.Notices[:min(len(o.Notices), keptNotes)])
	for i := range o.Notices {
		o.Notices[i] = elide(o.Notices[i], keptLine)
	}
	o.Skipped = slices.Clone(o.Skipped)
	for i := range o.Skipped {
		o.Skipped[i].Reason = elide(o.Skipped[i].Reason, keptLine)
	}
	return o
}

// foldJob learns that an attempt waits to be started.
func foldJob(s *jobState, j flow.Job) bool {
	if !s.meet(j.Identity, j.Job, j.Index, j.Attempt, j.Check) {
		return false
	}
	before := *s
	s.Workflow, s.Image, s.Machine, s.Optional = j.Workflow, j.Image, j.Machine, j.Options.ContinueOnError
	s.Mode = orElse(s.Mode, j.Mode)
	s.Pool = orElse(s.Pool, j.Pool)
	if s.TimeoutMinutes == 0 {
		s.TimeoutMinutes = j.TimeoutMinutes
	}
	s.QueuedAt, s.ReceivedAt = earliest(s.QueuedAt, j.QueuedAt), j.ReceivedAt
	if s.Earlier == nil {
		s.Earlier, s.Retry = boundEarlier(j.Earlier), j.Options.Retry
	}
	s.rise(flow.Queued, "", time.Time{})
	return !same(before, *s)
}

// foldStatus learns how far an attempt is. The state moves up in rank only; of one
// rank the newest message counts. Of attempts that gave way it keeps when they ran.
func foldStatus(s *jobState, st flow.Status) bool {
	if st.State.Rank() == 0 {
		return false
	}
	ran := st.State == flow.Running && s.ran(st.Attempt, st.At)
	if !s.meet(st.Identity, st.Job, st.Index, st.Attempt, st.Check) {
		return ran
	}
	before := *s
	s.Pool = orElse(s.Pool, st.Pool)
	s.Mode = orElse(s.Mode, st.Mode)
	if s.TimeoutMinutes == 0 {
		s.TimeoutMinutes = st.TimeoutMinutes
	}
	if st.State == flow.Queued {
		s.QueuedAt = earliest(s.QueuedAt, st.At)
	}
	if len(st.Handle) > 0 {
		s.place(st.Handle)
	}
	s.note(st.Notes)
	s.rise(st.State, st.Message, st.At)
	return ran || !same(before, *s)
}

// foldResult learns an attempt's verdict. The first verdict is final.
func foldResult(s *jobState, r flow.Result) bool {
	if !s.meet(r.Identity, r.Job, r.Index, r.Attempt, r.Check) {
		return false
	}
	before := *s
	if !s.concluded() {
		s.Conclusion, s.Cause, s.ExitCode = verdictOf(r), r.Cause, r.ExitCode
		s.State, s.Message, s.MessageAt = flow.Ended, elide(r.Message, keptLine), time.Time{}
		s.BeganAt, s.FinishedAt = r.StartedAt, r.FinishedAt
		s.FirstError = elide(oneLine(r.FirstError), keptErrorLine)
		s.Log, s.LogBytes, s.LogDropped = r.Log, r.LogBytes, r.LogDropped
		s.Mode = orElse(s.Mode, r.Mode)
		if failed(s.Conclusion) {
			s.Excerpt = excerptOf(r)
		}
	}
	s.note(r.Notes)
	return !same(before, *s)
}

// textOf are the parts of the log that the result brought, bounded.
func textOf(r flow.Result) jobText {
	window, dropped := boundLines(r.Window, keptWindow)
	tail, _ := boundLines(r.Tail, keptTail)
	return jobText{Attempt: r.Attempt, Window: window, WindowLine: r.WindowLine + dropped, Tail: tail}
}

// excerptOf takes the lines that the comment folds under a failed job: the
// window up to a few lines behind the first error, or the log's end.
func excerptOf(r flow.Result) []string {
	lines := r.Window
	if len(lines) == 0 {
		lines = r.Tail
	} else if r.FirstError != "" {
		if at := slices.Index(lines, r.FirstError); at >= 0 {
			lines = lines[:min(len(lines), at+excerptLines/2)]
		}
	}
	lines = lines[max(0, len(lines)-excerptLines):]
	lines, _ = boundLines(lines, excerptBytes)
	return lines
}

// verdictOf is the result's conclusion. What litci does not know counts as failure.
func verdictOf(r flow.Result) flow.Conclusion {
	switch r.Conclusion {
	case flow.Success, flow.Failure, flow.Cancelled, flow.Skip, flow.TimedOut, flow.ActionRequired:
		return r.Conclusion
	}
	return flow.Failure
}

func failed(c flow.Conclusion) bool {
	return c == flow.Failure || c == flow.TimedOut || c == flow.ActionRequired
}

// meet decides whether a message of an attempt is news: an older attempt is
// not, a newer one begins from nothing.
func (j *jobState) meet(id flow.Identity, job string, index, attempt int, check string) bool {
	if attempt < j.Attempt {
		return false
	}
	if attempt > j.Attempt {
		ran := maps.Clone(j.Ran) // the value that was loaded stays as it is
		maps.DeleteFunc(ran, func(a int, _ time.Time) bool { return a <= attempt-keptEarlier })
		*j = jobState{Identity: id, Job: job, Index: index, Attempt: attempt, Check: check, Ran: ran}
	}
	return true
}

// ran keeps when an attempt was first seen running, which its successors tell.
func (j *jobState) ran(attempt int, at time.Time) bool {
	known := j.Ran[attempt]
	if attempt <= j.Attempt-keptEarlier || at.IsZero() || !known.IsZero() && !at.Before(known) {
		return false
	}
	j.Ran = maps.Clone(j.Ran)
	if j.Ran == nil {
		j.Ran = map[int]time.Time{}
	}
	j.Ran[attempt] = at
	return true
}

// rise moves the state up. Of two messages of one step the newer stays, of one time
// the smaller text, so that their order does not show.
func (j *jobState) rise(to flow.State, message string, at time.Time) {
	message = elide(message, keptLine)
	switch {
	case j.concluded() || step(to) < step(j.State):
		return
	case step(to) > step(j.State), at.After(j.MessageAt):
		j.Message, j.MessageAt = message, at
	case at.Equal(j.MessageAt) && message != "" && (j.Message == "" || message < j.Message):
		j.Message = message
	}
	if to.Rank() > j.State.Rank() {
		j.State = to
	}
}

// step is a state's rank, in which a job with a handle is still starting: its watcher
// says what it waits for.
func step(s flow.State) int {
	if s == flow.Started {
		s = flow.Starting
	}
	return s.Rank()
}

// boundEarlier keeps the newest attempts that gave way; never nil.
func boundEarlier(earlier []flow.Earlier) []flow.Earlier {
	kept := append([]flow.Earlier{}, earlier[max(0, len(earlier)-keptEarlier):]...)
	for i := range kept {
		kept[i].Message = elide(oneLine(kept[i].Message), keptLine)
		kept[i].By = elide(oneLine(kept[i].By), keptErrorLine)
	}
	return kept
}

// place learns where the attempt was started from its handle. Of two handles the
// smaller one counts, so that their order does not show.
func (j *jobState) place(handle []byte) {
	var h executor.Handle
	if json.Unmarshal(handle, &h) != nil {
		return // only the watcher must understand it
	}
	if j.Executor == "" || h.Executor+"\x00"+h.Host < j.Executor+"\x00"+j.Host {
		j.Executor, j.Host = elide(oneLine(h.Executor), keptLine), elide(oneLine(h.Host), keptLine)
	}
}

func (j *jobState) note(notes []string) {
	known := slices.Clone(j.Notes)
	for _, n := range notes {
		n = elide(oneLine(n), keptLine)
		if n != "" && !slices.Contains(known, n) {
			known = append(known, n)
		}
	}
	slices.Sort(known)
	j.Notes = known[:min(len(known), keptNotes)]
}

// same compares two states of a job in all that a fold may change.
func same(a, b jobState) bool {
	if !slices.Equal(a.Notes, b.Notes) || !slices.Equal(a.Excerpt, b.Excerpt) {
		return false
	}
	if (a.Earlier == nil) != (b.Earlier == nil) || !a.MessageAt.Equal(b.MessageAt) {
		return false
	}
	return a.Workflow == b.Workflow && a.Image == b.Image && a.Machine == b.Machine && a.Executor == b.Executor && a.Host == b.Host && a.Optional == b.Optional && a.Pool == b.Pool &&
		a.Mode == b.Mode && a.TimeoutMinutes == b.TimeoutMinutes && a.State == b.State && a.Message == b.Message &&
		a.QueuedAt.Equal(b.QueuedAt) && a.Conclusion == b.Conclusion
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// boundLines keeps the last lines that fit into n bytes, each cut to keptLine,
// and says how many it dropped at the front.
func boundLines(lines []string, n int) (kept []string, dropped int) {
	size, from := 0, len(lines)
	for from > 0 {
		size += min(len(lines[from-1]), keptLine) + 1
		if size > n {
			break
		}
		from--
	}
	for _, line := range lines[from:] {
		kept = append(kept, elide(plainLine(line), keptLine))
	}
	return kept, from
}

// plainLine drops what has no place in a line of text.
func plainLine(s string) string {
	return strings.Map(func(r rune) rune {
		if (r < ' ' && r != '\t') || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}
