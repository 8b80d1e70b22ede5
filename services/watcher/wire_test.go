package watcher

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap/zaptest"

	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/daemon"
)

func TestWireOfAnotherExecutor(t *testing.T) {
	t.Parallel()
	env := &daemon.Env{
		Config: &config.Config{Executor: "lightning", Lightning: config.Lightning{APIKey: "a key"}},
		Bus:    bustest.New(t), Log: zaptest.NewLogger(t), Metrics: prometheus.NewRegistry(),
	}
	r, err := Wire(env)
	if err != nil {
		t.Fatal(err)
	}
	w := r.(*Watcher)
	if w.executor.Name() != "lightning" || !slices.Contains(w.options.Masks, "a key") {
		t.Errorf("wired %+v on %s", w.options, w.executor.Name())
	}
}

func TestWire(t *testing.T) {
	t.Parallel()
	env := &daemon.Env{
		Config: &config.Config{Data: filepath.Join(t.TempDir(), "data"), Pool: "gpu", WebhookSecrets: []string{"webhook-secret"}},
		Bus:    bustest.New(t), Log: zaptest.NewLogger(t), Metrics: prometheus.NewRegistry(),
	}
	r, err := Wire(env)
	if err != nil {
		t.Fatal(err)
	}
	w := r.(*Watcher)
	if w.options.Pool != "gpu" || !slices.Contains(w.options.Masks, "webhook-secret") || w.executor.Name() != "local" {
		t.Errorf("wired %+v on %s", w.options, w.executor.Name())
	}
}
