package docker

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/volume"

	"github.com/litci/litci/pkg/executor"
)

// leave makes a container that was never started.
func leave(t *testing.T, d *double, e *Executor, id string) executor.Handle {
	t.Helper()
	d.once("PUT archive", func(w http.ResponseWriter) bool {
		fail(w, 500, "the launcher dies here")
		return true
	})
	if _, err := e.Start(t.Context(), plain(id)); err == nil {
		t.Fatal("started")
	}
	return executor.Handle{Executor: Kind, ID: id}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	e := d.executor(nil)
	h := begin(t, e, plain(""))
	if err := e.Remove(t.Context(), h); !errors.Is(err, executor.ErrRunning) {
		t.Errorf("remove of a running job: %v", err)
	}
	d.end(h.ID, 7)
	if err := e.Remove(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	// Any executor knows how it ended, and does not run it again.
	later := d.executor(nil)
	if again := begin(t, later, plain("")); again != h {
		t.Errorf("handle is %+v", again)
	}
	if state, err := later.Observe(t.Context(), h); err != nil || state.ExitCode == nil || *state.ExitCode != 7 {
		t.Errorf("state is %+v, %v", state, err)
	}
	other := plain("")
	other.Hash = "another"
	if _, err := later.Start(t.Context(), other); !errors.Is(err, executor.ErrConflict) {
		t.Errorf("another job of a removed one's id: %v", err)
	}
	if d.ran(h.ID) != 1 {
		t.Errorf("%d runs", d.ran(h.ID))
	}
}

// A crash between the tombstone and the container's end leaves what Remove can go on
// with.
func TestRemoveIsRepeated(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	e := d.executor(nil)
	h := begin(t, e, plain(""))
	d.end(h.ID, 0)
	d.once("DELETE "+h.Ref, func(w http.ResponseWriter) bool {
		fail(w, 500, "driver failed to remove root filesystem")
		return true
	})
	if err := e.Remove(t.Context(), h); err == nil {
		t.Error("removed")
	}
	if err := d.executor(nil).Remove(t.Context(), h); err != nil {
		t.Error(err)
	}
	if len(d.containers) != 0 || len(d.volumes) != 1 {
		t.Errorf("left are %d containers, %d volumes", len(d.containers), len(d.volumes))
	}
}

// A job that another launcher starts while it is removed has no tombstone.
func TestRemoveMeetsStart(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	e, other := d.executor(nil), d.executor(nil)
	h := leave(t, d, e, "litci-job")
	d.once("POST rename", func(http.ResponseWriter) bool {
		// It saw the container before the tombstone was there.
		d.mu.Lock()
		kept := d.volumes
		d.volumes = map[string]volume.Volume{}
		d.mu.Unlock()
		begin(t, other, plain(""))
		d.mu.Lock()
		d.volumes = kept
		d.mu.Unlock()
		return false
	})
	if err := e.Remove(t.Context(), h); !errors.Is(err, executor.ErrRunning) {
		t.Errorf("remove: %v", err)
	}
	if state, err := e.Observe(t.Context(), h); err != nil || state.Phase != executor.Running || len(d.volumes) != 0 {
		t.Errorf("state is %+v, %v; %d volumes", state, err, len(d.volumes))
	}
}

func TestCollect(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	e, foreign := d.executor(nil), d.executor(func(o *Options) { o.Instance = "other" })
	now := time.Now()
	for _, id := range []string{"litci-running", "litci-ended", "litci-ended-long-ago", "litci-removed", "litci-removed-long-ago"} {
		h := begin(t, e, plain(id))
		if id == "litci-running" {
			continue
		}
		d.end(id, 0)
		if strings.HasSuffix(id, "long-ago") {
			d.change(id, func(c *doubleContainer) {
				c.record(executor.State{Phase: executor.Ended, Reason: executor.ReasonExit, FinishedAt: now.Add(-48 * time.Hour)})
			})
		}
		if strings.Contains(id, "removed") {
			if err := e.Remove(t.Context(), h); err != nil {
				t.Fatal(err)
			}
		}
	}
	for id, age := range map[string]time.Duration{"litci-orphan": 11 * time.Minute, "litci-aside": 11 * time.Minute, "litci-new": 9 * time.Minute} {
		leave(t, d, e, id)
		d.change(id, func(c *doubleContainer) {
			c.created = now.Add(-age)
			if id == "litci-aside" {
				c.name += asideInfix + "x"
			}
		})
	}
	begin(t, foreign, plain("litci-foreign"))
	d.end("litci-foreign", 0)
	leave(t, d, foreign, "litci-foreign-orphan")
	d.change("litci-foreign-orphan", func(c *doubleContainer) { c.created = now.Add(-time.Hour) })
	d.before = nil

	collect := func(want int) {
		t.Helper()
		n, err := e.Collect(t.Context(), now.Add(-24*time.Hour))
		if err != nil || n != want {
			t.Errorf("collected %d, %v, want %d", n, err, want)
		}
	}
	collect(4)
	collect(0)
	var left []string
	for _, c := range d.containers {
		left = append(left, c.name)
	}
	for name := range d.volumes {
		left = append(left, name)
	}
	slices.Sort(left)
	if want := []string{"litci-ended", "litci-foreign", "litci-foreign-orphan", "litci-new", "litci-removed", "litci-running"}; !slices.Equal(left, want) {
		t.Errorf("left are %q, want %q", left, want)
	}
	handles, err := e.List(t.Context())
	if err != nil || len(handles) != 3 {
		t.Errorf("listed are %v, %v", handles, err)
	}
}

func TestStopKillsWhatIsOverdue(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	e := d.executor(nil)
	h := begin(t, e, plain(""))
	if err := e.Stop(t.Context(), h, time.Second); err != nil {
		t.Fatal(err)
	}
	if state, err := e.Observe(t.Context(), h); err != nil || state.Phase != executor.Running {
		t.Errorf("state is %+v, %v", state, err)
	}
	d.change(h.ID, func(c *doubleContainer) {
		request := c.files[stopPath]
		request.header.ModTime = time.Now().Add(-time.Second - overdue - time.Minute)
		c.files[stopPath] = request
	})
	if err := e.Stop(t.Context(), h, time.Second); err != nil {
		t.Fatal(err)
	}
	state, err := e.Observe(t.Context(), h)
	if err != nil || state.Reason != executor.ReasonStopped || state.ExitCode != nil {
		t.Errorf("state is %+v, %v", state, err)
	}
}

// How a container ended, by what the engine and the state file say.
func TestEnds(t *testing.T) {
	t.Parallel()
	code := func(n int) *int { return &n }
	for name, test := range map[string]struct {
		change func(c *doubleContainer)
		reason executor.Reason
		code   *int
	}{
		"no file": {
			change: func(c *doubleContainer) { c.files = map[string]doubleFile{}; c.exit(1) }, reason: executor.ReasonInfrastructure,
		},
		"ended from outside": {change: func(c *doubleContainer) { c.exit(137) }, reason: executor.ReasonLost},
		"supervisor out of memory": {
			change: func(c *doubleContainer) { c.exit(137); c.state.OOMKilled = true }, reason: executor.ReasonMemory,
		},
		"script out of memory": {
			change: func(c *doubleContainer) {
				c.record(executor.State{Phase: executor.Ended, Reason: executor.ReasonExit, ExitCode: code(1), FinishedAt: time.Now()})
				c.exit(0)
				c.state.OOMKilled = true
			},
			reason: executor.ReasonMemory, code: code(1),
		},
		"child out of memory": {
			change: func(c *doubleContainer) {
				c.record(executor.State{Phase: executor.Ended, Reason: executor.ReasonExit, ExitCode: code(0), FinishedAt: time.Now()})
				c.exit(0)
				c.state.OOMKilled = true
			},
			reason: executor.ReasonExit, code: code(0),
		},
		"forged file": {
			change: func(c *doubleContainer) {
				file := c.files[jobPath+"/state.json"]
				file.content = []byte(strings.Repeat("x", maxState+1))
				c.files[jobPath+"/state.json"] = file
				c.exit(0)
			},
			reason: executor.ReasonInfrastructure,
		},
		"dead": {
			change: func(c *doubleContainer) { c.exit(255); c.state.Status = container.StateDead }, reason: executor.ReasonLost,
		},
	} {
		d := newDouble(t)
		e := d.executor(nil)
		h := begin(t, e, plain(""))
		d.change(h.ID, test.change)
		state, err := e.Observe(t.Context(), h)
		if err != nil || state.Phase != executor.Ended || state.Reason != test.reason || state.FinishedAt.IsZero() ||
			(state.ExitCode == nil) != (test.code == nil) || test.code != nil && *state.ExitCode != *test.code {
			t.Errorf("%s: state is %+v, %v", name, state, err)
		}
		again, err := d.executor(nil).Observe(t.Context(), h)
		if err != nil || again.Reason != state.Reason || !again.FinishedAt.Equal(state.FinishedAt) {
			t.Errorf("%s: another executor sees %+v, %v", name, again, err)
		}
	}
}
