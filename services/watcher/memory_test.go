package watcher

import (
	"context"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/flow"
)

// maxGrowth bounds the heap that a log of any length takes, with the server of the
// test.
const maxGrowth = 80 << 20

// A log is never in memory as a whole, however fast it comes.
func TestLargeLogTakesLittleMemory(t *testing.T) {
	const size = 64 << 20
	e := newFlood(size)
	w := newWorld(t, e) // other tests, beside it, would count
	w.options.HeadBytes, w.options.TailBytes = 1<<20, 1<<20
	r := w.drown(e)
	log := w.archived(r.Log)
	if len(log) > 2<<20+1000 || !strings.HasPrefix(log, floodLine) || r.LogDropped < size-3<<20 {
		t.Errorf("%d bytes are stored, %d dropped", len(log), r.LogDropped)
	}
}

// The same for a log of a gigabyte, kept as operators keep it.
func BenchmarkGigabyteLog(b *testing.B) {
	b.SetBytes(1 << 30)
	for range b.N {
		e := newFlood(1 << 30)
		w := newWorld(b, e)
		r := w.drown(e)
		if r.LogDropped < 1<<30-(headBytes+tailBytes) {
			b.Errorf("%d bytes are dropped", r.LogDropped)
		}
		b.ReportMetric(float64(e.most)/(1<<20), "MiB-heap-growth")
	}
}

// drown follows a job that has written a flood, and fails when the heap grows.
func (w *world) drown(e *flood) flow.Result {
	w.t.Helper()
	s := started(w.t, executor.Handle{Executor: "scene", ID: "x"})
	before := heap()
	next := int64(0)
	e.onRead = func(at int64) {
		if at >= next {
			next = at + e.size/16
			e.most = max(e.most, int64(heap())-int64(before))
		}
	}
	w.run()
	w.publish(s)
	r := w.result(s)
	e.most = max(e.most, int64(heap())-int64(before))
	if r.LogBytes != e.size+1 && r.LogBytes != e.size {
		w.t.Errorf("log of %d bytes", r.LogBytes)
	}
	w.t.Logf("heap grew by %d KiB", e.most>>10)
	if e.most > maxGrowth {
		w.t.Errorf("heap grew by %d MiB", e.most>>20)
	}
	return r
}

func heap() uint64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// flood is a log of any length that takes no memory.
type flood struct {
	*scene
	size   int64
	onRead func(at int64)
	done   atomic.Bool
	// most is how far the heap grew meanwhile.
	most int64
}

// newFlood is a job that has failed and left a log of a size.
func newFlood(size int64) *flood {
	e := &flood{scene: newScene(), size: size}
	e.exit(1)
	e.set(func(s *executor.State) { s.LogSize = size })
	return e
}

// stop ends the log where it is.
func (f *flood) stop() { f.done.Store(true) }

func (f *flood) Logs(_ context.Context, _ executor.Handle, from int64) (io.ReadCloser, error) {
	return io.NopCloser(&floodReader{f, from}), nil
}

type floodReader struct {
	*flood
	at int64
}

const floodLine = "0123456789 the quick brown fox jumps over the lazy dog and goes on for a while .\n"

func (r *floodReader) Read(p []byte) (int, error) {
	if r.at >= r.size || r.done.Load() {
		return 0, io.EOF
	}
	r.onRead(r.at)
	line := floodLine[r.at%int64(len(floodLine)):]
	n := 0
	for n < len(p) && r.at < r.size {
		got := copy(p[n:], line[:min(int64(len(line)), r.size-r.at)])
		n += got
		r.at += int64(got)
		line = floodLine[r.at%int64(len(floodLine)):]
	}
	return n, nil
}

func BenchmarkPipeline(b *testing.B) {
	for name, line := range map[string]string{"plain": floodLine, "colours": "\x1b[32m" + floodLine[:60] + "\x1b[0m grüße\r\n"} {
		b.Run(name, func(b *testing.B) {
			chunk := []byte(strings.Repeat(line, readSize/len(line)))
			var w window
			p := newPipeline(newMasker([]string{"given-secret", "0123456788"}), func(line string) { w.add(line) })
			b.SetBytes(int64(len(chunk)))
			for b.Loop() {
				p.write(chunk)
			}
		})
	}
}
