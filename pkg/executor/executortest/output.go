package executortest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/litci/litci/pkg/executor"
)

func logOffsets(s *suite) {
	h := s.start(s.spec("exec 3>&2 2>/dev/null\ntrap 'echo second >&3; exit 0' TERM\necho first\nwhile :; do sleep 0.02 || :; done\n"))
	s.logged(h, 0, "first\n")
	if log := s.log(h, 3); log != "st\n" {
		s.Errorf("log from 3 while running is %q", log)
	}
	if log := s.log(h, 6); log != "" {
		s.Errorf("log from its end while running is %q", log)
	}
	// An executor's look at a job may be a moment older than its log.
	Until(s.T, s.executor, h, executor.Running)
	if err := s.executor.Stop(s.Context(), h, s.opts.Wait); err != nil {
		s.Fatal(err)
	}
	state := s.ended(h)
	if state.LogSize != 13 {
		s.Errorf("log size is %d, want 13", state.LogSize)
	}
	for from, want := range map[int64]string{0: "first\nsecond\n", 6: "second\n", 8: "cond\n", 13: "", 1000: ""} {
		if log := s.log(h, from); log != want {
			s.Errorf("log from %d after the end is %q, want %q", from, log, want)
		}
	}
}

// largeOutput prints numbers, so that every place in the log is known, and reads
// the log while it is written and after the end, over the gap that it may have.
func largeOutput(s *suite) {
	// More numbers than are needed; head cuts them.
	script := fmt.Sprintf("set +o pipefail\nseq 1 %d | head -c %d\n", s.opts.Output/2+10, s.opts.Output)
	h := s.start(s.spec(script))
	want := numbers(s.opts.Output)
	s.checkLog(h, want, false)
	began := time.Now()
	state := s.ended(h)
	s.exited(state, 0)
	if state.LogSize != s.opts.Output {
		s.Errorf("log size is %d, want %d", state.LogSize, s.opts.Output)
	}
	s.checkLog(h, want, true)
	s.Logf("%d bytes in %v, waited %v", s.opts.Output, state.FinishedAt.Sub(state.StartedAt), time.Since(began))
}

// leastKept is how much of a log must be there at the end.
const leastKept = 8 << 20

// numbers is what seq prints, up to a number of bytes.
func numbers(size int64) []byte {
	out := make([]byte, 0, size+32)
	for i := int64(1); int64(len(out)) < size; i++ {
		out = strconv.AppendInt(out, i, 10)
		out = append(out, '\n')
	}
	return out[:size]
}

// checkLog compares the log with what the job prints. The whole log must have its
// head, where a reader begins, and its end.
func (s *suite) checkLog(h executor.Handle, want []byte, whole bool) {
	s.Helper()
	const head = 1 << 20
	var at, dropped int64
	for {
		r, err := s.executor.Logs(s.Context(), h, at)
		if gap, ok := errors.AsType[*executor.GapError](err); ok {
			if gap.Next <= at || at < head {
				s.Fatalf("gap from %d to %d", at, gap.Next)
			}
			dropped += gap.Next - at
			at = gap.Next
			continue
		}
		if err != nil {
			s.Fatalf("log from %d: %v", at, err)
		}
		part, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			s.Fatalf("log from %d: %v", at, err)
		}
		if len(part) == 0 {
			break
		}
		if at+int64(len(part)) > int64(len(want)) || !bytes.Equal(part, want[at:at+int64(len(part))]) {
			s.Fatalf("log from %d is not what was printed there", at)
		}
		at += int64(len(part))
		if !whole {
			return
		}
	}
	if whole && at != int64(len(want)) {
		s.Errorf("log ends at %d, want %d", at, len(want))
	}
	if kept := int64(len(want)) - dropped; whole && kept < min(int64(len(want)), leastKept) {
		s.Errorf("%d of %d bytes were kept", kept, len(want))
	}
}
