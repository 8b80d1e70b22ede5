package executortest

import (
	"fmt"
	"time"

	"github.com/litci/litci/pkg/executor"
)

// stubborn is a script whose processes ignore TERM: itself, a child, a child in a
// session of its own, and one whose parents are gone.
const stubborn = `trap '' TERM
nap() { while :; do sleep 0.05 || :; done; }
nap &
setsid bash -c 'trap "" TERM; while :; do sleep 0.05; done' &
( ( nap ) & )
echo ready
nap
`

// codeOf is the exit code as text.
func codeOf(state executor.State) string {
	if state.ExitCode == nil {
		return "unknown"
	}
	return fmt.Sprint(*state.ExitCode)
}

func deadline(s *suite) {
	spec := s.spec("echo begun\nsleep 1000\n")
	spec.Timeout, spec.Grace = time.Second, s.opts.Wait
	h := s.start(spec)
	state := s.ended(h)
	s.endedBy(state, executor.ReasonTimeout)
	if ran := state.FinishedAt.Sub(state.StartedAt); ran < spec.Timeout {
		s.Errorf("job ended after %v, before its timeout of %v", ran, spec.Timeout)
	}
	if log := s.log(h, 0); log != "begun\n" {
		s.Errorf("log is %q", log)
	}
}

func deadlineStubborn(s *suite) {
	spec := s.spec(stubborn)
	spec.Timeout, spec.Grace = time.Second, 500*time.Millisecond
	state := s.ended(s.start(spec))
	s.endedBy(state, executor.ReasonTimeout)
	if codeOf(state) != "137" {
		s.Errorf("exit code is %s, want that of KILL", codeOf(state))
	}
	if ran := state.FinishedAt.Sub(state.StartedAt); ran < spec.Timeout+spec.Grace {
		s.Errorf("job was killed after %v, within its grace", ran)
	}
}

func stopGraceful(s *suite) {
	h := s.start(s.spec("exec 2>/dev/null\ntrap 'echo cleaned; exit 3' TERM\necho ready\nwhile :; do sleep 0.02 || :; done\n"))
	s.logged(h, 0, "ready\n")
	for range 2 { // asking twice is asking once
		if err := s.executor.Stop(s.Context(), h, s.opts.Wait); err != nil {
			s.Fatal(err)
		}
	}
	state := s.ended(h)
	s.endedBy(state, executor.ReasonStopped)
	if codeOf(state) != "3" {
		s.Errorf("exit code is %s, want the script's own", codeOf(state))
	}
	if log := s.log(h, 0); log != "ready\ncleaned\n" {
		s.Errorf("log is %q", log)
	}
}

func stopStubborn(s *suite) {
	h := s.start(s.spec(stubborn))
	s.logged(h, 0, "ready\n")
	if err := s.executor.Stop(s.Context(), h, 300*time.Millisecond); err != nil {
		s.Fatal(err)
	}
	state := s.ended(h)
	s.endedBy(state, executor.ReasonStopped)
	if codeOf(state) != "137" {
		s.Errorf("exit code is %s, want that of KILL", codeOf(state))
	}
}

func stopEnded(s *suite) {
	h := s.start(s.spec("exit 4\n"))
	before := s.ended(h)
	if err := s.executor.Stop(s.Context(), h, 0); err != nil {
		s.Fatal(err)
	}
	after := s.ended(h)
	s.exited(after, 4)
	if !after.FinishedAt.Equal(before.FinishedAt) {
		s.Errorf("state changed from %+v to %+v", before, after)
	}
}

func background(s *suite) {
	state, log := s.run(s.spec("sleep 1000 &\n( setsid sleep 1000 & )\necho done\n"))
	s.exited(state, 0)
	if log != "done\n" {
		s.Errorf("log is %q", log)
	}
}
