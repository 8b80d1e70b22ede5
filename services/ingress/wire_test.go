package ingress

import (
	"context"
	"testing"

	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
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
