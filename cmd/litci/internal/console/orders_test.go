package console

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/cancellation"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

const testRun = "abcdefghijklmnopqrst"

// patience is how long a test waits for what must come.
const patience = 2 * time.Minute

// mesh is a bus on which the tests play all services.
type mesh struct {
	t *testing.T
	*bus.Bus
	out, words *text
}

// text is what a command writes while a test reads it.
type text struct {
	mu      sync.Mutex
	written bytes.Buffer
	changed chan struct{}
}

func newText() *text { return &text{changed: make(chan struct{})} }

func (x *text) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	close(x.changed)
	x.changed = make(chan struct{})
	return x.written.Write(p)
}

func (x *text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.written.String()
}

// until waits until the text has some part.
func (x *text) until(t *testing.T, part string) {
	t.Helper()
	late := time.After(patience)
	for {
		x.mu.Lock()
		have, changed := x.written.String(), x.changed
		x.mu.Unlock()
		if strings.Contains(have, part) {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("no %q in %q", part, have)
		}
	}
}

// newMesh has a run of so many jobs.
func newMesh(t *testing.T, jobs int) *mesh {
	t.Helper()
	m := &mesh{t: t, Bus: bustest.New(t), out: newText(), words: newText()}
	id := flow.Identity{Delivery: "d", Installation: 3, Repo: flow.Repo{ID: 2, Owner: "octo", Name: "hello"}, Event: "push", SHA: "abc", Run: testRun}
	plan := flow.Plan{Identity: id, PlannedAt: now}
	var planned []flow.Job
	for i := range jobs {
		check := "a.yml / " + string(rune('A'+i))
		plan.Jobs = append(plan.Jobs, flow.PlannedJob{Job: flow.JobID(testRun, i), Check: check, File: "a.yml"})
		planned = append(planned, flow.Job{Identity: id, Job: flow.JobID(testRun, i), Index: i, Attempt: 1, Check: check})
	}
	m.must(bus.PublishPlan(t.Context(), m.Bus, plan, planned))
	return m
}

func (m *mesh) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *mesh) order() Order {
	return Order{Bus: m.Bus, By: "ada", Patience: patience, Out: m.out, Words: m.words}
}

// settle gives an attempt its verdict.
func (m *mesh) settle(index, attempt int, c flow.Conclusion, message, log string) {
	m.t.Helper()
	_, err := verdict.Settle(m.t.Context(), m.Bus, flow.Result{
		Identity: flow.Identity{Run: testRun}, Job: flow.JobID(testRun, index), Index: index, Attempt: attempt, Conclusion: c, Cause: flow.CauseExit,
		Message: message, Log: log,
	})
	m.must(err)
}

func (m *mesh) raise(index int, gone flow.Earlier) {
	m.t.Helper()
	raised, err := verdict.Raise(m.t.Context(), m.Bus, testRun, index, gone)
	m.must(err)
	if !raised {
		m.t.Fatalf("attempt %d was not raised", gone.Attempt+1)
	}
}

func (m *mesh) block(attempt int, offset int64, text string) {
	m.t.Helper()
	job := flow.JobID(testRun, 0)
	m.must(bus.Publish(m.t.Context(), m.Bus, flow.LogOf(job), flow.LogBlock{Job: job, Attempt: attempt, Offset: offset, Text: text}))
}

func (m *mesh) archive(attempt int, text string) string {
	m.t.Helper()
	name := flow.LogName(flow.JobID(testRun, 0), attempt)
	m.must(m.Logs().Put(m.t.Context(), name, strings.NewReader(text)))
	return name
}

