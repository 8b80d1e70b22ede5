package reporter

import (
	"context"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/daemon"
	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/pkg/ghapp"
)

func TestWire(t *testing.T) {
	key, err := fakegithub.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	env := func(change func(*config.Config)) *daemon.Env {
		cfg := &config.Config{AppID: appID, PrivateKey: fakegithub.EncodeKey(key), PagesListen: "127.0.0.1:0", QueueTimeout: 4 * time.Hour}
		change(cfg)
		return &daemon.Env{Config: cfg, Bus: bustest.New(t), Log: zap.NewNop(), Metrics: prometheus.NewRegistry()}
	}
	runner, err := Wire(env(func(*config.Config) {}))
	if err != nil {
		t.Fatal(err)
	}
	if r := runner.(*Reporter); r.QueueTimeout != 4*time.Hour || r.Addr().String() == "" {
		t.Errorf("%s, %s", r.QueueTimeout, r.Addr())
	}
	// A pool may keep its jobs waiting for longer than the others.
	pooled, err := Wire(env(func(c *config.Config) {
		c.Pools = []*config.Config{{Pool: "a", QueueTimeout: time.Hour, InfraRetries: 1}, {Pool: "b", QueueTimeout: 9 * time.Hour, InfraRetries: 4}}
	}))
	if err != nil {
		t.Fatal(err)
	}
	if r := pooled.(*Reporter); r.QueueTimeout != 9*time.Hour || r.PoolRetries["a"] != 1 || r.PoolRetries["b"] != 4 {
		t.Errorf("%s, %v", r.QueueTimeout, r.PoolRetries)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := pooled.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := runner.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
	for name, change := range map[string]func(*config.Config){
		"no key":          func(c *config.Config) { c.PrivateKey = nil },
		"no such address": func(c *config.Config) { c.PagesListen = "127.0.0.1:nowhere" },
	} {
		if _, err := Wire(env(change)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// To GitHub both are one App.
func TestChecksAndCommentsShareABudget(t *testing.T) {
	key, err := fakegithub.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	checks, comments, err := newApps(ghapp.Config{
		AppID: appID, PrivateKey: fakegithub.EncodeKey(key), Budgets: ghapp.NewBudgets(ghapp.Limits{ContentPerMinute: 1}),
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := checks.Reserve(installation, ghapp.Cost{Creations: 1}, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := comments.Reserve(installation, ghapp.Cost{Creations: 1}, true); err == nil {
		t.Error("the comment's App has a budget of its own")
	}
	r.Release()
	if _, err := comments.Reserve(installation, ghapp.Cost{Creations: 1}, true); err != nil {
		t.Error(err)
	}
}

// A server without limits is not paced.
func TestNoPaceHoldsNothingBack(t *testing.T) {
	key, err := fakegithub.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, pace := range []bool{true, false} {
		checks, _, err := newApps(ghapp.Config{
			AppID: appID, PrivateKey: fakegithub.EncodeKey(key), Budgets: ghapp.NewBudgets(ghapp.LimitsAt(pace)),
		})
		if err != nil {
			t.Fatal(err)
		}
		refused := false
		for range 1000 {
			_, err := checks.Reserve(installation, ghapp.Cost{Creations: 1}, true)
			refused = refused || err != nil
		}
		if refused != pace {
			t.Errorf("pace %t: refused %t", pace, refused)
		}
	}
}
