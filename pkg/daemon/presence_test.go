package daemon_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/daemon"
)

func TestProcessesSayThatTheyLive(t *testing.T) {
	e, registry := env(t), daemon.NewRegistry()
	for state, value := range map[string]float64{"used": 2, "free": 1} {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "litci_slots", ConstLabels: prometheus.Labels{"pool": "gpu", "state": state}})
		g.Set(value)
		registry.MustRegister(g)
	}
	for reason, value := range map[string]float64{"slot": 4, "needs": 1} {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "litci_waiting_jobs", ConstLabels: prometheus.Labels{"pool": "gpu", "reason": reason}})
		g.Set(value)
		registry.MustRegister(g)
	}
	left := prometheus.NewGauge(prometheus.GaugeOpts{Name: "litci_github_budget_remaining"})
	left.Set(4870)
	registry.MustRegister(left)

	heard := make(chan bus.Entry, 9)
	following, unfollow := context.WithCancel(context.Background())
	var followed sync.WaitGroup
	followed.Go(func() {
		e.Bus.Runs().Follow(following, bus.Following{Patterns: []string{"service.*"}}, func(entry bus.Entry) {
			if !entry.Current {
				heard <- entry
			}
		})
	})
	t.Cleanup(func() { unfollow(); followed.Wait() })
	hear := func() bus.Entry {
		t.Helper()
		select {
		case entry := <-heard:
			return entry
		case <-time.After(time.Minute): // a key that cannot be taken away lives for half of it
			t.Fatal("nothing is said within a minute")
			panic("unreachable")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- daemon.Run(ctx, e, registry, wire(waits), func(*daemon.Env) (daemon.Runner, error) {
			return unready{waits, errors.New("the key is wrong")}, nil
		})
	}()
	hear()
	found, err := daemon.Present(t.Context(), e.Bus)
	if err != nil || len(found) != 1 {
		t.Fatalf("%+v, %v", found, err)
	}
	p := found[0]
	if !slices.Equal(p.Services, []string{"daemon_test", "daemon_test"}) || p.PID != os.Getpid() || p.Version != daemon.Version() || p.Unready != "the key is wrong" ||
		time.Since(p.Since) > time.Minute || p.GitHub == nil || *p.GitHub != 4870 || !slices.Equal(p.Pools, []daemon.Load{{Pool: "gpu", Used: 2, Free: 1, Waiting: 5}}) {
		t.Errorf("%+v", p)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for !hear().Gone { // what lives says so again and again
		continue
	}
	if found, err = daemon.Present(t.Context(), e.Bus); err != nil || len(found) > 0 {
		t.Errorf("after its end: %+v, %v", found, err)
	}
}

type unready struct {
	runner
	why error
}

func (u unready) Ready() error { return u.why }
