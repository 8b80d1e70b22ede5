package bus_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
)

// once connects as commands do.
func once(t *testing.T, cfg bus.Config) (*bus.Bus, error) {
	t.Helper()
	cfg.Name, cfg.Once = "operator", true
	b, err := bus.Connect(cfg, zap.NewNop(), nil)
	if err == nil {
		t.Cleanup(b.Close)
	}
	return b, err
}

func TestOnceFailsWhereNoServerAnswers(t *testing.T) {
	if _, err := once(t, bus.Config{URL: "nats://127.0.0.1:1"}); err == nil || errors.Is(err, bus.ErrDenied) {
		t.Errorf("connect: %v", err)
	}
}

func TestOnceFailsWhereTheSignInIsRefused(t *testing.T) {
	url := serve(t, &server.Options{Username: "litci", Password: "secret"})
	if _, err := once(t, bus.Config{URL: url}); !errors.Is(err, bus.ErrDenied) {
		t.Errorf("connect: %v", err)
	}
}

func TestCheckTellsAServerWithoutStreams(t *testing.T) {
	b, err := once(t, bus.Config{URL: serve(t, &server.Options{})})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Check(t.Context()); !errors.Is(err, bus.ErrUnprovisioned) {
		t.Errorf("check: %v", err)
	}
}

func TestCheckTellsRefusedPermissions(t *testing.T) {
	s := bustest.Server(t)
	bustest.Connect(t, s, bus.Config{Name: "test"})
	for _, c := range []struct {
		key      string
		want     error
		patience time.Duration
	}{{s.KeyFile, nil, time.Minute}, {s.TailKeyFile, bus.ErrDenied, 5 * time.Second}} { // who is refused gets no answer
		b, err := once(t, bus.Config{URL: s.URL(), NKey: c.key, Patience: c.patience})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Check(t.Context()); !errors.Is(err, c.want) {
			t.Errorf("check with %s: %v, want %v", c.key, err, c.want)
		}
	}
}
