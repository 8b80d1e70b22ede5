package watcher

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/cancellation"
	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

func number(n int) *int { return &n }

func TestTriesAgain(t *testing.T) {
	tests := map[string]struct {
		state   executor.State
		options flow.Options
		cause   flow.Cause
	}{
		"a preempted machine":  {executor.State{Reason: executor.ReasonPreempted}, flow.Options{}, flow.CausePreempted},
		"a lost job":           {executor.State{Reason: executor.ReasonLost}, flow.Options{}, flow.CauseInfrastructure},
		"a broken machine":     {executor.State{Reason: executor.ReasonInfrastructure}, flow.Options{}, flow.CauseInfrastructure},
		"an exit code in list": {executor.State{Reason: executor.ReasonExit, ExitCode: number(75)}, flow.Options{Retry: flow.Retry{OnExit: []int{75}}}, flow.CauseExit},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := newScene()
			w := setup(t, e)
			w.options.InfraRetries = 2
			e.print("half a log\n")
			e.end(test.state)
			test.options.FailFast = true
			s := w.planned(test.options)
			w.run()
			w.publish(s)
			again := await(t, w.bus, flow.Jobs, func(j flow.Job) bool { return j.Job == s.Job && j.Attempt == 2 })
			if len(again.Earlier) != 1 {
				t.Fatalf("second attempt %+v", again)
			}
			earlier := again.Earlier[0]
			if earlier.Attempt != 1 || earlier.Cause != test.cause || earlier.Conclusion != flow.Failure || earlier.Message == "" ||
				earlier.Rerun || w.archived(earlier.Log) != "half a log\n" || !again.QueuedAt.Equal(earlier.At) {
				t.Errorf("earlier attempt %+v", earlier)
			}
			if all := w.results(s); len(all) != 0 {
				t.Errorf("results %+v", all)
			}
			for i := range s.Index {
				if r, err := cancellation.Of(t.Context(), w.bus, s.Run, i, 1); r != nil || err != nil {
					t.Errorf("job %d is to be stopped: %+v, %v", i, r, err)
				}
			}
		})
	}
}

func TestIsNotTriedAgain(t *testing.T) {
	lost := executor.State{Reason: executor.ReasonLost}
	tests := map[string]struct {
		state      executor.State
		earlier    int
		cancelled  bool
		conclusion flow.Conclusion
		cause      flow.Cause
	}{
		"what failed by itself":     {state: executor.State{Reason: executor.ReasonExit, ExitCode: number(1)}, conclusion: flow.Failure, cause: flow.CauseExit},
		"what was too slow":         {state: executor.State{Reason: executor.ReasonTimeout}, conclusion: flow.TimedOut, cause: flow.CauseDeadline},
		"what took too much memory": {state: executor.State{Reason: executor.ReasonMemory}, conclusion: flow.Failure, cause: flow.CauseMemory},
		"what was lost thrice":      {state: lost, earlier: 2, conclusion: flow.Failure, cause: flow.CauseInfrastructure},
		"what was cancelled":        {state: lost, cancelled: true, conclusion: flow.Cancelled, cause: flow.CauseStopped},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			e := newScene()
			w := setup(t, e)
			w.options.InfraRetries = 2
			e.end(test.state)
			s := w.planned(flow.Options{})
			for i := range test.earlier {
				if ok, err := verdict.Raise(t.Context(), w.bus, s.Run, s.Index, flow.Earlier{Attempt: i + 1, Cause: flow.CauseInfrastructure, At: time.Now()}); !ok || err != nil {
					t.Fatal(ok, err)
				}
			}
			if test.cancelled {
				w.cancel(s, time.Now())
			}
			s.Attempt = test.earlier + 1
			w.run()
			w.publish(s)
			if r := w.result(s); r.Conclusion != test.conclusion || r.Cause != test.cause || r.Attempt != s.Attempt {
				t.Errorf("result %+v", r)
			}
			if all := w.attempts(s); len(all) != test.earlier {
				t.Errorf("attempts %+v", all)
			}
		})
	}
}

