// Package bus carries flow's messages over NATS JetStream. It owns the topology,
// publishes, consumes and settles; it is the only package that imports the
// JetStream client and the only place that acks.
//
// Five rules carry the safety (docs/decisions/0002-delivery.md): side effect, then
// publish, then ack; every id is computed from the input; a marker or a
// compare-and-set is the guarantee and the duplicate window only an optimisation;
// acks can be lost; order is never relied on.
package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// Config says how to reach the NATS server.
type Config struct {
	// Name is the client's name on the server: the service.
	Name string
	// URL is a comma-separated list of server addresses.
	URL string
	// Creds is a credentials file, NKey a seed file; User and Password are the plain
	// way. At most one of the three is used.
	Creds    string
	NKey     string
	User     string
	Password string
	// CA, Cert and Key are PEM files for TLS; Cert and Key go together.
	CA   string
	Cert string
	Key  string
	// AckWait replaces the consumers' ack waits when the topology is provisioned
	// through this Bus: the time after which a crashed service's message is
	// delivered again. 0 keeps the defaults.
	AckWait time.Duration
	// InProcess connects to a server of this process without a socket.
	InProcess nats.InProcessConnProvider
}

// ErrNotFound says that a key, an object or a message does not exist.
var ErrNotFound = errors.New("not found on the bus")

// ErrConflict says that somebody else changed a key first.
var ErrConflict = errors.New("key was changed by somebody else")

// ErrPlanned says that the run was planned before.
var ErrPlanned = errors.New("run is already planned")

// Bus is a connection to the streams. It is safe for concurrent use.
type Bus struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	log     *zap.Logger
	metrics *metrics
	ackWait time.Duration

	runs          *KV
	logs, sources *Objects
	// denied is the last permission that the server refused, nil or a string.
	denied atomic.Pointer[string]
}

// publishTimeout bounds a publish whose context has no deadline of its own.
const publishTimeout = 5 * time.Second

// Connect returns a Bus that keeps trying to reach the server for as long as it
// lives: a server that is away makes it unready and never ends it. Only a
// configuration that cannot work is an error.
func Connect(cfg Config, log *zap.Logger, registry prometheus.Registerer) (*Bus, error) {
	b := &Bus{log: log, ackWait: cfg.AckWait, metrics: newMetrics(registry)}
	options, err := b.options(cfg)
	if err != nil {
		return nil, err
	}
	b.nc, err = nats.Connect(cfg.URL, options...)
	if err != nil {
		return nil, fmt.Errorf("nats at %s: %w", redact(cfg.URL), err)
	}
	b.js, err = jetstream.New(b.nc, jetstream.WithDefaultTimeout(publishTimeout))
	if err != nil {
		b.nc.Close()
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	b.runs = &KV{bucketRuns, kept(func(ctx context.Context) (jetstream.KeyValue, error) { return b.js.KeyValue(ctx, bucketRuns) })}
	b.logs, b.sources = b.objects(objectsLogs), b.objects(objectsSource)
	return b, nil
}

func (b *Bus) options(cfg Config) ([]nats.Option, error) {
	options := []nats.Option{
		nats.Name("litci-" + cfg.Name),
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(true),
		nats.ReconnectWait(500 * time.Millisecond),
		// A private inbox keeps other users of the account from reading the answers.
		nats.CustomInboxPrefix("_INBOX_" + cfg.Name),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				b.log.Warn("nats connection lost", zap.Error(err))
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			b.denied.Store(nil)
			b.log.Info("nats connection is back", zap.String("server", nc.ConnectedUrlRedacted()))
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) {
				text := err.Error()
				b.denied.Store(&text)
			}
			b.log.Warn("nats reports", zap.Error(err))
		}),
	}
	switch {
	case cfg.Creds != "":
		options = append(options, nats.UserCredentials(cfg.Creds))
	case cfg.NKey != "":
		key, err := nats.NkeyOptionFromSeed(cfg.NKey)
		if err != nil {
			return nil, fmt.Errorf("nkey seed file %s: %w", cfg.NKey, err)
		}
		options = append(options, key)
	case cfg.User != "":
		options = append(options, nats.UserInfo(cfg.User, cfg.Password))
	}
	if cfg.CA != "" {
		options = append(options, nats.RootCAs(cfg.CA))
	}
	if cfg.Cert != "" {
		options = append(options, nats.ClientCert(cfg.Cert, cfg.Key))
	}
	if cfg.InProcess != nil {
		options = append(options, nats.InProcessServer(cfg.InProcess))
	}
	return options, nil
}

// redact drops user and password from the addresses of a URL list.
func redact(list string) string {
	parts := strings.Split(list, ",")
	for i, part := range parts {
		if at := strings.LastIndexByte(part, '@'); at >= 0 {
			scheme := ""
			if end := strings.Index(part, "://"); end >= 0 && end < at {
				scheme = part[:end+3]
			}
			parts[i] = scheme + part[at+1:]
		}
	}
	return strings.Join(parts, ",")
}

// Ready returns nil while the server answers and refuses nothing.
func (b *Bus) Ready() error {
	if status := b.nc.Status(); status != nats.CONNECTED {
		if err := b.nc.LastError(); err != nil {
			return fmt.Errorf("nats is %s: %w", strings.ToLower(status.String()), err)
		}
		return fmt.Errorf("nats is %s", strings.ToLower(status.String()))
	}
	if denied := b.denied.Load(); denied != nil {
		return errors.New(*denied)
	}
	return nil
}

// Close sends what is buffered and ends the connection. Consumers must have
// returned before.
func (b *Bus) Close() {
	if b.nc.Status() == nats.CONNECTED {
		if err := b.nc.FlushTimeout(2 * time.Second); err != nil {
			b.log.Warn("flush of the nats connection", zap.Error(err))
		}
	}
	b.nc.Close()
}

// await calls try until it works or ctx ends, and logs what it waits for once.
func (b *Bus) await(ctx context.Context, what string, try func(context.Context) error) error {
	wait := 100 * time.Millisecond
	for told := false; ; {
		attempt, cancel := context.WithTimeout(ctx, publishTimeout)
		err := try(attempt)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !told {
			told = true
			b.log.Warn("waiting for "+what, zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, 5*time.Second)
	}
}
