package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"github.com/litci/litci/pkg/executor"
)

func TestStartAdopts(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	e := d.executor(nil)
	h := begin(t, e, plain(""))
	for range 2 { // while it runs, and when it has ended
		if again := begin(t, d.executor(nil), plain("")); again != h {
			t.Errorf("handle is %+v, want %+v", again, h)
		}
		d.end(h.ID, 0)
	}
	if d.ran(h.ID) != 1 || d.count("POST start") != 1 {
		t.Errorf("%d runs, %d starts", d.ran(h.ID), d.count("POST start"))
	}
	other := plain("")
	other.Hash = "another"
	if _, err := e.Start(t.Context(), other); !errors.Is(err, executor.ErrConflict) {
		t.Errorf("another job of the same id: %v", err)
	}
}

// A container that is not ours is neither adopted nor shown nor removed.
func TestForeignContainer(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	e, other := d.executor(nil), d.executor(func(o *Options) { o.Instance = "other" })
	h := begin(t, other, plain(""))
	if _, err := e.Start(t.Context(), plain("")); !errors.Is(err, executor.ErrConflict) {
		t.Errorf("start: %v", err)
	}
	if state, err := e.Observe(t.Context(), h); err != nil || state.Phase != executor.Absent {
		t.Errorf("state is %+v, %v", state, err)
	}
	d.end(h.ID, 0)
	if err := e.Remove(t.Context(), h); err != nil {
		t.Error(err)
	}
	if state, err := other.Observe(t.Context(), h); err != nil || state.Phase != executor.Ended {
		t.Errorf("its own executor sees %+v, %v", state, err)
	}
}

// Somebody else creates the container after we looked and before we create it.
func TestStartLosesTheRaceToCreate(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	e, faster := d.executor(nil), d.executor(nil)
	var theirs executor.Handle
	d.once("POST create", func(http.ResponseWriter) bool {
		theirs = begin(t, faster, plain(""))
		return false
	})
	if h := begin(t, e, plain("")); h != theirs {
		t.Errorf("handle is %+v, theirs is %+v", h, theirs)
	}
	if d.ran("litci-job") != 1 {
		t.Errorf("%d runs", d.ran("litci-job"))
	}
}

// Two launchers saw the container before its start, and one has started and ended
// the job before the other one starts it.
func TestStartOfWhatHasEnded(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"PUT archive", "POST start"} {
		d := newDouble(t)
		slow, fast := d.executor(nil), d.executor(nil)
		d.once(at, func(http.ResponseWriter) bool {
			begin(t, fast, plain(""))
			d.end("litci-job", 3)
			return false
		})
		h, err := slow.Start(t.Context(), plain(""))
		if err != nil {
			// The engine could not start it again; the next try adopts it.
			h = begin(t, slow, plain(""))
		}
		state := until(t, slow, h, executor.Ended)
		if d.ran(h.ID) != 1 || state.ExitCode == nil || *state.ExitCode != 3 {
			t.Errorf("%s: %d runs, state is %+v", at, d.ran(h.ID), state)
		}
	}
}

// Answers that are lost have had their effect.
func TestStartWithLostAnswers(t *testing.T) {
	t.Parallel()
	for _, request := range []string{"POST create", "PUT archive", "POST start", "GET json"} {
		d := newDouble(t)
		d.loseAnswer(request)
		e := d.executor(nil)
		_, err := e.Start(t.Context(), plain(""))
		if _, final := errors.AsType[*executor.StartError](err); err == nil && request != "GET json" || final {
			t.Errorf("%s: %v", request, err)
		}
		h := begin(t, e, plain(""))
		if state, err := e.Observe(t.Context(), h); err != nil || state.Phase != executor.Running || d.ran(h.ID) != 1 {
			t.Errorf("%s: %d runs, state is %+v, %v", request, d.ran(h.ID), state, err)
		}
	}
}

func TestManyLaunchers(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	launchers := []*Executor{d.executor(nil), d.executor(nil), d.executor(nil)}
	for round := range 20 {
		spec := plain(fmt.Sprintf("litci-round-%d", round))
		spec.Source = sourceOfTest
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				_, err := launchers[i%len(launchers)].Start(t.Context(), spec)
				if err != nil && !errors.Is(err, errMoved) && !strings.Contains(err.Error(), "start of job") {
					t.Errorf("start: %v", err)
				}
			})
		}
		wg.Wait()
		begin(t, launchers[0], spec)
		if d.ran(spec.ID) != 1 {
			t.Errorf("%d runs", d.ran(spec.ID))
		}
	}
}

