// Package bustest gives a test a real JetStream server with litci's topology.
package bustest

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/embedded"
)

// New returns a Bus on a server of the test's own; both end with the test.
func New(t testing.TB) *bus.Bus {
	t.Helper()
	return Connect(t, Server(t), bus.Config{Name: "test"})
}

// Server starts a server with the topology provisioned; it ends with the test.
func Server(t testing.TB) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// Connect returns a Bus on a server; it ends with the test. Crashed consumers'
// messages come again after two seconds unless cfg says otherwise.
func Connect(t testing.TB, s *embedded.Server, cfg bus.Config) *bus.Bus {
	t.Helper()
	return Measured(t, s, cfg, nil)
}

// Measured is Connect with metrics.
func Measured(t testing.TB, s *embedded.Server, cfg bus.Config, registry prometheus.Registerer) *bus.Bus {
	t.Helper()
	if cfg.AckWait == 0 {
		cfg.AckWait = 2 * time.Second
	}
	cfg.URL, cfg.NKey, cfg.InProcess = s.URL(), s.KeyFile, s
	b, err := bus.Connect(cfg, logger(t), registry)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	if err := b.Provision(t.Context(), bus.Provision{Bytes: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	return b
}

func logger(t testing.TB) *zap.Logger {
	return zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel))
}
