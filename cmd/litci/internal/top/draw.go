package top

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/litci/litci/cmd/litci/internal/board"
	"github.com/litci/litci/cmd/litci/internal/terminal"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/services/reporter"
)

// Draw is the mesh as lines of text. A height above 0 bounds them: what does not fit of
// the jobs is counted, then lines at the end give way.
func (m Mesh) Draw(screen terminal.Screen, height int) []string {
	var lines []string
	section := func(t *terminal.Table) {
		if t.Rows() == 0 {
			return
		}
		if len(lines) > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, strings.Split(strings.TrimRight(t.Text(screen), "\n"), "\n")...)
	}
	lines = append(lines, m.summary(screen))
	section(m.processes())
	section(m.loads())
	section(m.consumers())
	// Below the jobs is the line that counts the others; above them a space and the head.
	room := len(m.Jobs)
	if height > 0 {
		room = min(room, max(0, height-len(lines)-2))
		if room < len(m.Jobs) {
			room = max(0, room-1)
		}
	}
	if room > 0 {
		section(m.jobs(room))
	}
	if left := len(m.Jobs) - room; left > 0 {
		lines = append(lines, fmt.Sprintf("and %s", counted(left, room)))
	}
	if height > 0 && len(lines) > height {
		lines = lines[:height]
	}
	if screen.Width > 0 {
		for i, l := range lines {
			lines[i] = ansi.Truncate(l, screen.Width, "…")
		}
	}
	return lines
}

func counted(n, shown int) string {
	noun := "jobs"
	if n == 1 {
		noun = "job"
	}
	if shown > 0 {
		return fmt.Sprintf("%d more %s", n, noun)
	}
	return fmt.Sprintf("%d open %s", n, noun)
}

// summary is the mesh in a line.
func (m Mesh) summary(screen terminal.Screen) string {
	running := 0
	for _, j := range m.Jobs {
		running += 1 - waits(j)
	}
	parts := []string{
		m.At.UTC().Format("2006-01-02 15:04:05") + " UTC",
		fmt.Sprintf("%d running, %d waiting", running, len(m.Jobs)-running),
	}
	letters := fmt.Sprintf("%d dead letters", m.Letters)
	if m.Letters == 1 {
		letters = "1 dead letter"
	}
	if m.Letters > 0 {
		letters = board.Paint(screen.Color, board.Red, letters)
	}
	parts = append(parts, letters)
	var least *int64
	for _, p := range m.Processes {
		if p.GitHub != nil && (least == nil || *p.GitHub < *least) {
			least = p.GitHub
		}
	}
	if least != nil {
		parts = append(parts, fmt.Sprintf("GitHub: %d requests left", *least))
	}
	return strings.Join(parts, " · ")
}

func (m Mesh) processes() *terminal.Table {
	t := &terminal.Table{Narrow: []int{4, 5, 0}}
	t.Head("SERVICES", "HOST", "PID", "UP", "VERSION", "STATE")
	for _, p := range m.Processes {
		state := terminal.Cell{Text: "ready", Paint: board.Green}
		if p.Unready != "" {
			state = terminal.Cell{Text: terminal.Plain(p.Unready), Paint: board.Red}
		}
		t.Add(cell(strings.Join(p.Services, " ")), cell(p.Host), cell(strconv.Itoa(p.PID)), cell(board.Elapsed(m.At.Sub(p.Since))), cell(p.Version), state)
	}
	return t
}

func (m Mesh) loads() *terminal.Table {
	t := &terminal.Table{}
	t.Head("POOL", "HOST", "SLOTS USED", "OF", "WAITING")
	for _, p := range m.Processes {
		for _, l := range p.Pools {
			t.Add(cell(cmp.Or(l.Pool, "-")), cell(p.Host), number(l.Used), number(l.Used+l.Free), number(l.Waiting))
		}
	}
	return t
}

func (m Mesh) consumers() *terminal.Table {
	t := &terminal.Table{}
	t.Head("STREAM", "CONSUMER", "UNPROCESSED", "IN HAND", "REDELIVERED", "ASKING")
	for _, c := range m.Consumers {
		asking := number(int64(c.Asking))
		if c.Asking == 0 && c.Unprocessed > 0 {
			asking.Paint = board.Red
		}
		waiting := number(int64(c.Unprocessed))
		if c.Unprocessed > 0 {
			waiting.Paint = board.Yellow
		}
		t.Add(cell(c.Stream), cell(c.Durable), waiting, number(int64(c.InHand)), number(int64(c.Redelivered)), asking)
	}
	return t
}

func (m Mesh) jobs(n int) *terminal.Table {
	t := &terminal.Table{Narrow: []int{6, 2, 1}}
	t.Head("JOB", "FOR", "CHECK", "STATE", "TIME", "POOL", "DETAIL")
	for _, j := range m.Jobs[:n] {
		state, since := terminal.Cell{Text: j.Word(), Paint: board.Yellow}, j.BeganAt
		if waits(j) == 1 {
			state.Paint = board.Grey
		}
		if since.IsZero() {
			since = j.QueuedAt
		}
		t.Add(cell(id(j)), cell(about(j)), cell(j.Check), state, cell(board.Elapsed(m.At.Sub(since).Truncate(time.Second))),
			cell(cmp.Or(j.Pool, "-")), cell(j.Message))
	}
	return t
}

func cell(text string) terminal.Cell { return terminal.Cell{Text: terminal.Plain(text)} }

func number(n int64) terminal.Cell { return terminal.Cell{Text: strconv.FormatInt(n, 10)} }

// id names the job to other commands; from the second attempt on the attempt.
func id(j reporter.Job) string {
	name := flow.JobID(j.Run[:min(7, len(j.Run))], j.Index)
	if j.Attempt > 1 {
		return flow.AttemptID(name, j.Attempt)
	}
	return name
}

func about(j reporter.Job) string {
	if j.PullRequest > 0 {
		return fmt.Sprintf("%s#%d", j.Repo.FullName(), j.PullRequest)
	}
	return j.Repo.FullName() + "@" + strings.TrimPrefix(strings.TrimPrefix(j.Ref, "refs/heads/"), "refs/tags/")
}
