package executortest

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/litci/litci/pkg/executor"
)

func startTwice(s *suite) {
	spec := s.spec("echo once\n")
	first := s.start(spec)
	second, err := s.executor.Start(s.Context(), spec)
	if err != nil {
		s.Fatal(err)
	}
	if first != second {
		s.Errorf("handles differ: %+v, %+v", first, second)
	}
	if first.Executor != s.executor.Name() || first.ID != spec.ID {
		s.Errorf("handle is %+v", first)
	}
	before := s.ended(first)
	s.exited(before, 0)
	third, err := s.executor.Start(s.Context(), spec)
	if err != nil {
		s.Fatal(err)
	}
	if third != first {
		s.Errorf("handle after the end is %+v, want %+v", third, first)
	}
	after := s.ended(third)
	if !after.StartedAt.Equal(before.StartedAt) || !after.FinishedAt.Equal(before.FinishedAt) {
		s.Errorf("job ran again: %+v, then %+v", before, after)
	}
	if log := s.log(third, 0); log != "once\n" {
		s.Errorf("log is %q", log)
	}
}

func startTwenty(s *suite) {
	spec := s.spec("echo once\n")
	handles := make([]executor.Handle, 20)
	errs := make([]error, len(handles))
	var wg sync.WaitGroup
	for i := range handles {
		wg.Go(func() { handles[i], errs[i] = s.executor.Start(s.Context(), spec) })
	}
	wg.Wait()
	s.cleanup(handles[0])
	for i, h := range handles {
		if errs[i] != nil {
			s.Errorf("start %d: %v", i, errs[i])
		}
		if h != handles[0] {
			s.Errorf("handle %d is %+v, want %+v", i, h, handles[0])
		}
	}
	s.exited(s.ended(handles[0]), 0)
	if log := s.log(handles[0], 0); log != "once\n" {
		s.Errorf("log is %q", log)
	}
}

func startConflict(s *suite) {
	spec := s.spec("echo first\n")
	h := s.start(spec)
	other := spec
	other.Hash, other.Script = "another", []byte("echo second\n")
	for range 2 { // while it runs perhaps, and after its end
		if _, err := s.executor.Start(s.Context(), other); !errors.Is(err, executor.ErrConflict) {
			s.Errorf("start of another job under the same id: %v", err)
		}
		s.exited(s.ended(h), 0)
	}
	if log := s.log(h, 0); log != "first\n" {
		s.Errorf("log is %q", log)
	}
}

func exitCodes(s *suite) {
	for _, code := range []int{0, 1, 137, 255} {
		state, _ := s.run(s.spec(fmt.Sprintf("exit %d\n", code)))
		s.exited(state, code)
		if state.StartedAt.IsZero() || state.FinishedAt.Before(state.StartedAt) {
			s.Errorf("times of exit %d: %v, %v", code, state.StartedAt, state.FinishedAt)
		}
	}
}

func exitBySignal(s *suite) {
	state, _ := s.run(s.spec("kill -USR1 $$\n"))
	s.exited(state, 128+10)
}

func shellOptions(s *suite) {
	state, log := s.run(s.spec("echo before\nfalse | true\necho after\n"))
	s.exited(state, 1)
	if log != "before\n" {
		s.Errorf("log is %q", log)
	}
}

func emptyInput(s *suite) {
	state, log := s.run(s.spec("wc -c\n"))
	s.exited(state, 0)
	if strings.TrimSpace(log) != "0" {
		s.Errorf("bytes on standard input: %q", log)
	}
}

func absent(s *suite) {
	h := executor.Handle{Executor: s.executor.Name(), ID: s.spec("").ID}
	state, err := s.executor.Observe(s.Context(), h)
	if err != nil || state.Phase != executor.Absent {
		s.Errorf("state is %q, %v", describe(state), err)
	}
	if err := s.executor.Stop(s.Context(), h, 0); err != nil {
		s.Errorf("stop: %v", err)
	}
	if err := s.executor.Remove(s.Context(), h); err != nil {
		s.Errorf("remove: %v", err)
	}
	if state, err := s.executor.Observe(s.Context(), h); err != nil || state.Phase != executor.Absent {
		s.Errorf("state after stop and remove is %q, %v", describe(state), err)
	}
}

func remove(s *suite) {
	spec := s.spec("trap 'exit 7' TERM\necho ready\nwhile :; do sleep 0.02 || :; done\n")
	h := s.start(spec)
	s.logged(h, 0, "ready\n")
	if err := s.executor.Remove(s.Context(), h); !errors.Is(err, executor.ErrRunning) {
		s.Errorf("remove of a running job: %v", err)
	}
	if err := s.executor.Stop(s.Context(), h, s.opts.Wait); err != nil {
		s.Fatal(err)
	}
	end := s.ended(h)
	for range 2 {
		if err := s.executor.Remove(s.Context(), h); err != nil {
			s.Errorf("remove: %v", err)
		}
	}
	state, err := s.executor.Observe(s.Context(), h)
	if err != nil || state.Phase != executor.Absent && state.Phase != executor.Ended {
		s.Errorf("state after remove is %q, %v", describe(state), err)
	}
	if !s.opts.Tombstone {
		return
	}
	again, err := s.executor.Start(s.Context(), spec)
	if err != nil || again != h {
		s.Errorf("late start gave %+v, %v", again, err)
	}
	if state := s.ended(again); !state.FinishedAt.Equal(end.FinishedAt) || state.Reason != end.Reason {
		s.Errorf("state after a late start is %+v, want %+v", state, end)
	}
}

// list holds where the executor is a Lister.
func list(s *suite) {
	lister, ok := s.executor.(executor.Lister)
	if !ok {
		return
	}
	has := func(h executor.Handle) bool {
		handles, err := lister.List(s.Context())
		if err != nil {
			s.Fatal(err)
		}
		for _, one := range handles {
			if one == h {
				return true
			}
		}
		return false
	}
	h := s.start(s.spec("trap 'exit 0' TERM\necho ready\nwhile :; do sleep 0.02 || :; done\n"))
	if !has(h) {
		s.Error("a running job is not listed")
	}
	s.logged(h, 0, "ready\n")
	if err := s.executor.Stop(s.Context(), h, s.opts.Wait); err != nil {
		s.Fatal(err)
	}
	s.ended(h)
	if !has(h) {
		s.Error("an ended job is not listed")
	}
	if err := s.executor.Remove(s.Context(), h); err != nil {
		s.Fatal(err)
	}
	if has(h) {
		s.Error("a removed job is listed")
	}
}
