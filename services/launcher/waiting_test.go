package launcher

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap/zaptest"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/cancellation"
	"github.com/litci/litci/pkg/concurrency"
	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

// part is a workflow of a plan with a number of jobs.
type part struct {
	workflow string
	jobs     int
	options  flow.Options
}

// plan publishes a run of repository 7 with the parts' jobs, and enters its groups
// before, as the planner does.
func (w *world) plan(nonce string, parts ...part) (jobs []flow.Job) {
	w.t.Helper()
	plan := flow.Plan{PlannedAt: time.Now().UTC()}
	for _, p := range parts {
		member := concurrency.Member{Workflow: p.workflow, At: plan.PlannedAt}
		for range p.jobs {
			j := w.job(7, len(jobs))
			j.Run = flow.RunID(1, 7, "push", "", sha, nonce)
			j.Job, j.Check, j.Options, j.Source = flow.JobID(j.Run, j.Index), p.workflow, p.options, ""
			jobs = append(jobs, j)
			plan.Identity = j.Identity
			plan.Jobs = append(plan.Jobs, flow.PlannedJob{Job: j.Job, Check: j.Check, File: p.workflow, Workflow: p.workflow, Optional: p.options.ContinueOnError})
			member.Run, member.Jobs = j.Run, append(member.Jobs, j.Index)
		}
		if c := p.options.Concurrency; c != nil {
			if err := concurrency.Enter(w.t.Context(), w.bus, 7, *c, member); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	if err := bus.PublishPlan(w.t.Context(), w.bus, plan, jobs); err != nil {
		w.t.Fatal(err)
	}
	return jobs
}

// ends ends a job as its watcher does.
func (w *world) ends(m *machine, j flow.Job, c flow.Conclusion) {
	w.t.Helper()
	m.end(external(j))
	if err := verdict.Publish(w.t.Context(), w.bus, flow.ResultOf(j, c, flow.CauseExit, "", time.Now())); err != nil {
		w.t.Fatal(err)
	}
}

// waits waits until people are told that a job waits for something.
func (w *world) waits(j flow.Job, forWhat string) {
	w.t.Helper()
	await(w.t, w.bus, flow.States, func(s flow.Status) bool {
		return s.Job == j.Job && s.Attempt == j.Attempt && s.State == flow.Queued && s.Message == forWhat
	})
}

func (w *world) cancel(j flow.Job, reason string) {
	w.t.Helper()
	request := cancellation.Request{ID: reason, Reason: reason, At: time.Now().UTC()}
	if err := cancellation.Job(w.t.Context(), w.bus, j.Run, j.Index, j.Attempt, request); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) wantResult(j flow.Job, c flow.Conclusion, cause flow.Cause, message string) {
	w.t.Helper()
	if r := w.result(j); r.Conclusion != c || r.Cause != cause || r.Message != message {
		w.t.Errorf("result %s %s %q, want %s %s %q", r.Conclusion, r.Cause, r.Message, c, cause, message)
	}
}

// wantRuns compares the jobs that ever ran, in any order.
func (w *world) wantRuns(m *machine, jobs ...flow.Job) {
	w.t.Helper()
	var want []string
	for _, j := range jobs {
		want = append(want, external(j))
	}
	got, _ := m.begunJobs()
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		w.t.Errorf("ran %v, want %v", got, want)
	}
}

func TestWhatWaitsLeavesWhenItsEndIsAskedFor(t *testing.T) {
	deploy := &flow.Concurrency{Group: "deploy", Queue: "all"}
	for name, test := range map[string]struct {
		second flow.Options
		waits  string
	}{
		"for a slot":     {flow.Options{}, "no free slot: 1 of 1 taken"},
		"for a need":     {flow.Options{Needs: []string{"one"}}, "waits for one"},
		"for a group":    {flow.Options{Concurrency: deploy}, "waits for group deploy"},
		"for the others": {flow.Options{MaxParallel: 1}, "waits for other jobs of two: at most 1 at once"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine()
			w := setup(t, m)
			w.options.Tell = time.Millisecond
			w.run()
			jobs := w.plan("", part{"one", 1, flow.Options{Concurrency: deploy}})
			first := jobs[0]
			w.started(first)
			parts := []part{{"one", 1, flow.Options{}}, {"two", 2, test.second}}
			if test.second.MaxParallel > 0 {
				w.options.Slots = 2
				if _, err := ChangeLimits(t.Context(), w.bus, func(l *Limits) { l.Slots = map[string]int{"": 2} }); err != nil {
					t.Fatal(err)
				}
				parts = parts[1:]
			}
			more := w.plan("more", parts...)
			last := more[len(more)-1]
			w.waits(last, test.waits)
			w.cancel(last, "Nobody wants it.")
			w.wantResult(last, flow.Cancelled, flow.CauseStopped, "Nobody wants it.")
			if ids, _ := m.begunJobs(); slices.Contains(ids, external(last)) {
				t.Error("it ran")
			}
		})
	}
}

