package lightning

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/executortest"
	"github.com/litci/litci/pkg/executor/lightning/fakelightning"
)

const jobsPath = "/v1/projects/01kfakeproject/jobs"

// posts counts the requests to make a job.
func (w *world) posts() int {
	n := 0
	for _, r := range w.Requests() {
		if r.Method == "POST" {
			n++
		}
	}
	return n
}

// Whatever happens to the request that makes a job, there is one in the end.
func TestAnswersThatAreLost(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault fakelightning.Fault
		posts int
	}{
		"500 before its effect":      {fakelightning.Fault{Kind: fakelightning.ErrorBefore}, 2},
		"500 after its effect":       {fakelightning.Fault{Kind: fakelightning.ErrorAfter}, 1},
		"connection reset afterward": {fakelightning.Fault{Kind: fakelightning.ResetAfter}, 1},
		"page of a proxy":            {fakelightning.Fault{Kind: fakelightning.Proxy}, 1},
		"half an answer":             {fakelightning.Fault{Kind: fakelightning.Truncated}, 1},
		"slow down":                  {fakelightning.Fault{Kind: fakelightning.Busy}, 2},
		"late answer":                {fakelightning.Fault{Kind: fakelightning.Late, Delay: 50 * time.Millisecond}, 1},
		"no answer":                  {fakelightning.Fault{Kind: fakelightning.Hang}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, fakelightning.Options{})
			e := w.executor(t, func(c *Config) {
				if test.fault.Kind == fakelightning.Hang {
					c.Pace.Call = 5 * time.Second // for the other requests too
				}
			})
			test.fault.Method, test.fault.Path = "POST", jobsPath
			w.Fault(test.fault)
			job := spec("lost", "ok", "echo once\n")
			h := executortest.Start(t, e, job)
			if again := executortest.Start(t, w.executor(t, nil), job); again != h {
				t.Errorf("handles are %+v and %+v", h, again)
			}
			if n := len(w.Jobs()); n != 1 || w.posts() > test.posts {
				t.Errorf("there are %d jobs, of %d requests", n, w.posts())
			}
			if executortest.Until(t, e, h, executor.Ended); executortest.Output(t, e, h) != "once\n" {
				t.Errorf("log is %q", executortest.Output(t, e, h))
			}
		})
	}
}

// An error of every request to make a job is an error, and no twin.
func TestServiceThatIsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakelightning.Options{})
	e := w.executor(t, nil)
	w.Fault(fakelightning.Fault{Kind: fakelightning.ErrorBefore, Method: "POST", Path: jobsPath, Times: 100})
	_, err := e.Start(t.Context(), spec("down", "ok", "true\n"))
	if _, final := errors.AsType[*executor.StartError](err); err == nil || final {
		t.Errorf("start: %v", err)
	}
	if w.posts() > 2 {
		t.Errorf("%d jobs were asked for", w.posts())
	}
}

// Reading and stopping is tried again.
func TestHarmlessRequestsAreRepeated(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakelightning.Options{})
	e := w.executor(t, nil)
	h := executortest.Start(t, e, spec("again", "ok", "trap 'exit 0' TERM\necho ready\nwhile :; do sleep 0.05; done\n"))
	executortest.Until(t, e, h, executor.Running)
	for _, kind := range []fakelightning.Kind{fakelightning.ErrorBefore, fakelightning.ResetAfter, fakelightning.Proxy, fakelightning.Truncated, fakelightning.Busy} {
		w.Fault(fakelightning.Fault{Kind: kind, Method: "GET", Path: h.Ref})
		if _, err := e.Observe(t.Context(), h); err != nil {
			t.Errorf("fault %d: %v", kind, err)
		}
		w.Fault(fakelightning.Fault{Kind: kind, Method: "GET", Path: "/page-logs"})
		executortest.Output(t, e, h)
	}
	w.Fault(fakelightning.Fault{Kind: fakelightning.ErrorAfter, Method: "PUT", Path: h.Ref})
	if err := e.Stop(t.Context(), h, 0); err != nil {
		t.Error(err)
	}
	executortest.Until(t, e, h, executor.Ended)
}

