// Package bustest gives a test a real JetStream server with litci's topology.
package bustest

import (
	"sync"
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
// messages come again after ten seconds unless cfg says otherwise: a machine may stand
// still for some, and a handler that was not killed must not have its message twice.
func Connect(t testing.TB, s *embedded.Server, cfg bus.Config) *bus.Bus {
	t.Helper()
	return Measured(t, s, cfg, nil)
}

// Measured is Connect with metrics.
func Measured(t testing.TB, s *embedded.Server, cfg bus.Config, registry prometheus.Registerer) *bus.Bus {
	t.Helper()
	if cfg.AckWait == 0 {
		cfg.AckWait = 10 * time.Second
	}
	if cfg.Patience == 0 {
		cfg.Patience = 20 * time.Second
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
	l := &lines{TB: t}
	t.Cleanup(l.end)
	return zaptest.NewLogger(l, zaptest.Level(zap.WarnLevel))
}

// lines are the log of a test, for as long as it lasts: what a connection reports at
// its end may come after it, where testing panics.
type lines struct {
	testing.TB

	mu    sync.Mutex
	ended bool
}

// Logf writes a line.
func (l *lines) Logf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.TB.Logf(format, args...)
	}
}

func (l *lines) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
}