// A run that the reporter has not heard of is found by its plan.
func TestFollowingGoesThroughAttempts(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 1)
	_, job, err := FindJob(t.Context(), m.Bus, testRun)
	m.must(err)
	type end struct {
		conclusion flow.Conclusion
		err        error
	}
	done := make(chan end, 1)
	go func() {
		c, err := Log{Bus: m.Bus, Follow: true, Out: m.out, Words: m.words}.Show(t.Context(), job)
		done <- end{c, err}
	}()
	m.words.until(t, "abcdefghijklmnopqrst-0-a1 waits: queued.")
	m.block(1, 0, "one\n")
	m.out.until(t, "one\n")
	m.raise(0, flow.Earlier{Attempt: 1, Cause: flow.CausePreempted, Message: "The machine was taken back.", Log: m.archive(1, "one\nlost\n")})
	m.words.until(t, "abcdefghijklmnopqrst-0-a1 gave way to attempt 2: The machine was taken back.")
	m.block(2, 0, "two\n")
	m.block(2, 4, "three\n")
	m.out.until(t, "three\n")
	m.settle(0, 2, flow.Failure, "exit 1", m.archive(2, "two\nthree\nfour\n"))
	if e := <-done; e.err != nil || e.conclusion != flow.Failure {
		t.Errorf("followed to %q, %v", e.conclusion, e.err)
	}
	if want := "one\nlost\ntwo\nthree\nfour\n"; m.out.String() != want {
		t.Errorf("log is %q, want %q", m.out.String(), want)
	}

	// Each attempt's own, afterwards.
	_, job, err = FindJob(t.Context(), m.Bus, testRun+"-0")
	m.must(err)
	for attempt, want := range map[int]string{0: "two\nthree\nfour\n", 1: "one\nlost\n", 2: "two\nthree\nfour\n"} {
		var out bytes.Buffer
		c, err := Log{Bus: m.Bus, Attempt: attempt, Follow: attempt == 1, Out: &out, Words: m.words}.Show(t.Context(), job)
		if err != nil || c != flow.Failure || out.String() != want {
			t.Errorf("log of attempt %d: %q %q, %v; want %q", attempt, c, &out, err, want)
		}
	}
}

func TestInterruptedFollowingLeavesTheJob(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 1)
	_, job, err := FindJob(t.Context(), m.Bus, testRun)
	m.must(err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := Log{Bus: m.Bus, Follow: true, Out: m.out, Words: m.words}.Show(ctx, job)
		done <- err
	}()
	m.words.until(t, "waits")
	stop()
	if err := <-done; err != context.Canceled {
		t.Errorf("interrupted: %v", err)
	}
	if r, err := cancellation.Of(t.Context(), m.Bus, testRun, 0, 1); err != nil || r != nil {
		t.Errorf("its end was asked for: %+v, %v", r, err)
	}
}

func TestAJobWithoutALogSaysWhy(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 1)
	m.settle(0, 1, flow.Failure, "No machine was free.", "")
	_, job, err := FindJob(t.Context(), m.Bus, testRun)
	m.must(err)
	if _, err := (Log{Bus: m.Bus, Out: m.out, Words: m.words}).Show(t.Context(), job); err != nil || m.out.String() != "" {
		t.Errorf("log %q, %v", m.out, err)
	}
	if want := "There is no log of abcdefghijklmnopqrst-0-a1: No machine was free.\n"; m.words.String() != want {
		t.Errorf("words are %q, want %q", m.words.String(), want)
	}
}

// A job that is tried again just as its end is asked for ends all the same.
func TestCancellingReachesTheAttemptThatComesMeanwhile(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 1)
	type end struct {
		ok  bool
		err error
	}
	done := make(chan end, 1)
	go func() {
		ok, err := m.order().Cancel(t.Context(), []string{testRun + "-0"}, "")
		done <- end{ok, err}
	}()
	m.words.until(t, "Asked for the end of abcdefghijklmnopqrst-0-a1")
	r, err := cancellation.Of(t.Context(), m.Bus, testRun, 0, 1)
	if err != nil || r == nil || r.By != "ada" || r.Reason != "Cancelled by ada." {
		t.Fatalf("request is %+v, %v", r, err)
	}
	asked := make(chan struct{})
	var board cancellation.Board
	watching, stop := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() { board.Run(watching, m.Bus) })
	channel, release := board.Watch(testRun, 0, 2)
	wait.Go(func() {
		select {
		case <-channel:
			close(asked)
		case <-watching.Done():
		}
	})
	m.raise(0, flow.Earlier{Attempt: 1, Cause: flow.CausePreempted})
	select {
	case <-asked:
	case <-time.After(patience):
		t.Error("the end of the second attempt was not asked for")
	}
	release()
	stop()
	wait.Wait()
	m.settle(0, 2, flow.Cancelled, "Cancelled by ada.", "")
	if e := <-done; e.err != nil || !e.ok {
		t.Errorf("cancelled: %t, %v", e.ok, e.err)
	}
	if want := "abcdefghijklmnopqrst-0-a2  a.yml / A  cancelled  Cancelled by ada.\n"; m.out.String() != want {
		t.Errorf("output is %q, want %q", m.out.String(), want)
	}
}

