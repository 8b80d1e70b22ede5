package watcher

import (
	"runtime"
	"strings"
	"testing"

	"github.com/litci/litci/pkg/executor"
)

// A log is never in memory as a whole, however fast it comes.
func TestLargeLogTakesLittleMemory(t *testing.T) {
	const size = 64 << 20
	var most uint64
	next := int64(0)
	e := &flood{scene: newScene(), size: size, onRead: func(at int64) {
		if at < next {
			return
		}
		next = at + 8<<20
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		most = max(most, stats.HeapAlloc)
	}}
	e.exit(1)
	e.set(func(s *executor.State) { s.LogSize = size })
	w := setup(t, e)
	w.options.HeadBytes, w.options.TailBytes = 1<<20, 1<<20
	s := started(t, executor.Handle{Executor: "scene", ID: "x"})
	w.run()
	w.publish(s)
	r := w.result(s)
	if r.LogBytes != size+1 && r.LogBytes != size {
		t.Errorf("log of %d bytes", r.LogBytes)
	}
	log := w.archived(r.Log)
	if len(log) > 2<<20+1000 || !strings.HasPrefix(log, floodLine) || r.LogDropped < size-3<<20 {
		t.Errorf("%d bytes are stored, %d dropped", len(log), r.LogDropped)
	}
	t.Logf("heap of at most %d KiB", most>>10)
	// The whole process, with the server of this test and of those beside it.
	if most > 80<<20 {
		t.Errorf("heap of %d MiB", most>>20)
	}
}

func BenchmarkPipeline(b *testing.B) {
	for name, line := range map[string]string{"plain": floodLine, "colours": "\x1b[32m" + floodLine[:60] + "\x1b[0m grüße\r\n"} {
		b.Run(name, func(b *testing.B) {
			chunk := []byte(strings.Repeat(line, readSize/len(line)))
			var w window
			p := newPipeline([]string{"given-secret", "0123456788"}, func(line string) { w.add(line) })
			b.SetBytes(int64(len(chunk)))
			for b.Loop() {
				p.write(chunk)
			}
		})
	}
}