// Two processes that start the same job at the same time make it twice; one is left.
func TestTwins(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakelightning.Options{})
	job := spec("twins", "ok", "echo once\nsleep 0.3\n")
	var wg sync.WaitGroup
	handles := make([]executor.Handle, 20)
	errs := make([]error, len(handles))
	one, two := w.executor(t, nil), w.executor(t, nil)
	for i := range handles {
		e := one
		if i%2 == 1 {
			e = two
		}
		wg.Go(func() { handles[i], errs[i] = e.Start(t.Context(), job) })
	}
	wg.Wait()
	for i, h := range handles {
		if errs[i] != nil || h != handles[0] {
			t.Fatalf("start %d: %+v, %v", i, h, errs[i])
		}
	}
	if jobs := w.Jobs(); len(jobs) != 1 || jobs[0].Name != job.ID {
		t.Errorf("jobs are %+v", jobs)
	}
	executortest.Until(t, one, handles[0], executor.Ended)
}

// A twin whose maker was killed is found by the janitor, and nothing else is.
func TestJanitor(t *testing.T) {
	t.Parallel()
	for _, options := range []fakelightning.Options{{}, {NoFind: true}, {NoFind: true, KeepDeleted: true}} {
		w := newWorld(t, options)
		e := w.executor(t, func(c *Config) { c.Instance = "here" })
		elsewhere := w.executor(t, func(c *Config) { c.Instance = "elsewhere" })
		job := spec("kept", "hang", "echo ready\nwhile :; do sleep 0.05; done\n")
		h := executortest.Start(t, e, job)
		p, err := e.place(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, maker := range []*Executor{e, elsewhere} {
			want, err := maker.request(t.Context(), p, job)
			if err != nil {
				t.Fatal(err)
			}
			var made struct{ Name string }
			body := map[string]any{"name": job.ID, "spec": want}
			if err := maker.client.once(t.Context(), "POST", p.jobs(), nil, body, &made); err != nil || made.Name == job.ID {
				t.Fatalf("twin is %q, %v", made.Name, err)
			}
		}
		if n, err := e.Tidy(t.Context()); err != nil || n != 1 {
			t.Errorf("%d twins, %v", n, err)
		}
		if jobs := w.Jobs(); len(jobs) != 2 || jobs[0].ID != h.Ref {
			t.Errorf("jobs are %+v", jobs)
		}
		if n, err := elsewhere.Collect(t.Context(), time.Now()); err != nil || n != 1 {
			t.Errorf("%d twins elsewhere, %v", n, err)
		}
		if again := executortest.Start(t, e, job); again != h {
			t.Errorf("handle is %+v, was %+v", again, h)
		}
		if list, err := e.List(t.Context()); err != nil || len(list) != 1 || list[0] != h {
			t.Errorf("list is %+v, %v", list, err)
		}
		if list, err := elsewhere.List(t.Context()); err != nil || len(list) != 0 {
			t.Errorf("list elsewhere is %+v, %v", list, err)
		}
	}
}

// What was removed is deleted when its time has come, and not before.
func TestCollect(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakelightning.Options{NoEnv: false})
	e := w.executor(t, nil)
	removed := executortest.Start(t, e, spec("removed", "ok", "true\n"))
	ended := executortest.Start(t, e, spec("ended", "ok", "true\n"))
	running := executortest.Start(t, e, spec("running", "ok", "sleep 1000\n"))
	executortest.Until(t, e, removed, executor.Ended)
	executortest.Until(t, e, ended, executor.Ended)
	executortest.Until(t, e, running, executor.Running)
	if err := e.Remove(t.Context(), removed); err != nil {
		t.Fatal(err)
	}
	if n, err := e.Collect(t.Context(), time.Now().Add(-time.Hour)); n != 0 || err != nil {
		t.Errorf("%d too early, %v", n, err)
	}
	if n, err := e.Collect(t.Context(), time.Now().Add(time.Hour)); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if n := len(w.Jobs()); n != 2 {
		t.Errorf("%d jobs are left", n)
	}
	if state, err := e.Observe(t.Context(), removed); err != nil || state.Phase != executor.Absent {
		t.Errorf("state is %+v, %v", state, err)
	}
}

