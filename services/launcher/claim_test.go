package launcher

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/executor/local"
)

// placed is a machine whose jobs nobody sees from another place.
type placed struct {
	*machine
	host, folder string
}

func (p placed) Place() (host, folder string) { return p.host, p.folder }

// refused runs a launcher that must not start, and returns why.
func (w *world) refused() string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), waitLimit)
	defer cancel()
	err := New(w.bus, w.executor, w.options, zaptest.NewLogger(w.t)).Run(ctx)
	if err == nil {
		w.t.Fatal("it started")
	}
	return err.Error()
}

// claimed waits until the pool's claim is as wanted.
func (w *world) claimed(key string, want func(claim) bool) claim {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), waitLimit)
	defer cancel()
	for {
		var c claim
		data, _, err := w.bus.Runs().Get(ctx, key)
		if err == nil {
			err = json.Unmarshal(data, &c)
		}
		if ctx.Err() != nil {
			w.t.Fatalf("claim %+v, %v", c, err)
		}
		if err == nil && want(c) {
			return c
		}
	}
}

func held(c claim) bool { return len(c.Renewed) > 0 }

func TestAPoolHasOnePlace(t *testing.T) {
	w := setup(t, placed{newMachine(), "one", "/data/jobs"})
	stop := w.run()
	w.claimed("pool.default", held)

	for _, other := range []placed{{newMachine(), "two", "/data/jobs"}, {newMachine(), "one", "/else/jobs"}} {
		w.executor = other
		reason := w.refused()
		for _, part := range []string{"the unnamed pool", `host "one"`, "/data/jobs", "--pool"} {
			if !strings.Contains(reason, part) {
				t.Errorf("%q does not name %q", reason, part)
			}
		}
	}
	// Another pool is free, even one whose name is that of the unnamed one's key.
	for pool, key := range map[string]string{"gpu": "pool.gpu", "default": "pool.=default"} {
		w.executor, w.options.Pool = placed{newMachine(), "two", "/data/jobs"}, pool
		w.run()
		if c := w.claimed(key, held); c.Host != "two" || c.Folder != "/data/jobs" {
			t.Errorf("claim %+v", c)
		}
	}
	w.executor, w.options.Pool = placed{newMachine(), "one", "/data/jobs"}, "default"
	if reason := w.refused(); !strings.Contains(reason, `pool "default"`) {
		t.Errorf("refused because of %q", reason)
	}

	// A clean stop frees the pool at once.
	stop()
	w.executor, w.options.Pool = placed{newMachine(), "two", "/data/jobs"}, ""
	w.run()
	w.claimed("pool.default", func(c claim) bool { return c.Host == "two" })
}

func TestLaunchersOfOnePlaceShareTheirPool(t *testing.T) {
	w := setup(t, placed{newMachine(), "one", "/data/jobs"})
	first := w.run()
	w.run()
	w.claimed("pool.default", func(c claim) bool { return len(c.Renewed) == 2 })
	first()
	w.executor = placed{newMachine(), "two", "/data/jobs"}
	w.refused()
}

func TestAnExecutorForAllHostsClaimsNothing(t *testing.T) {
	w := setup(t, newMachine())
	w.run()
	j := w.job(7, 0)
	w.publish(j)
	w.started(j)
	if found, err := w.bus.Runs().List(t.Context(), "pool.>"); err != nil || len(found) > 0 {
		t.Errorf("claims %v, %v", found, err)
	}
}

func TestAClaimIsRenewed(t *testing.T) {
	w := setup(t, placed{newMachine(), "one", "/data/jobs"})
	w.options.Renew = 10 * time.Millisecond
	w.run()
	first := w.claimed("pool.default", held)
	w.claimed("pool.default", func(c claim) bool {
		for id, at := range c.Renewed {
			return at.After(first.Renewed[id])
		}
		return false
	})
}

// TestALauncherThatLostItsPoolStops has one that slept for longer than its claim
// lives.
func TestALauncherThatLostItsPoolStops(t *testing.T) {
	w := setup(t, placed{newMachine(), "one", "/data/jobs"})
	w.options.Renew = 10 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- New(w.bus, w.executor, w.options, zaptest.NewLogger(t)).Run(ctx) }()
	w.claimed("pool.default", held)
	if _, err := bus.Change(ctx, w.bus.Runs(), "pool.default", func(c *claim) bool {
		*c = claim{Host: "two", Folder: "/data/jobs", Renewed: map[string]time.Time{"x": time.Now().Add(time.Hour)}}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), `host "two"`) {
		t.Errorf("it ended with %v", err)
	}
	// What the other one holds is left alone.
	w.claimed("pool.default", func(c claim) bool { return c.Host == "two" && len(c.Renewed) == 1 })
}

func TestAClaimEndsWhenNobodyRenewsIt(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, test := range map[string]struct {
		ages []time.Duration
		host string
		want bool
	}{
		"none":                         {nil, "one", true},
		"fresh of another host":        {[]time.Duration{4 * time.Minute}, "one", false},
		"stale of another host":        {[]time.Duration{5 * time.Minute}, "one", true},
		"one of two fresh":             {[]time.Duration{time.Hour, time.Minute}, "one", false},
		"of a clock that is ahead":     {[]time.Duration{-time.Minute}, "one", false},
		"fresh of this host":           {[]time.Duration{time.Minute}, "two", true},
		"stale of this host beside it": {[]time.Duration{time.Minute, time.Hour}, "two", true},
	} {
		c := claim{Host: "two", Folder: "/data", Renewed: map[string]time.Time{}}
		for i, age := range test.ages {
			c.Renewed[string(rune('a'+i))] = now.Add(-age)
		}
		got := c.take(test.host, "/data", "me", now, 5*time.Minute)
		if got != test.want {
			t.Errorf("%s: taken is %t", name, got)
		}
		if at, in := c.Renewed["me"]; in != test.want || in && (c.Host != test.host || !at.Equal(now)) {
			t.Errorf("%s: claim is %+v", name, c)
		}
		for id, at := range c.Renewed {
			if now.Sub(at) >= 5*time.Minute {
				t.Errorf("%s: %s is kept", name, id)
			}
		}
	}
}

func TestTheLocalExecutorHasAPlace(t *testing.T) {
	t.Parallel()
	e, err := local.New(local.Config{Dir: t.TempDir() + "/jobs", Command: []string{"/bin/true"}, Host: "here", Log: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	c := newClaimant(nil, e, Options{Pool: "gpu"}.withDefaults(), zaptest.NewLogger(t))
	if c == nil || c.key != "pool.gpu" {
		t.Fatalf("claimant %+v", c)
	}
	if host, folder := c.bound.Place(); host != "here" || !strings.HasSuffix(folder, "/jobs") {
		t.Errorf("place %s, %s", host, folder)
	}
}