// A copy that breaks off is made again, with a source that is opened again.
func TestStartAfterABrokenCopy(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	e := d.executor(nil)
	opened := 0
	spec := plain("")
	spec.Source = func(ctx context.Context) (io.ReadCloser, error) {
		opened++
		return sourceOfTest(ctx)
	}
	d.once("PUT archive", func(w http.ResponseWriter) bool {
		fail(w, 500, "no space left on device")
		return true
	})
	_, err := e.Start(t.Context(), spec)
	if _, final := errors.AsType[*executor.StartError](err); err == nil || final || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("start: %v", err)
	}
	if state, err := e.Observe(t.Context(), executor.Handle{Executor: Kind, ID: spec.ID}); err != nil || state.Phase != executor.Pending {
		t.Errorf("state is %+v, %v", state, err)
	}
	begin(t, e, spec)
	if opened != 2 || d.ran(spec.ID) != 1 || d.count("POST create") != 1 {
		t.Errorf("opened %d times, %d runs, created %d times", opened, d.ran(spec.ID), d.count("POST create"))
	}
}

// Remove frees the name between a late Start's two looks at it.
func TestStartMeetsRemove(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	e, late := d.executor(nil), d.executor(nil)
	h := begin(t, e, plain(""))
	d.end(h.ID, 0)
	d.change(h.ID, func(c *doubleContainer) { c.name = "hidden" }) // the late one sees no container
	d.once("POST create", func(http.ResponseWriter) bool {
		d.change("hidden", func(c *doubleContainer) { c.name = h.ID })
		if err := e.Remove(t.Context(), h); err != nil {
			t.Error(err)
		}
		return false
	})
	if again := begin(t, late, plain("")); again != h {
		t.Errorf("handle is %+v, want %+v", again, h)
	}
	if d.ran(h.ID) != 1 || len(d.containers) != 0 {
		t.Errorf("%d runs, %d containers", d.ran(h.ID), len(d.containers))
	}
}

// What somebody starts while it is being discarded keeps its name and runs on.
func TestDiscardOfWhatIsStarted(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	e, other := d.executor(nil), d.executor(nil)
	d.once("POST start", func(w http.ResponseWriter) bool {
		fail(w, 500, "try later")
		// Meanwhile another launcher starts it.
		begin(t, other, plain(""))
		return true
	})
	h := begin(t, e, plain(""))
	if state, err := e.Observe(t.Context(), h); err != nil || state.Phase != executor.Running || d.ran(h.ID) != 1 {
		t.Errorf("%d runs, state is %+v, %v", d.ran(h.ID), state, err)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*executor.Spec)
		pull   func(w io.Writer, image string)
		says   string // empty means that a retry may help
	}{
		"unknown machine": {change: func(s *executor.Spec) { s.Machine = "H100" }, says: "which has CPU, GPU, HUGE"},
		"no GPU":          {change: func(s *executor.Spec) { s.Machine = "GPU" }, says: "NVIDIA"},
		"too large":       {change: func(s *executor.Spec) { s.Machine = "HUGE" }, says: "the engine refuses the job (machine HUGE"},
		"no image":        {change: func(s *executor.Spec) { s.Image = "none:1" }, says: "does not exist, or this pool's credentials"},
		"error in the stream": {
			change: func(s *executor.Spec) { s.Image = "none:1" },
			pull: func(w io.Writer, _ string) {
				fmt.Fprintln(w, `{"status":"Pulling from none"}`)
				fmt.Fprintln(w, `{"errorDetail":{"message":"no matching manifest for linux/amd64 in the manifest list entries"},"error":"no"}`)
			},
			says: "not made for the machines",
		},
		"rate limit": {
			change: func(s *executor.Spec) { s.Image = "none:1" },
			pull: func(w io.Writer, _ string) {
				fmt.Fprintln(w, `{"errorDetail":{"message":"toomanyrequests: You have reached your pull rate limit"}}`)
			},
		},
		"broken stream": {
			change: func(s *executor.Spec) { s.Image = "none:1" },
			pull:   func(w io.Writer, _ string) { fmt.Fprint(w, `{"status":"Downl`) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDouble(t)
			d.pull = test.pull
			e := d.executor(func(o *Options) { o.Machines = map[string]Limits{"GPU": {GPUs: 1}, "HUGE": {CPUs: 64}} })
			spec := plain("")
			test.change(&spec)
			_, err := e.Start(t.Context(), spec)
			refused, final := errors.AsType[*executor.StartError](err)
			if err == nil || final != (test.says != "") || final && !strings.Contains(refused.Message, test.says) {
				t.Errorf("start: %v", err)
			}
			if len(d.containers) != 0 {
				t.Errorf("left is %d containers", len(d.containers))
			}
		})
	}
}

