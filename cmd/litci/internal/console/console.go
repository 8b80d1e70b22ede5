// Package console operates a running mesh through NATS alone: it lists jobs, reads
// logs, asks for ends and repetitions, and looks after dead letters. It decides
// nothing; whoever holds a job does.
package console

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/embedded"
	"github.com/litci/litci/pkg/config"
)

// Connect reaches the server that the settings name, or else that of litci up on
// this machine.
func Connect(ctx context.Context, cfg *config.Config) (*bus.Bus, error) {
	return connect(ctx, cfg.Bus("operator"), cfg.Data)
}

// Look is Connect for those who only look: the rights of the user tail are enough.
func Look(ctx context.Context, cfg *config.Config) (*bus.Bus, error) {
	b, err := connect(ctx, cfg.Bus(bus.Viewer), cfg.Data)
	if errors.Is(err, bus.ErrDenied) && cfg.NATS.URL != "" {
		err = fmt.Errorf("%w (where users have keys of their own, it is that of the user %s)", err, bus.Viewer)
	}
	return b, err
}

func connect(ctx context.Context, bc bus.Config, data string) (*bus.Bus, error) {
	bc.Once = true
	hint := ""
	if bc.URL == "" {
		dir := filepath.Join(data, "nats")
		url, key, err := embedded.Find(dir)
		if errors.Is(err, embedded.ErrNoServer) {
			return nil, fmt.Errorf("no litci up runs with its data in %s: --data names another directory, --nats-url a server", data)
		}
		if err != nil {
			return nil, err
		}
		bc.URL = url
		if bc.Creds == "" && bc.NKey == "" && bc.User == "" {
			bc.NKey = key
		}
		hint = fmt.Sprintf(": does the litci up still run that has its data in %s? --data names another directory, --nats-url a server", data)
	}
	b, err := bus.Connect(bc, zap.NewNop(), nil)
	if errors.Is(err, bus.ErrDenied) {
		return nil, fmt.Errorf("%w; --nats-creds, --nats-nkey or --nats-user sign in", err)
	}
	if err != nil {
		return nil, fmt.Errorf("%w%s", err, hint)
	}
	if err := b.Check(ctx); err != nil {
		b.Close()
		if errors.Is(err, bus.ErrUnprovisioned) {
			err = fmt.Errorf("%w; litci up or litci provision makes them", err)
		}
		return nil, err
	}
	return b, nil
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
