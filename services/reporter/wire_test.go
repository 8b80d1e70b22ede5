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
	ctx, stop := context.WithCancel(t.Context())
	stop()
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