func TestPullThatWorks(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	d.pull = func(w io.Writer, image string) {
		d.images["private/tools:2"] = image == "docker.io/private/tools:2"
		fmt.Fprintln(w, `{"status":"Downloading","id":"a","progressDetail":{"current":5,"total":10}}`)
	}
	spec := plain("")
	spec.Image = "private/tools:2"
	begin(t, d.executor(nil), spec)
	spec.ID, spec.Image = "litci-other", "never:1"
	_, err := d.executor(func(o *Options) { o.Pull = PullNever }).Start(t.Context(), spec)
	if _, refused := errors.AsType[*executor.StartError](err); !refused {
		t.Errorf("image that must not be pulled: %v", err)
	}
}

// An engine that does not answer is neither a verdict nor an absent job.
func TestHangingEngine(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	e := d.executor(nil)
	h := begin(t, e, plain(""))
	e.options.Call = 50 * time.Millisecond
	d.mu.Lock()
	d.before = func(_ http.ResponseWriter, q *http.Request) bool {
		<-q.Context().Done()
		return true
	}
	d.mu.Unlock()
	if state, err := e.Observe(t.Context(), h); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("state is %+v, %v", state, err)
	}
	_, err := e.Start(t.Context(), plain("litci-other"))
	if _, final := errors.AsType[*executor.StartError](err); err == nil || final {
		t.Errorf("start: %v", err)
	}
}

// Engines that take one network's name twice: all jobs are in the oldest.
func TestNetworkIsMadeOnce(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	own := func(o *Options) { o.Network = "" }
	var first string
	for i := range 3 {
		e := d.executor(own)
		if i == 1 {
			d.mu.Lock()
			twin := d.networks[0]
			twin.ID, twin.Created = "twin", twin.Created.Add(time.Second)
			d.networks = append(d.networks, twin)
			d.mu.Unlock()
		}
		h := begin(t, e, plain(fmt.Sprintf("litci-job-%d", i)))
		d.change(h.ID, func(c *doubleContainer) {
			if first == "" {
				first = string(c.host.NetworkMode)
			}
			if string(c.host.NetworkMode) != first {
				t.Errorf("network %d is %s, the first was %s", i, c.host.NetworkMode, first)
			}
		})
	}
	if d.count("POST create") != 3+1 || d.networks[0].Options["com.docker.network.bridge.enable_icc"] != "false" {
		t.Errorf("networks are %+v", d.networks)
	}
}

func TestContainerConfig(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	e := d.executor(func(o *Options) { o.Limits = Limits{CPUs: 1.5, Memory: 1 << 30}; o.Capabilities = []string{"CHOWN"} })
	spec := plain("")
	spec.Env = map[string]string{"SECRET": "canary"}
	h := begin(t, e, spec)
	d.change(h.ID, func(c *doubleContainer) {
		if len(c.config.Env) != 0 || c.config.Labels[labelHash] != "h" || c.config.StopSignal != "SIGTERM" {
			t.Errorf("configuration is %+v", c.config)
		}
		r := c.host
		if r.NanoCPUs != 15e8 || r.Memory != 1<<30 || r.MemorySwap != 1<<30 || *r.PidsLimit != 4096 || r.ShmSize != 1<<30 || r.Privileged || r.AutoRemove ||
			r.RestartPolicy.Name != container.RestartPolicyDisabled || r.CapDrop[0] != "ALL" || r.CapAdd[0] != "CAP_CHOWN" ||
			r.SecurityOpt[0] != "no-new-privileges:true" || len(r.Binds)+len(r.Mounts) != 0 {
			t.Errorf("host configuration is %+v", r)
		}
	})
}

// An engine that comes later is met then; nothing is asked before.
func TestLateEngine(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	e := d.executor(nil)
	if len(d.requests) != 0 {
		t.Errorf("made by asking %q", d.requests)
	}
	d.once("GET info", func(w http.ResponseWriter) bool {
		fail(w, 500, "not yet")
		return true
	})
	if err := e.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "not yet") {
		t.Errorf("check: %v", err)
	}
	h := begin(t, e, plain(""))
	if host, _ := e.Place(); host == "" || h.Host != host {
		t.Errorf("handle is %+v, place %q", h, host)
	}
}
