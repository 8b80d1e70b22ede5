// Package executortest is the suite that every executor passes. It knows the seam
// alone: what a job says it says through its log, and what a test says to a job it
// says through Stop.
package executortest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/pkg/executor"
)

// Options say how an executor differs from the others, where the seam allows it.
type Options struct {
	// Prepare sets what jobs need at this place: an image, a machine.
	Prepare func(*executor.Spec)
	// Output is how much the job with a large output writes, in bytes; zero means
	// 100 MB.
	Output int64
	// Wait bounds how long one job may take to get from one state to the next; zero
	// means two minutes. It is only reached by what is broken.
	Wait time.Duration
	// Environment names the variables that the place adds beyond those of the
	// workflow; others must not be there.
	Environment []string
	// NoSource says that the place does not unpack Spec.Source itself.
	NoSource bool
	// Tombstone says that a job which was removed is not run again by a late Start.
	Tombstone bool
}

// Canary is an environment variable that Run sets in the test's own process. No
// job may see it.
const Canary = "LITCI_TEST_CANARY"

// Run puts executors that newExecutor makes through the suite. Each test gets an
// executor of its own.
func Run(t *testing.T, newExecutor func(t *testing.T) executor.Executor, opts Options) {
	if opts.Output == 0 {
		opts.Output = 100_000_000
	}
	if opts.Wait == 0 {
		opts.Wait = 2 * time.Minute
	}
	t.Setenv(Canary, canaryValue)
	t.Setenv("GIT_DIR", canaryValue)
	t.Setenv("GITHUB_PRIVATE_KEY", canaryValue)
	// The group ends, with all its parallel tests, before the environment is put back.
	t.Run("group", func(t *testing.T) {
		for _, test := range tests() {
			if test.needsSource && opts.NoSource {
				continue
			}
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				test.run(&suite{T: t, executor: newExecutor(t), opts: opts})
			})
		}
	})
}

type test struct {
	name        string
	run         func(*suite)
	needsSource bool
}

func tests() []test {
	return []test{
		{name: "start twice is start once", run: startTwice},
		{name: "twenty starts at once are one", run: startTwenty},
		{name: "another job of the same id is a conflict", run: startConflict},
		{name: "exit codes", run: exitCodes},
		{name: "a signal is 128 and its number", run: exitBySignal},
		{name: "scripts arrive byte by byte", run: scripts},
		{name: "scripts run under errexit and pipefail", run: shellOptions},
		{name: "environment arrives byte by byte", run: environmentExact},
		{name: "nothing of ours is in the environment", run: environmentClean},
		{name: "impossible environment is refused", run: environmentRefused},
		{name: "standard input is empty", run: emptyInput},
		{name: "large output", run: largeOutput},
		{name: "deadline", run: deadline},
		{name: "deadline with children that ignore TERM", run: deadlineStubborn},
		{name: "stop lets the script end in its own way", run: stopGraceful},
		{name: "stop ends what ignores TERM", run: stopStubborn},
		{name: "stop of an ended job does nothing", run: stopEnded},
		{name: "background children do not keep the job", run: background},
		{name: "logs from an offset", run: logOffsets},
		{name: "absent", run: absent},
		{name: "remove", run: remove},
		{name: "list", run: list},
		{name: "source is unpacked", run: sourceUnpacked, needsSource: true},
		{name: "source is opened only to start", run: sourceOnce, needsSource: true},
		{name: "source that fails can be tried again", run: sourceRetried, needsSource: true},
		{name: "hostile sources are refused", run: sourceHostile, needsSource: true},
		{name: "links out of the workspace are left out", run: sourceLinks, needsSource: true},
	}
}

// suite is one test with its executor.
type suite struct {
	*testing.T
	executor executor.Executor
	opts     Options
}

