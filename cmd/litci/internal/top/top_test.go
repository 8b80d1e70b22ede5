package top

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/litci/litci/cmd/litci/internal/terminal"
	"github.com/litci/litci/pkg/daemon"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/services/reporter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func busy(jobs int) Mesh {
	left := int64(4870)
	m := Mesh{
		At: now, Letters: 1,
		Processes: []daemon.Presence{
			{
				Services: []string{"launcher", "watcher"}, Host: "desk", PID: 12, Version: "v1.2", Since: now.Add(-90 * time.Second),
				Pools: []daemon.Load{{Pool: "gpu", Used: 2, Free: 1, Waiting: 5}},
			},
			{Services: []string{"planner"}, Host: "vm", PID: 34, Version: "v1.2", Since: now.Add(-time.Hour), Unready: "nats is reconnecting", GitHub: &left},
		},
		Consumers: []Consumer{
			{Stream: "EVENTS", Durable: "planner", Unprocessed: 7},
			{Stream: "JOBS", Durable: "launcher-gpu", InHand: 5, Redelivered: 1, Asking: 1},
		},
	}
	for i := range jobs {
		j := reporter.Job{
			Identity: flow.Identity{Run: "abcdefghijklmnopqrst", PullRequest: 7, Repo: flow.Repo{Owner: "octo", Name: "hello"}},
			Index:    i, Attempt: 1, Check: "ci.yml / 試験", State: flow.Queued, QueuedAt: now.Add(-time.Minute), Message: "no free slot\x1b[2J", Pool: "gpu",
		}
		if i == 0 {
			j.State, j.BeganAt, j.Attempt, j.Message, j.Pool = flow.Running, now.Add(-5*time.Second), 2, "", ""
		}
		m.Jobs = append(m.Jobs, j)
	}
	return m
}

func TestMeshIsDrawn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		mesh   Mesh
		width  int
		height int
		want   string
	}{
		{"nothing is there", Mesh{At: now}, 0, 0, `2026-01-02 03:04:05 UTC · 0 running, 0 waiting · 0 dead letters`},
		{"everything", busy(2), 0, 0, `2026-01-02 03:04:05 UTC · 1 running, 1 waiting · 1 dead letter · GitHub: 4870 requests left

SERVICES          HOST  PID  UP      VERSION  STATE
launcher watcher  desk  12   1m 30s  v1.2     ready
planner           vm    34   1h 00m  v1.2     nats is reconnecting

POOL  HOST  SLOTS USED  OF  WAITING
gpu   desk  2           3   5

STREAM  CONSUMER      UNPROCESSED  IN HAND  REDELIVERED  ASKING
EVENTS  planner       7            0        0            0
JOBS    launcher-gpu  0            5        1            1

JOB           FOR           CHECK          STATE    TIME    POOL  DETAIL
abcdefg-0-a2  octo/hello#7  ci.yml / 試験  running  5.0s    -
abcdefg-1     octo/hello#7  ci.yml / 試験  queued   1m 00s  gpu   no free slot[2J`},
		{"what does not fit is counted", busy(40), 0, 17, `
JOB           FOR           CHECK          STATE    TIME    POOL  DETAIL
abcdefg-0-a2  octo/hello#7  ci.yml / 試験  running  5.0s    -
abcdefg-1     octo/hello#7  ci.yml / 試験  queued   1m 00s  gpu   no free slot[2J
and 38 more jobs`},
		{"no room for jobs", busy(3), 0, 14, `
JOBS    launcher-gpu  0            5        1            1
and 3 open jobs`},
		{"a narrow screen", busy(1), 20, 0, `
abcdefg-0-a2  octo/…`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			lines := c.mesh.Draw(terminal.Screen{Width: c.width}, c.height)
			have := strings.Join(lines, "\n")
			if !strings.HasSuffix(have, c.want) {
				t.Errorf("have\n%s\nwant at its end\n%s", have, c.want)
			}
			if c.height > 0 && len(lines) > c.height {
				t.Errorf("%d lines in a height of %d", len(lines), c.height)
			}
		})
	}
}

// Whatever the size, nothing is drawn beyond it.
func TestDrawingKeepsWithinItsScreen(t *testing.T) {
	t.Parallel()
	for height := 1; height < 30; height++ {
		for _, jobs := range []int{0, 1, 5, 50} {
			lines := busy(jobs).Draw(terminal.Screen{Width: 33, Color: true}, height)
			if len(lines) > height {
				t.Errorf("%d lines for %d jobs in a height of %d", len(lines), jobs, height)
			}
		}
	}
}

func TestColoursAreAskedFor(t *testing.T) {
	t.Parallel()
	plain, painted := busy(2).Draw(terminal.Screen{}, 0), busy(2).Draw(terminal.Screen{Color: true}, 0)
	if strings.Contains(strings.Join(plain, ""), "\x1b") || !strings.Contains(strings.Join(painted, ""), "\x1b[31m1 dead letter") {
		t.Errorf("plain %q, painted %q", plain, painted)
	}
}

// paper is an Out that can be waited for.
type paper struct {
	mu   sync.Mutex
	text strings.Builder
	more chan struct{}
}

func (p *paper) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text.Write(b)
	select {
	case p.more <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (p *paper) until(t *testing.T, want string) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	for {
		p.mu.Lock()
		has := strings.Contains(p.text.String(), want)
		p.mu.Unlock()
		if has {
			return
		}
		select {
		case <-p.more:
		case <-deadline:
			t.Fatalf("no %q in %q", want, p.text.String())
		}
	}
}

func TestLiveShowsChangesAndGivesTheTerminalBack(t *testing.T) {
	t.Parallel()
	out, keys, resized := &paper{more: make(chan struct{}, 1)}, make(chan byte), make(chan os.Signal)
	looks, sizes := 0, make(chan int, 9)
	l := Live{
		Out: out, Keys: keys, Resized: resized,
		Size: func() (int, int) {
			select {
			case n := <-sizes:
				return n, n
			default:
				return 100, 30
			}
		},
		Look: func(context.Context) (Mesh, error) {
			looks++
			switch looks {
			case 1:
				return busy(0), nil
			case 2:
				return Mesh{}, errors.New("the server is away")
			}
			return busy(2), nil
		},
	}
	done := make(chan error, 1)
	go func() { done <- l.Run(t.Context()) }()
	out.until(t, enter)
	out.until(t, "0 running, 0 waiting")
	out.until(t, "this is how it was at 03:04:05: the server is away")
	out.until(t, "1 running, 1 waiting")
	sizes <- 15
	resized <- syscall.SIGWINCH
	out.until(t, "2026-01-02 03:…")
	keys <- 'x' // means nothing
	keys <- 'q'
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !strings.HasSuffix(out.text.String(), leave) {
		t.Errorf("the terminal is left as %q", out.text.String())
	}
}

func TestLiveEndsWithItsContext(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	l := Live{Out: &paper{}, Size: func() (int, int) { return 80, 24 }, Look: func(context.Context) (Mesh, error) { return Mesh{}, broken }}
	if err := l.Run(t.Context()); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	l.Look = func(context.Context) (Mesh, error) { cancel(); return busy(1), nil }
	if err := l.Run(ctx); err != nil {
		t.Error(err)
	}
}