// The watcher raises the attempt between the look at the job and the request, and
// finds no request to carry; nobody waits to see it.
func TestCancellingReachesTheAttemptThatCameUnseen(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		arg  string
		gone flow.Earlier
		want bool
	}{
		"of litci itself":                         {testRun + "-0", flow.Earlier{Attempt: 1, Cause: flow.CausePreempted}, true},
		"while just the attempt before was meant": {testRun + "-0-a1", flow.Earlier{Attempt: 1, Cause: flow.CausePreempted}, false},
		"that somebody wants":                     {testRun + "-0", flow.Earlier{Attempt: 1, Rerun: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMesh(t, 1)
			o, left := m.order(), pending{}
			targets, runs, err := o.find(t.Context(), []string{c.arg})
			m.must(err)
			if c.gone.Rerun {
				m.settle(0, 1, flow.Failure, "exit 1", "")
			}
			m.raise(0, c.gone)
			m.must(verdict.Carry(t.Context(), m.Bus, testRun, 0, 1))
			if ok, err := o.ask(t.Context(), targets[0], runs[0], cancellation.Request{ID: "x", Reason: "y", At: time.Now()}, left); !ok || err != nil {
				t.Fatalf("asked: %t, %v", ok, err)
			}
			if r, err := cancellation.Of(t.Context(), m.Bus, testRun, 0, 2); err != nil || (r != nil) != c.want {
				t.Errorf("the end of the second attempt is asked for: %+v, %v", r, err)
			}
		})
	}
}

func TestCancellingARunTellsWhatEndedByItself(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 3)
	m.settle(0, 1, flow.Success, "exit 0", "")
	done := make(chan bool, 1)
	go func() {
		ok, err := m.order().Cancel(t.Context(), []string{testRun}, "Enough.")
		done <- ok && err == nil
	}()
	m.words.until(t, "Asked for the end of run abcdefghijklmnopqrst: 2 of 3 jobs are open.")
	m.settle(1, 1, flow.Success, "exit 0", "")
	m.out.until(t, "a.yml / B")
	m.settle(2, 1, flow.Cancelled, "Enough.", "")
	if !<-done {
		t.Error("cancelling failed")
	}
	if want := "abcdefghijklmnopqrst-1-a1  a.yml / B  success  exit 0\nabcdefghijklmnopqrst-2-a1  a.yml / C  cancelled  Enough.\n"; m.out.String() != want {
		t.Errorf("output is %q, want %q", m.out.String(), want)
	}
}

func TestAVerdictThatDoesNotComeIsToldInTime(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 1)
	o := m.order()
	o.Patience = time.Millisecond
	ok, err := o.Cancel(t.Context(), []string{testRun}, "")
	if ok || err == nil || !strings.Contains(err.Error(), "within 1ms: 1 job has no verdict yet; the request stands") {
		t.Errorf("cancelled: %t, %v", ok, err)
	}
}

func TestRerunAsksForJustTheJobsThatAreMeant(t *testing.T) {
	t.Parallel()
	m := newMesh(t, 3)
	m.settle(0, 1, flow.Success, "", "")
	m.settle(1, 1, flow.Failure, "", "")
	m.settle(2, 1, flow.TimedOut, "", "")
	done := make(chan bool, 1)
	go func() {
		ok, err := m.order().Rerun(t.Context(), []string{testRun}, true)
		done <- ok && err == nil
	}()
	m.words.until(t, "Asked for another attempt of abcdefghijklmnopqrst-2, a.yml / C.")
	var asked []string
	m.must(bus.Scan(t.Context(), m.Bus, flow.Events, bus.From{}, func(_ bus.Meta, e flow.Event) bool {
		if e.Kind != flow.KindRerun || e.Sender.Login != "ada" || e.Installation != 3 || e.Repo.FullName() != "octo/hello" || !strings.HasPrefix(e.Delivery, "operator-") {
			t.Errorf("event is %+v", e)
		}
		asked = append(asked, e.Rerun.Run+" "+e.Rerun.Attempt)
		return true
	}))
	if want := testRun + " " + testRun + "-1-a1," + testRun + " " + testRun + "-2-a1"; strings.Join(asked, ",") != want {
		t.Errorf("asked for %q, want %q", asked, want)
	}
	for _, index := range []int{1, 2} {
		m.raise(index, flow.Earlier{Attempt: 1, Rerun: true, By: "ada"})
	}
	if !<-done {
		t.Error("running again failed")
	}
	if want := "abcdefghijklmnopqrst-1-a2  a.yml / B  queued\nabcdefghijklmnopqrst-2-a2  a.yml / C  queued\n"; m.out.String() != want {
		t.Errorf("output is %q, want %q", m.out.String(), want)
	}
}