// spec makes a job with an id that nobody else has.
func (s *suite) spec(script string) executor.Spec {
	spec := executor.Spec{
		ID:      "litci-" + strings.ToLower(rand.Text()[:20]) + "-0-a1",
		Hash:    "sha256:" + strings.ToLower(rand.Text()),
		Script:  []byte(script),
		Env:     map[string]string{},
		Timeout: s.opts.Wait,
		Grace:   s.opts.Wait,
	}
	if s.opts.Prepare != nil {
		s.opts.Prepare(&spec)
	}
	return spec
}

// start begins a job and ends and removes it when the test is over.
func (s *suite) start(spec executor.Spec) executor.Handle {
	s.Helper()
	h, err := s.executor.Start(s.Context(), spec)
	if err != nil {
		s.Fatalf("start: %v", err)
	}
	s.cleanup(h)
	return h
}

func (s *suite) cleanup(h executor.Handle) {
	s.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), s.opts.Wait)
		defer cancel()
		if err := s.executor.Stop(ctx, h, 0); err != nil {
			s.Errorf("clean-up: %v", err)
		}
		if _, err := s.until(ctx, h, func(state executor.State) bool {
			return state.Phase == executor.Ended || state.Phase == executor.Absent
		}); err != nil {
			s.Errorf("clean-up: %v", err)
			return
		}
		if err := s.executor.Remove(ctx, h); err != nil {
			s.Errorf("clean-up: %v", err)
		}
	})
}

// pollEvery is how often the suite looks at a job it waits for.
const pollEvery = 20 * time.Millisecond

// until observes a job until it is as wanted.
func (s *suite) until(ctx context.Context, h executor.Handle, wanted func(executor.State) bool) (executor.State, error) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		state, err := s.executor.Observe(ctx, h)
		if err != nil || wanted(state) {
			return state, err
		}
		select {
		case <-ctx.Done():
			return state, errors.Join(ctx.Err(), errors.New("last state: "+describe(state)))
		case <-tick.C:
		}
	}
}

func describe(state executor.State) string {
	return strings.TrimSpace(string(state.Phase) + " " + string(state.Reason) + " " + state.Message)
}

// ended waits for the job's end.
func (s *suite) ended(h executor.Handle) executor.State {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), s.opts.Wait)
	defer cancel()
	state, err := s.until(ctx, h, func(state executor.State) bool { return state.Phase == executor.Ended })
	if err != nil {
		s.Fatalf("end of job %s: %v", h.ID, err)
	}
	if state.FinishedAt.IsZero() {
		s.Errorf("an ended job has no time of its end: %+v", state)
	}
	return state
}

// logged waits until the log from an offset begins with the text.
func (s *suite) logged(h executor.Handle, from int64, text string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), s.opts.Wait)
	defer cancel()
	var got string
	_, err := s.until(ctx, h, func(executor.State) bool {
		got = s.log(h, from)
		return strings.HasPrefix(got, text)
	})
	if err != nil {
		s.Fatalf("log from %d is %q, want %q: %v", from, got, text, err)
	}
}

// log reads the log from an offset to what is there now.
func (s *suite) log(h executor.Handle, from int64) string {
	s.Helper()
	r, err := s.executor.Logs(s.Context(), h, from)
	if err != nil {
		s.Fatalf("log from %d: %v", from, err)
	}
	defer r.Close()
	var b bytes.Buffer
	if _, err := io.Copy(&b, r); err != nil {
		s.Fatalf("log from %d: %v", from, err)
	}
	return b.String()
}

// run runs a job to its end and returns its state and its log.
func (s *suite) run(spec executor.Spec) (executor.State, string) {
	s.Helper()
	h := s.start(spec)
	state := s.ended(h)
	return state, s.log(h, 0)
}

// exited checks a job that ended by itself.
func (s *suite) exited(state executor.State, code int) {
	s.Helper()
	s.endedBy(state, executor.ReasonExit)
	if state.ExitCode == nil || *state.ExitCode != code {
		s.Errorf("exit code is %s, want %d", codeOf(state), code)
	}
}

func (s *suite) endedBy(state executor.State, reason executor.Reason) {
	s.Helper()
	if state.Phase != executor.Ended || state.Reason != reason {
		s.Errorf("state is %q, want ended by %q", describe(state), reason)
	}
}
