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

// late runs a script that is over its time, with a timeout in which it says that it is
// ready: one that is too short on a slow machine is made longer.
func (s *suite) late(script, ready string, grace time.Duration) (spec executor.Spec, state executor.State) {
	s.Helper()
	for timeout := time.Second; ; timeout *= 4 {
		spec = s.spec(script)
		spec.Timeout, spec.Grace = timeout, grace
		var log string
		state, log = s.run(spec)
		if log == "" && timeout < s.opts.Wait/4 {
			continue
		}
		s.endedBy(state, executor.ReasonTimeout)
		if log != ready {
			s.Errorf("log is %q", log)
		}
		return spec, state
	}
}

func deadline(s *suite) {
	spec, state := s.late("echo begun\nsleep 1000\n", "begun\n", s.opts.Wait)
	if ran := state.FinishedAt.Sub(state.StartedAt); ran < spec.Timeout {
		s.Errorf("job ended after %v, before its timeout of %v", ran, spec.Timeout)
	}
}

func deadlineStubborn(s *suite) {
	spec, state := s.late(stubborn, "ready\n", 500*time.Millisecond)
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
	spec := s.spec(stubborn)
	spec.Grace = 300 * time.Millisecond // for those who know no other
	h := s.start(spec)
	s.logged(h, 0, "ready\n")
	if err := s.executor.Stop(s.Context(), h, spec.Grace); err != nil {
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
