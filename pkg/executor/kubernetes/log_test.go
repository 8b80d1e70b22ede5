package kubernetes

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/executortest"
	"github.com/litci/litci/pkg/executor/kubernetes/fakekubernetes"
)

// read is a log from an offset, or the offset at which it goes on.
func read(t *testing.T, e *Executor, h executor.Handle, from int64) (string, int64) {
	t.Helper()
	r, err := e.Logs(t.Context(), h, from)
	if gap, ok := errors.AsType[*executor.GapError](err); ok {
		return "", gap.Next
	}
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data), from + int64(len(data))
}

// burst prints numbered lines.
const burst = `
burst() { i=$1; while [ $i -lt $2 ]; do printf 'line %05d of the log, which has some more words\n' $i; i=$((i+1)); done; }
`

func lines(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "line %05d of the log, which has some more words\n", i)
	}
	return b.String()
}

// What the node has rotated away is a gap of known size: what is left is where it was.
func TestRotatedLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakekubernetes.Options{LogFile: 300_000})
	e := w.executor(t, nil)
	h := executortest.Start(t, e, spec("rotated", "none", burst+"burst 0 20000\n"))
	state := executortest.Until(t, e, h, executor.Ended)
	want := lines(0, 20000)
	if state.LogSize != int64(len(want)) {
		t.Errorf("log size is %d, want %d", state.LogSize, len(want))
	}
	text, at := read(t, e, h, 0)
	if text != "" || at == 0 || at >= int64(len(want)) {
		t.Fatalf("log begins with %.40q, and goes on at %d", text, at)
	}
	if text, _ := read(t, e, h, at); text != want[at:] {
		t.Errorf("log from %d has %d bytes, want %d", at, len(text), len(want)-int(at))
	}
	if _, next := read(t, e, h, at-1); next != at {
		t.Errorf("gap ends at %d, want %d", next, at)
	}
	if text, _ := read(t, e, h, at+100); text != want[at+100:] {
		t.Error("log from within is another one")
	}
}

// A reader that follows a log gets each byte where it belongs, though the file is
// rotated beneath it, and asks only for what is new.
func TestFollowedLog(t *testing.T) {
	t.Parallel()
	for name, size := range map[string]int{"one file": 10 << 20, "many files": 120_000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, fakekubernetes.Options{LogFile: size})
			e := w.executor(t, nil)
			// Each burst waits until the one before was read.
			h := executortest.Start(t, e, spec("followed", "none", burst+`n=0
while [ $n -lt 8 ]; do
	burst $((n*1000)) $((n*1000+1000))
	n=$((n+1))
	until [ -e "$LITCI_WORKSPACE/go$n" ]; do sleep 0.02; done
done
`))
			var at, missed int64
			want := lines(0, 8000)
			for n := 1; n <= 8; n++ {
				end := int64(len(lines(0, n*1000)))
				executortest.Follow(t, e, h, func(executor.State) bool {
					text, next := read(t, e, h, at)
					if want[at:at+int64(len(text))] != text {
						t.Fatalf("log from %d is another one", at)
					}
					missed += next - at - int64(len(text))
					at = next
					return at >= end
				})
				if err := w.Write(h.ID, fmt.Sprintf("workspace/go%d", n)); err != nil {
					t.Fatal(err)
				}
			}
			state := executortest.Until(t, e, h, executor.Ended)
			if at != int64(len(want)) || state.LogSize != at || missed > 0 && size > len(want) || missed > at/2 {
				t.Errorf("read up to %d without %d, size is %d, want %d", at, missed, state.LogSize, len(want))
			}
			since := 0
			for _, r := range w.Requests() {
				if query, err := url.ParseQuery(r.Query); err == nil && query.Get("sinceTime") != "" {
					since++
				}
			}
			if since == 0 {
				t.Error("the log is read from its beginning each time")
			}
			// Another process gets the same end, or the gap up to it.
			text, next := read(t, w.executor(t, nil), h, at-100)
			if next != at || text != want[at-int64(len(text)):] || text == "" && size > len(want) {
				t.Errorf("another process reads %q up to %d", text, next)
			}
		})
	}
}

// The middle of a log beyond head and tail is dropped, and said to be.
func TestLogThatIsTooLarge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakekubernetes.Options{})
	e := w.executor(t, func(c *Config) { c.LogHead, c.LogTail = 1000, 500 })
	h := executortest.Start(t, e, spec("large", "none", burst+"burst 0 200\n"))
	state := executortest.Until(t, e, h, executor.Ended)
	want := lines(0, 200)
	if state.LogSize != int64(len(want)) {
		t.Errorf("log size is %d, want %d", state.LogSize, len(want))
	}
	head, at := read(t, e, h, 0)
	if head != want[:1000] || at != 1000 {
		t.Errorf("head has %d bytes", len(head))
	}
	if _, next := read(t, e, h, at); next != int64(len(want)-500) {
		t.Errorf("log goes on at %d, want %d", next, len(want)-500)
	}
	if tail, _ := read(t, e, h, int64(len(want)-500)); tail != want[len(want)-500:] {
		t.Errorf("tail has %d bytes", len(tail))
	}
}

func TestLogOfWhatIsNotThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakekubernetes.Options{})
	e := w.executor(t, nil)
	if _, err := e.Logs(t.Context(), executor.Handle{Executor: Kind, ID: "litci-none"}, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("log: %v", err)
	}
	h := executortest.Start(t, e, spec("waiting", "unschedulable", "true\n"))
	if text, _ := read(t, e, h, 0); text != "" {
		t.Errorf("log is %q", text)
	}
	if _, err := e.Logs(t.Context(), h, -1); err == nil {
		t.Error("a negative offset is taken")
	}
	lost := executortest.Start(t, e, spec("lost", "deleted", linger))
	executortest.Until(t, e, lost, executor.Ended)
	if _, err := e.Logs(t.Context(), lost, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("log: %v", err)
	}
}

// One look serves all who ask in the same moment.
func TestLooksAreShared(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakekubernetes.Options{})
	e := w.executor(t, func(c *Config) { c.Pace.Fresh = time.Hour })
	var handles []executor.Handle
	for i := range 5 {
		handles = append(handles, executortest.Start(t, e, spec(fmt.Sprintf("shared-%d", i), "slow-pull", "true\n")))
	}
	before := len(w.Requests())
	for range 20 {
		for _, h := range handles {
			if state, err := e.Observe(t.Context(), h); err != nil || state.Phase != executor.Pending {
				t.Fatalf("state is %+v, %v", state, err)
			}
		}
	}
	if n := len(w.Requests()) - before; n != 2 {
		t.Errorf("a hundred observations took %d requests, want 2", n)
	}
}
