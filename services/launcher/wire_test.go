package launcher

import (
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap/zaptest"

	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/daemon"
)

func TestWire(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	env := &daemon.Env{
		Config: &config.Config{Data: filepath.Join(t.TempDir(), "data"), Slots: 3},
		Bus:    bustest.New(t), Log: zaptest.NewLogger(t), Metrics: registry,
	}
	r, err := Wire(env)
	if err != nil {
		t.Fatal(err)
	}
	l := r.(*Launcher)
	l.slots.queue.take("a job")
	l.waiting.set(l.waiting.add(aJob(), noop.Span{}), nil, reason{waitsNeeds, "waits for build.yml"})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, label := range m.GetLabel() {
				name += " " + label.GetValue()
			}
			got[name] = m.GetGauge().GetValue()
		}
	}
	// Labels are sorted by name: pool, then reason or state.
	if got["litci_slots  used"] != 1 || got["litci_slots  free"] != 2 || got["litci_waiting_jobs  needs"] != 1 || len(got) != 2+len(reasons) {
		t.Errorf("metrics %v", got)
	}
}

func TestWireRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	env := &daemon.Env{
		Config: &config.Config{Data: t.TempDir(), JobUser: "no such user"},
		Log:    zaptest.NewLogger(t), Metrics: prometheus.NewRegistry(),
	}
	if _, err := Wire(env); err == nil {
		t.Error("a job user that does not exist was taken")
	}
}