func TestDoesNotStartWhatIsCancelledBeforeItComes(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	j, next := w.job(7, 0), w.job(7, 1)
	w.cancel(j, "Superseded by abc1234.")
	w.run()
	w.publish(j, next)
	w.wantResult(j, flow.Cancelled, flow.CauseStopped, "Superseded by abc1234.")
	w.started(next)
	w.wantRuns(m, next)
}

// TestWhatIsCancelledWhileItStartsIsTheWatchers has a request that comes when the
// executor has the job.
func TestWhatIsCancelledWhileItStartsIsTheWatchers(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	j := w.job(7, 0)
	m.after = func(context.Context, executor.Spec) error {
		w.cancel(j, "Too late.")
		return nil
	}
	w.run()
	w.publish(j)
	w.started(j)
	if ended, err := verdict.Of(t.Context(), w.bus, j.Run, j.Index, j.Attempt); err != nil || ended != nil {
		t.Errorf("its verdict is %+v, %v", ended, err)
	}
}

// TestAdoptsWhatADeadLauncherStartedThoughItIsCancelled has a job that runs on an
// executor of two launchers, of which one died before it told anybody.
func TestAdoptsWhatADeadLauncherStartedThoughItIsCancelled(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	j := w.job(7, 0)
	asked := make(chan executor.Spec, 1)
	m.before = func(ctx context.Context, spec executor.Spec, _ int) error {
		asked <- spec
		<-ctx.Done()
		return ctx.Err()
	}
	stop := w.run()
	w.publish(j)
	spec := <-asked
	second := &counting{machine: m, counted: make(chan struct{}, 1)}
	w.executor = second
	w.run()
	<-second.counted // what the first one starts now, the second has not seen
	m.mu.Lock()
	m.jobs[spec.ID] = &machineJob{spec.Hash, executor.State{Phase: executor.Running}}
	m.mu.Unlock()
	w.cancel(j, "Too late.")
	stop()
	w.started(j)
}

// counting is a machine as one of its launchers reaches it.
type counting struct {
	*machine
	// counted has an element once this launcher has the list of the jobs.
	counted chan struct{}
}

func (c *counting) List(ctx context.Context) ([]executor.Handle, error) {
	list, err := c.machine.List(ctx)
	select {
	case c.counted <- struct{}{}:
	default:
	}
	return list, err
}

func TestNeedsAreWaitedFor(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	w.options.Slots = 10
	w.run()
	jobs := w.plan("",
		part{"build", 2, flow.Options{}},
		part{"test", 1, flow.Options{Needs: []string{"build"}}},
		part{"deploy", 1, flow.Options{Needs: []string{"build", "test"}}},
	)
	build, other, test, deploy := jobs[0], jobs[1], jobs[2], jobs[3]
	w.started(build)
	w.started(other)
	w.ends(m, other, flow.Success)
	w.wantRuns(m, build, other)
	w.ends(m, build, flow.Success)
	w.started(test)
	w.wantRuns(m, build, other, test)
	w.ends(m, test, flow.Success)
	w.started(deploy)
}

func TestWhatNeedsAFailureIsSkipped(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	w.options.Slots = 10
	w.run()
	jobs := w.plan("",
		part{"build", 1, flow.Options{}},
		part{"try", 1, flow.Options{ContinueOnError: true}},
		part{"test", 1, flow.Options{Needs: []string{"build"}}},
		part{"deploy", 1, flow.Options{Needs: []string{"test"}}},
		part{"tidy", 1, flow.Options{Needs: []string{"deploy"}, Always: true}},
		part{"report", 1, flow.Options{Needs: []string{"try"}}},
	)
	w.started(jobs[0])
	w.ends(m, jobs[0], flow.Failure)
	w.wantResult(jobs[2], flow.Skip, flow.CauseNeeds, "Not run because build failed.")
	w.wantResult(jobs[3], flow.Skip, flow.CauseNeeds, "Not run because test was skipped.")
	w.started(jobs[4])
	w.started(jobs[1])
	w.ends(m, jobs[1], flow.Failure)
	w.started(jobs[5])
	w.wantRuns(m, jobs[0], jobs[1], jobs[4], jobs[5])
}

