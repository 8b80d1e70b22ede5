// Package mesh runs litci's services in one process, over the very same subjects
// as five processes do: only the server moves in.
package mesh

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/embedded"
	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/daemon"
	"github.com/litci/litci/pkg/tracing"
	"github.com/litci/litci/services/ingress"
	"github.com/litci/litci/services/launcher"
	"github.com/litci/litci/services/planner"
	"github.com/litci/litci/services/reporter"
	"github.com/litci/litci/services/watcher"
)

// Services are the names of all five, in the order in which a commit passes them.
func Services() []string {
	return []string{"ingress", "planner", "launcher", "watcher", "reporter"}
}

// WireOf returns how a service is made, or false for a name that is none.
func WireOf(service string) (daemon.Wire, bool) {
	switch service {
	case "ingress":
		return ingress.Wire, true
	case "planner":
		return planner.Wire, true
	case "launcher":
		return launcher.Wire, true
	case "watcher":
		return watcher.Wire, true
	case "reporter":
		return reporter.Wire, true
	}
	return nil, false
}

// ownAckWait is how long after a restart of the process's own server what was in
// hand comes again: the server forgets what was given back to it last.
const ownAckWait = 10 * time.Second

// Mesh is what runs in this process.
type Mesh struct {
	// Bus reaches the streams.
	Bus *bus.Bus
	// Server is the NATS server in the process; nil when another one is used.
	Server *embedded.Server

	config   *config.Config
	log      *zap.Logger
	registry *prometheus.Registry
	tracing  *tracing.Exporter
}

// Open connects to the configured NATS server, or starts one in the process when
// none is configured, and makes the topology unless only a part of the services is
// to run: then the topology is somebody else's.
func Open(ctx context.Context, cfg *config.Config, log *zap.Logger, services []string) (*Mesh, error) {
	own := *cfg
	m := &Mesh{config: &own, log: log, registry: daemon.NewRegistry()}
	size := bus.Provision{Replicas: own.NATS.Replicas, Bytes: own.NATS.MaxBytes, Pools: own.Named()}
	if own.NATS.URL == "" {
		server, err := StartServer(&own)
		if err != nil {
			return nil, err
		}
		m.Server = server
		own.NATS.URL, own.NATS.NKey = server.URL(), server.KeyFile
		if size.Bytes == 0 {
			size.Bytes = server.Storage
		}
		log.Info("nats server", zap.String("address", server.URL()), zap.String("nkey_for_tailing", server.TailKeyFile))
	}
	bc := own.Bus(name(services))
	if m.Server != nil {
		bc.InProcess = m.Server
		if bc.AckWait == 0 {
			bc.AckWait = ownAckWait
		}
	}
	var err error
	if m.tracing, err = tracing.Open(daemon.Version(), log.Named("tracing")); err != nil {
		m.Close()
		return nil, err
	}
	bc.Tracing = m.tracing.Provider
	if m.Bus, err = bus.Connect(bc, log.Named("bus"), m.registry); err != nil {
		m.Close()
		return nil, err
	}
	if m.Server != nil || len(services) == len(Services()) {
		if err := m.Bus.Provision(ctx, size); err != nil {
			m.Close()
			return nil, err
		}
	}
	return m, nil
}

// name is how the process calls itself on the server.
func name(services []string) string {
	switch {
	case len(services) == 1:
		return services[0]
	case slices.Equal(slices.Sorted(slices.Values(services)), []string{"launcher", "watcher"}):
		return bus.Runner
	}
	return "litci"
}

// StartServer starts the NATS server that the settings describe, with its data below
// the data directory.
func StartServer(cfg *config.Config) (*embedded.Server, error) {
	s, err := embedded.Start(embedded.Config{
		Dir: filepath.Join(cfg.Data, "nats"), Listen: cfg.NATS.Listen, SyncAlways: cfg.NATS.SyncAlways,
	})
	if err != nil {
		return nil, fmt.Errorf("%w (--nats-listen sets the address, --data the directory)", err)
	}
	return s, nil
}

// Run runs services until ctx ends.
func (m *Mesh) Run(ctx context.Context, wires ...daemon.Wire) error {
	env := &daemon.Env{Config: m.config, Bus: m.Bus, Log: m.log, Metrics: m.registry, Tracing: m.tracing}
	return daemon.Run(ctx, env, m.registry, wires...)
}

// Close ends the connection and then the server in the process, which syncs its
// store.
func (m *Mesh) Close() {
	if m.Bus != nil {
		m.Bus.Close()
	}
	if m.Server != nil {
		m.Server.Stop()
	}
	m.tracing.Close()
}

// Choose returns the wires of the named services, all for no name.
func Choose(names []string) (services []string, wires []daemon.Wire, err error) {
	services = slices.Compact(slices.Sorted(slices.Values(names)))
	if len(services) == 0 {
		services = Services()
	}
	for _, s := range services {
		wire, known := WireOf(s)
		if !known {
			return nil, nil, fmt.Errorf("--service %s is not known; the services are %s", s, strings.Join(Services(), ", "))
		}
		wires = append(wires, wire)
	}
	return services, wires, nil
}