// Services that hide a job's variables, or have no look-up by name.
func TestOtherWaysToLookUp(t *testing.T) {
	t.Parallel()
	for _, options := range []fakelightning.Options{{NoEnv: true}, {NoFind: true}, {PageJobs: 1}} {
		w := newWorld(t, options)
		e := w.executor(t, nil)
		job := spec("a", "ok", "true\n")
		h := executortest.Start(t, e, job)
		if again := executortest.Start(t, w.executor(t, nil), job); again != h {
			t.Errorf("handles are %+v and %+v", h, again)
		}
		job.Hash = "other"
		if _, err := e.Start(t.Context(), job); !errors.Is(err, executor.ErrConflict) {
			t.Errorf("conflict: %v", err)
		}
		p, err := e.place(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if found, err := e.findListed(t.Context(), p, job.ID); err != nil || found == nil || found.ID != h.Ref {
			t.Errorf("listed is %+v, %v", found, err)
		}
	}
}

func TestRefusedJobs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakelightning.Options{})
	e := w.executor(t, nil)
	for machine, want := range map[string]string{"L4": "not allowed on your plan", "no-such-machine": "not found in cluster"} {
		job := spec("refused", "ok", "true\n")
		job.Machine = machine
		_, err := e.Start(t.Context(), job)
		if _, final := errors.AsType[*executor.StartError](err); !final || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), machine) {
			t.Errorf("%s: %v", machine, err)
		}
	}
	// A service that repeats credentials does not make us do so.
	w.Fault(fakelightning.Fault{Kind: fakelightning.Refused, Method: "POST", Path: jobsPath})
	_, err := e.Start(t.Context(), spec("refused", "ok", "true\n"))
	if err == nil || strings.Contains(err.Error(), "Basic") || strings.Contains(err.Error(), w.Options().APIKey) {
		t.Errorf("start: %v", err)
	}
	if n := len(w.Jobs()); n != 0 {
		t.Errorf("%d jobs were made", n)
	}
	large := spec("large", "ok", "")
	large.Script = random(2 << 20)
	if _, err := e.Start(t.Context(), large); err == nil || !strings.Contains(err.Error(), "larger than 1024 KiB") {
		t.Errorf("large script: %v", err)
	}
	for _, id := range []string{"", "A", "a b", "a_b", "-a", "a-", "a--b", strings.Repeat("a", 64)} {
		if _, err := e.Start(t.Context(), executor.Spec{ID: id, Image: "x"}); err == nil {
			t.Errorf("%q was started", id)
		}
	}
}

// What is asked for, and what is not.
func TestRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakelightning.Options{})
	e := w.executor(t, nil)
	job := spec("asked", "stuck", "echo 'script-canary'\n")
	job.Machine, job.Interruptible, job.Env = "A100_X_4", true, map[string]string{"GREETING": "it's\nme"}
	h := executortest.Start(t, e, job)
	if h.URL != w.url+"/acme/ci/jobs/litci-asked?app_id=jobs" || h.Executor != "lightning" || h.ID != job.ID || h.Ref == "" {
		t.Errorf("handle is %+v", h)
	}
	made := w.Jobs()[0]
	if made.Instance != "lit-a100-4" || !made.Spot || made.MaxRunAttempts != 1 || made.Image != job.Image || made.Env["LITCI_JOB"] != job.ID {
		t.Errorf("asked for %+v", made)
	}
	if len(made.Command) > 100<<10 || strings.Contains(made.Command, "'") && strings.Contains(made.Command, "script-canary") {
		t.Errorf("command is %q", made.Command)
	}
}

func TestContextEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakelightning.Options{})
	e := w.executor(t, func(c *Config) { c.Pace.LookAgain = []time.Duration{time.Hour} })
	w.Fault(fakelightning.Fault{Kind: fakelightning.ResetAfter, Method: "POST", Path: jobsPath})
	w.Fault(fakelightning.Fault{Kind: fakelightning.Hang, Method: "GET", Path: "/find", Times: 100})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := e.Start(ctx, spec("ends", "ok", "true\n")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("start: %v", err)
	}
}