// TestNeedsAreKnownToALauncherThatComesLater has needs that ended while nobody
// listened.
func TestNeedsAreKnownToALauncherThatComesLater(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	stop := w.run()
	jobs := w.plan("", part{"build", 1, flow.Options{}}, part{"test", 1, flow.Options{Needs: []string{"build"}}})
	w.started(jobs[0])
	stop()
	w.ends(m, jobs[0], flow.Success)
	w.run()
	w.started(jobs[1])
}

func TestMaxParallelHolds(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	w.options.Slots = 10
	w.run()
	jobs := w.plan("", part{"shards", 6, flow.Options{MaxParallel: 2}})
	byID := map[string]flow.Job{}
	for _, j := range jobs {
		byID[external(j)] = j
	}
	for range jobs {
		w.ends(m, byID[<-m.begun], flow.Failure)
	}
	if ids, most := m.begunJobs(); len(ids) != len(jobs) || most > 2 {
		t.Errorf("%d ran, %d at once", len(ids), most)
	}
}

func TestAGroupRunsOneAfterTheOther(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	w.options.Slots = 10
	w.run()
	deploy := part{"deploy", 2, flow.Options{Concurrency: &flow.Concurrency{Group: "Deploy", Queue: "all"}}}
	var runs [][]flow.Job
	for i := range 3 {
		runs = append(runs, w.plan(fmt.Sprint(i), deploy))
	}
	for i, jobs := range runs {
		for _, j := range jobs {
			w.started(j)
		}
		if ids, _ := m.begunJobs(); len(ids) != 2*(i+1) {
			t.Errorf("in run %d %d jobs have run", i, len(ids))
		}
		for _, j := range jobs {
			w.ends(m, j, flow.Success)
		}
	}
	if _, most := m.begunJobs(); most > 2 {
		t.Errorf("%d ran at once", most)
	}
}

func TestTheNewestOfAGroupReplacesWhatWaits(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	w.options.Slots, w.options.Tell = 10, time.Millisecond
	w.run()
	deploy := part{"deploy", 1, flow.Options{Concurrency: &flow.Concurrency{Group: "deploy"}}}
	first := w.plan("1", deploy)[0]
	w.started(first)
	second := w.plan("2", deploy)[0]
	w.waits(second, "waits for group deploy")
	third := w.plan("3", deploy)[0]
	w.wantResult(second, flow.Cancelled, flow.CauseStopped, "Replaced by a newer run of group deploy.")
	w.ends(m, first, flow.Success)
	w.started(third)
	w.wantRuns(m, first, third)
}

func TestTheNewestOfAGroupStopsWhatRuns(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	w.options.Slots, w.options.Tell = 10, time.Millisecond
	w.run()
	deploy := part{"deploy", 1, flow.Options{Concurrency: &flow.Concurrency{Group: "deploy", CancelInProgress: true}}}
	first := w.plan("1", deploy)[0]
	w.started(first)
	second := w.plan("2", deploy)[0]
	w.waits(second, "waits for group deploy")
	if r, err := cancellation.Of(t.Context(), w.bus, first.Run, 0, 1); err != nil || r == nil {
		t.Fatalf("the first one's end was not asked for: %v", err)
	}
	w.ends(m, first, flow.Cancelled)
	w.started(second)
}

// TestTheDeadlineBeginsWhenTheConditionsAreMet has a job that waited for another one
// for far longer than a job may wait for a slot.
func TestTheDeadlineBeginsWhenTheConditionsAreMet(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	l := New(w.bus, m, w.options, zaptest.NewLogger(t))
	jobs := w.plan("", part{"build", 1, flow.Options{}}, part{"test", 1, flow.Options{Needs: []string{"build"}}})
	if _, err := verdict.Settle(t.Context(), w.bus, flow.ResultOf(jobs[0], flow.Success, flow.CauseExit, "", time.Now())); err != nil {
		t.Fatal(err)
	}
	late := jobs[1]
	late.QueuedAt = time.Now().Add(-24 * time.Hour)
	if err := l.launch(t.Context(), late, func(executor.Handle) {}); err != nil {
		t.Fatal(err)
	}
	w.wantRuns(m, late)
}

