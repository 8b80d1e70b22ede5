package top

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/litci/litci/cmd/litci/internal/board"
	"github.com/litci/litci/cmd/litci/internal/terminal"
)

// What a terminal obeys: another screen and back, the cursor's home, what is behind the
// cursor away, long lines cut.
const (
	enter = "\x1b[?1049h\x1b[?25l\x1b[?7l"
	leave = "\x1b[?7h\x1b[?25h\x1b[?1049l"
	home  = "\x1b[H"
	rest  = "\x1b[K"
	below = "\x1b[J"
)

const (
	// every is the time between two looks; looking takes at most a part of it.
	every = time.Second
	share = 10
)

// Live shows a mesh on a terminal until ctx ends or somebody presses q or Ctrl-C.
type Live struct {
	// Look asks how the mesh is.
	Look func(context.Context) (Mesh, error)
	// Size is the terminal's, in columns and lines.
	Size func() (width, height int)
	// Resized tells that it has changed, and Keys what is pressed.
	Resized <-chan os.Signal
	Keys    <-chan byte
	Color   bool
	Out     io.Writer
}

// Terminal is Live on a terminal of this process, and a function that gives the
// terminal back. in may be something else: then keys do nothing.
func Terminal(in, out *os.File) (l Live, restore func(), err error) {
	l = Live{Out: out, Size: func() (int, int) {
		width, height, err := term.GetSize(int(out.Fd()))
		if err != nil || width <= 0 || height <= 0 {
			return 80, 24
		}
		return width, height
	}}
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	l.Resized = resized
	restore = func() { signal.Stop(resized) }
	if !term.IsTerminal(int(in.Fd())) {
		return l, restore, nil
	}
	before, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		restore()
		return l, nil, fmt.Errorf("terminal: %w", err)
	}
	keys := make(chan byte)
	go func() { // ends with the process: a read of a terminal cannot be taken back
		one := make([]byte, 1)
		for {
			if n, err := in.Read(one); err != nil || n == 0 {
				return
			}
			keys <- one[0]
		}
	}()
	l.Keys = keys
	return l, func() {
		signal.Stop(resized)
		_ = term.Restore(int(in.Fd()), before) // of a terminal that is gone
	}, nil
}

// seen is what a look came to.
type seen struct {
	mesh Mesh
	err  error
	took time.Duration
}

// Run shows the mesh. It returns an error only where the first look fails or nothing
// can be shown.
func (l Live) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	first, err := l.Look(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	looks := make(chan seen)
	looking := make(chan struct{})
	go func() {
		defer close(looking)
		l.keepLooking(ctx, looks)
	}()
	defer func() { cancel(); <-looking }()
	if err := terminal.Write(l.Out, enter); err != nil {
		return err
	}
	defer func() { _ = terminal.Write(l.Out, leave) }() // to a terminal that is gone
	now := seen{mesh: first}
	for {
		if err := l.draw(now); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-l.Resized:
		case key := <-l.Keys:
			if key == 'q' || key == 'Q' || key == 3 { // Ctrl-C in raw mode
				return nil
			}
		case s := <-looks:
			if s.err != nil {
				s.mesh = now.mesh // the last that is known
			}
			now = s
		}
	}
}

func (l Live) keepLooking(ctx context.Context, looks chan<- seen) {
	wait := every
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		began := time.Now()
		m, err := l.Look(ctx)
		took := time.Since(began)
		select {
		case <-ctx.Done():
			return
		case looks <- seen{m, err, took}:
		}
		wait = max(every, share*took) // a mesh with many jobs is asked less often
	}
}

func (l Live) draw(s seen) error {
	width, height := l.Size()
	screen := terminal.Screen{Width: width, Color: l.Color}
	lines := s.mesh.Draw(screen, height-1)
	last := "q ends"
	if s.err != nil {
		last = board.Paint(l.Color, board.Red, "this is how it was at "+s.mesh.At.UTC().Format("15:04:05")+": "+terminal.Plain(s.err.Error()))
	}
	var text strings.Builder
	text.WriteString(home)
	for _, line := range lines {
		text.WriteString(line + rest + "\r\n")
	}
	text.WriteString(below + last + rest)
	return terminal.Write(l.Out, text.String())
}