// What may still run is not started a second time.
func TestDoesNotTryAgainWhatItCannotSee(t *testing.T) {
	e := newScene()
	w := setup(t, e)
	w.options.InfraRetries = 2
	away := func() error { return errors.New("away") }
	e.onObserve, e.onLogs, e.onStop = away, away, away
	s := w.planned(flow.Options{})
	s.At = time.Now().Add(-6 * time.Minute)
	w.run()
	w.publish(s)
	if r := w.result(s); r.Cause != flow.CauseInfrastructure || !strings.Contains(r.Notes[len(r.Notes)-1], "may still run") {
		t.Errorf("result %+v", r)
	}
	if all := w.attempts(s); len(all) != 0 {
		t.Errorf("attempts %+v", all)
	}
}

// Watchers that take the message again, at any time and two at once, raise one
// attempt and give no verdict.
func TestRaisesOneAttempt(t *testing.T) {
	e := newScene()
	w := setup(t, e)
	w.options.InfraRetries = 2
	e.end(executor.State{Reason: executor.ReasonPreempted})
	s := w.planned(flow.Options{})
	ended := make(chan error, 3)
	for range cap(ended) {
		go func() { ended <- w.watcher().watch(t.Context(), s) }()
	}
	for range cap(ended) {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if err := w.watcher().watch(t.Context(), s); err != nil {
		t.Error(err)
	}
	if all := w.attempts(s); len(all) != 1 || all[0].Attempt != 2 {
		t.Errorf("attempts %+v", all)
	}
	if all := w.results(s); len(all) != 0 {
		t.Errorf("results %+v", all)
	}
}

func TestPublishesTheAttemptThatACrashLeftUnpublished(t *testing.T) {
	w := setup(t, newScene())
	s := w.planned(flow.Options{})
	if _, err := bus.Change(t.Context(), w.bus.Runs(), verdict.Key(s.Run, s.Index), func(r *verdict.Record) bool {
		*r = verdict.Record{Attempt: 2, Earlier: []flow.Earlier{{Attempt: 1, Cause: flow.CausePreempted}}, RaisedAt: time.Now().UTC()}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	// Somebody asked for the first attempt's end meanwhile, and meant the job.
	request := cancellation.Request{ID: "x", Reason: "Cancelled by mona.", At: time.Now()}
	if err := cancellation.Job(t.Context(), w.bus, s.Run, s.Index, 1, request); err != nil {
		t.Fatal(err)
	}
	w.run()
	w.publish(s)
	await(t, w.bus, flow.Jobs, func(j flow.Job) bool { return j.Job == s.Job && j.Attempt == 2 })
	s.Attempt = 2
	w.publish(s)
	if r := w.result(s); r.Conclusion != flow.Cancelled || r.Attempt != 2 || r.Message != "Cancelled by mona." {
		t.Errorf("result %+v", r)
	}
}

func TestStopsTheOthersBeforeItTellsOfTheFailure(t *testing.T) {
	for name, recorded := range map[string]bool{"in one go": false, "after a crash": true} {
		t.Run(name, func(t *testing.T) {
			e := newScene()
			w := setup(t, e)
			e.exit(1)
			s := w.planned(flow.Options{FailFast: true})
			if recorded {
				r := resultOf(&s, ending{flow.Failure, flow.CauseExit, "exit 1"}, time.Now().UTC())
				if _, err := verdict.Settle(t.Context(), w.bus, r); err != nil {
					t.Fatal(err)
				}
			}
			w.run()
			w.publish(s)
			w.result(s)
			for i := range s.Index {
				r, err := cancellation.Of(t.Context(), w.bus, s.Run, i, 1)
				if err != nil || r == nil || r.Reason != "Stopped because ci.yml / test failed (fail_fast)." {
					t.Errorf("job %d: %+v, %v", i, r, err)
				}
			}
		})
	}
}

// What is given up has a verdict, unless it had one, and only where a job hangs on it.
func TestSaysTheLastWord(t *testing.T) {
	w := setup(t, newScene())
	s := w.planned(flow.Options{})
	say := func(s flow.Status) {
		t.Helper()
		if err := w.watcher().lastWord(t.Context(), s, errors.New("poison: given-secret")); err != nil {
			t.Fatal(err)
		}
	}
	running := s
	running.State = flow.Running
	say(running)
	if all := w.results(s); len(all) != 0 {
		t.Fatalf("results %+v", all)
	}
	say(s)
	say(s)
	all := w.results(s)
	if len(all) != 1 || all[0].Cause != flow.CauseGivenUp || all[0].Message != "litci gave up watching this job: poison: ***" {
		t.Errorf("results %+v", all)
	}
}