// TestWhatWaitsIsBounded has jobs that must wait and are too large to.
func TestWhatWaitsIsBounded(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	w.options.Memory = sizeOf(w.job(7, 0)) * 3 / 2
	l := New(w.bus, m, w.options, zaptest.NewLogger(t))
	l.slots.queue.take("holder")
	first := l.waiting.add(w.job(7, 0), noop.Span{})
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	needy := w.plan("", part{"build", 1, flow.Options{}}, part{"test", 1, flow.Options{Needs: []string{"build"}}})[1]
	for _, j := range []flow.Job{w.job(7, 1), needy} {
		if err := l.launch(ctx, j, func(executor.Handle) {}); !errors.Is(err, errFull) {
			t.Errorf("launch gave %v", err)
		}
	}
	late := w.job(7, 2)
	late.QueuedAt = time.Now().Add(-2 * time.Hour)
	if err := l.launch(ctx, late, func(executor.Handle) {}); err != nil {
		t.Errorf("launch gave %v", err)
	}
	w.wantResult(late, flow.Failure, flow.CauseNoCapacity, "waited 60m for a free slot: all slots were taken")
	if used, _ := l.slots.queue.load(); used != 1 || l.slots.queue.inLine() != 0 || len(l.waiting.jobs) != 1 {
		t.Errorf("%d slots are used, %d are in line", used, l.slots.queue.inLine())
	}
	l.waiting.remove(first)
	if one := l.waiting.add(w.job(7, 3), noop.Span{}); one.beyond {
		t.Error("nothing waits, and there is no room")
	}
}

// TestWhatIsTooLargeToWaitStartsWhenItNeedNot has a job before the one that it needs,
// and room for none to wait.
func TestWhatIsTooLargeToWaitStartsWhenItNeedNot(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	w.options.Memory, w.options.Recheck = 1, 10*time.Millisecond
	w.run()
	jobs := w.plan("", part{"test", 1, flow.Options{Needs: []string{"build"}}}, part{"build", 1, flow.Options{}})
	w.started(jobs[1])
	w.ends(m, jobs[1], flow.Success)
	w.started(jobs[0])
}

func TestTellsWhyAJobWaits(t *testing.T) {
	w := newWaiting(newQueue(bounds{slots: 1}), 1<<20)
	j := aJob()
	one := w.add(j, noop.Span{})
	now := time.Now()
	news := func(after time.Duration) (texts []string) {
		for _, s := range w.news(now.Add(after), time.Second) {
			if s.Job != j.Job || s.State != flow.Queued || s.Check != j.Check {
				t.Errorf("status %+v", s)
			}
			texts = append(texts, s.Message)
		}
		return texts
	}
	for _, step := range []struct {
		after time.Duration
		why   string
		want  []string
	}{
		{0, "waits for a", nil},
		{900 * time.Millisecond, "waits for a", nil},
		{1100 * time.Millisecond, "waits for a", []string{"waits for a"}},
		{3 * time.Second, "waits for a", nil},
		{4 * time.Second, "waits for b", nil},
		{4500 * time.Millisecond, "waits for a", nil}, // b was short: nobody heard of it
		{6 * time.Second, "waits for a", nil},
		{7 * time.Second, "waits for c", nil},
		{8 * time.Second, "waits for c", []string{"waits for c"}},
		{8*time.Second + retell, "waits for c", []string{"waits for c"}}, // nobody must take the launcher for dead
	} {
		w.set(one, nil, reason{waitsNeeds, step.why})
		if got := news(step.after); !slices.Equal(got, step.want) {
			t.Errorf("after %s: %q, want %q", step.after, got, step.want)
		}
	}
	w.unsay(one)
	if got := news(9*time.Second + retell); !slices.Equal(got, []string{"waits for c"}) {
		t.Errorf("what could not be told: %q", got)
	}
	w.remove(one)
	if n := w.count(); len(n) != 0 {
		t.Errorf("waiting are %v", n)
	}
}

