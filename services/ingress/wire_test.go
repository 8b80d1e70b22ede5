package ingress

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/daemon"
	"github.com/litci/litci/pkg/fakegithub"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestWire(t *testing.T) {
	env := &daemon.Env{
		Config: &config.Config{Listen: "127.0.0.1:0", WebhookSecrets: []string{"new", "old"}, AppID: 12},
		Bus:    bustest.New(t), Log: zap.NewNop(), Metrics: prometheus.NewRegistry(),
	}
	runner, err := Wire(env)
	if err != nil {
		t.Fatal(err)
	}
	i := runner.(*Ingress)
	if i.receiver.app != 12 || len(i.receiver.secrets) != 2 {
		t.Errorf("wired as app %d with %d secrets", i.receiver.app, len(i.receiver.secrets))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := runner.Run(ctx); err != nil {
		t.Error(err)
	}
	env.Config.WebhookSecrets = nil
	if _, err := Wire(env); err == nil {
		t.Error("wired without a secret")
	}
}

// The sweep needs the App's id and key; without them ingress works and says once
// what is missing.
func TestSweepIsOptional(t *testing.T) {
	key, err := fakegithub.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	pem := fakegithub.EncodeKey(key)
	b := bustest.New(t)
	cases := []struct {
		name     string
		app      int64
		key      []byte
		every    time.Duration
		sweeps   bool
		warnings int
	}{
		{"id and key", 12, pem, time.Minute, true, 0},
		{"no key", 12, nil, time.Minute, false, 1},
		{"no id", 0, pem, time.Minute, false, 1},
		{"switched off", 12, pem, 0, false, 0},
		{"switched off without a key", 12, nil, 0, false, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			core, logged := observer.New(zap.WarnLevel)
			runner, err := Wire(&daemon.Env{
				Config: &config.Config{Listen: "127.0.0.1:0", WebhookSecrets: []string{"s"}, AppID: c.app, PrivateKey: c.key, SweepInterval: c.every},
				Bus:    b, Log: zap.New(core), Metrics: prometheus.NewRegistry(),
			})
			if err != nil {
				t.Fatal(err)
			}
			i := runner.(*Ingress)
			if sweeps := i.sweeper != nil; sweeps != c.sweeps || logged.Len() != c.warnings {
				t.Errorf("sweeps %v, %d warnings", sweeps, logged.Len())
			}
			if c.warnings > 0 && !strings.Contains(logged.All()[0].Message, "--private-key-file") {
				t.Errorf("warning %q", logged.All()[0].Message)
			}
			if err := i.listener.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