func TestTriesAStartAgainThatItsMachineFailed(t *testing.T) {
	m := newMachine()
	m.before = func(_ context.Context, spec executor.Spec, _ int) error {
		if strings.HasSuffix(spec.ID, "-a3") {
			return nil
		}
		return errors.New("the machine is away")
	}
	w := setup(t, m)
	w.options.InfraRetries = 2
	w.run()
	j := w.plan("", part{"build", 1, flow.Options{}})[0]
	third := j
	third.Attempt = 3
	w.started(third)
	await(t, w.bus, flow.Jobs, func(again flow.Job) bool {
		return again.Job == j.Job && again.Attempt == 3 && len(again.Earlier) == 2 && again.Earlier[1].Cause == flow.CauseInfrastructure
	})
	w.wantRuns(m, third)
}

func TestGivesUpAStartThatItsMachineFailsForGood(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	w.options.InfraRetries = 1
	jobs := w.plan("", part{"build", 2, flow.Options{FailFast: true, MaxParallel: 1}})
	m.before = func(ctx context.Context, spec executor.Spec, _ int) error {
		// The other one's turn comes with the verdict, just before its end is asked for.
		for spec.ID == external(jobs[1]) && ctx.Err() == nil {
			if r, err := cancellation.Of(ctx, w.bus, jobs[1].Run, jobs[1].Index, jobs[1].Attempt); r != nil || err != nil {
				break
			}
		}
		return errors.New("the machine is away")
	}
	w.run()
	second := jobs[0]
	second.Attempt = 2
	if r := w.result(second); r.Conclusion != flow.Failure || r.Cause != flow.CauseInfrastructure {
		t.Errorf("result %+v", r)
	}
	w.wantResult(jobs[1], flow.Cancelled, flow.CauseStopped, "Stopped because build failed (fail_fast).")
}

func TestACancelledJobIsNotTriedAgain(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	w.options.InfraRetries = 2
	j := w.plan("", part{"build", 1, flow.Options{}})[0]
	m.before = func(context.Context, executor.Spec, int) error {
		w.cancel(j, "Nobody wants it.")
		return errors.New("the machine is away")
	}
	w.run()
	w.wantResult(j, flow.Cancelled, flow.CauseStopped, "Nobody wants it.")
}

// TestResumesTheAttemptThatWasRaised has a launcher that crashed between raising an
// attempt and publishing it.
func TestResumesTheAttemptThatWasRaised(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	j := w.plan("", part{"build", 1, flow.Options{}})[0]
	if _, err := bus.Change(t.Context(), w.bus.Runs(), verdict.Key(j.Run, 0), func(r *verdict.Record) bool {
		*r = verdict.Record{Attempt: 2, RaisedAt: time.Now().UTC(), Earlier: []flow.Earlier{{Attempt: 1, Cause: flow.CauseInfrastructure}}}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	w.run()
	second := j
	second.Attempt = 2
	w.started(second)
	w.wantRuns(m, second)
}

// TestLooksAgainForThePlanOfAYoungJob has a plan that is not to be seen when its job
// is.
func TestLooksAgainForThePlanOfAYoungJob(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	w.options.Lag = time.Minute
	l := New(w.bus, m, w.options, zaptest.NewLogger(t))
	j := w.job(7, 0)
	j.Options.MaxParallel = 1
	w.publish(j)
	ctx, stop := context.WithTimeout(t.Context(), waitLimit)
	defer stop()
	consumer := bus.Consumer{Service: "launcher", Hold: true, LastWord: bus.LastWord(l.giveUp)}
	err := bus.Consume(ctx, w.bus, flow.Jobs, consumer, func(ctx context.Context, j flow.Job) error {
		err := l.launch(ctx, j, func(executor.Handle) {})
		if err == nil {
			stop()
		} else if bus.Delivery(ctx).Delivered == 1 {
			plan := flow.Plan{Identity: j.Identity, Jobs: []flow.PlannedJob{{Job: j.Job, Workflow: j.Workflow}}}
			err = errors.Join(err, bus.Publish(ctx, w.bus, flow.PlanOf(j.Run), plan))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	w.wantRuns(m, j)
}

func TestADeadLetterEndsItsJob(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	w.run()
	j := w.job(7, 0)
	j.Options.Needs = []string{"build"} // of a run that has no plan
	w.publish(j)
	r := w.result(j)
	if r.Conclusion != flow.Failure || r.Cause != flow.CauseGivenUp || !strings.Contains(r.Message, "launcher") {
		t.Errorf("result %+v", r)
	}
	await(t, w.bus, flow.Subject[flow.Job]("dlq.launcher"), func(d flow.Job) bool { return d.Job == j.Job })
}
