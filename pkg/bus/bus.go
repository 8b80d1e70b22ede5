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
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
)

// Config says how to reach the NATS server.
type Config struct {
	// Name is the client's name on the server: the service.
	Name string
	// Role is the one of Users whose permissions the connection has; default Name. The
	// server's answers go to an inbox that only this user may read.
	Role string
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
	// Once makes Connect fail where no server answers at once: for commands that
	// somebody waits for.
	Once bool
	// Tracing makes the spans of a service; nil makes none.
	Tracing func(service string) trace.TracerProvider
	// Patience is how long an answer of the server is waited for where the caller names
	// no deadline; default 5 s.
	Patience time.Duration
	// MeasureEvery is how often consumers are measured; default 10 s.
	MeasureEvery time.Duration
	// InProcess connects to a server of this process without a socket.
	InProcess nats.InProcessConnProvider
}

// ErrNotFound says that a key, an object or a message does not exist.
var ErrNotFound = errors.New("not found on the bus")

// ErrConflict says that somebody else changed a key first.
var ErrConflict = errors.New("key was changed by somebody else")

// ErrPlanned says that the run was planned before.
var ErrPlanned = errors.New("run is already planned")

// ErrDenied says that the server refuses the sign-in, or what was asked of it.
var ErrDenied = errors.New("permission refused")

// ErrUnprovisioned says that the server has none of litci's streams.
var ErrUnprovisioned = errors.New("the server has no streams of litci")

// Bus is a connection to the streams. It is safe for concurrent use.
type Bus struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	log     *zap.Logger
	metrics *metrics
	ackWait time.Duration
	tracing func(service string) trace.TracerProvider

	patience, measureEvery time.Duration

	runs, slots   *KV
	logs, sources *Objects
	refused       *refusals
	awaited       awaited
}

const (
	// publishTimeout bounds a publish whose context has no deadline of its own, where
	// the configuration says nothing else.
	publishTimeout = 5 * time.Second
	// connectTimeout bounds an attempt to connect: a machine that is busy, or far away,
	// needs longer than the client's own two seconds.
	connectTimeout = 10 * time.Second
)

// Connect returns a Bus that keeps trying to reach the server for as long as it
// lives: a server that is away makes it unready and never ends it. Only a
// configuration that cannot work is an error; with Once so is a server that does
// not answer.
func Connect(cfg Config, log *zap.Logger, registry prometheus.Registerer) (*Bus, error) {
	user := cmp.Or(cfg.Role, cfg.Name)
	b := &Bus{
		log: log, ackWait: cfg.AckWait, tracing: cfg.Tracing, metrics: newMetrics(),
		patience: cmp.Or(cfg.Patience, publishTimeout), measureEvery: cmp.Or(cfg.MeasureEvery, measureEvery), refused: newRefusals(cfg, user, log),
	}
	options, err := b.options(cfg, user)
	if err != nil {
		return nil, err
	}
	b.nc, err = nats.Connect(cfg.URL, options...)
	if err != nil {
		if isSignIn(err) {
			err = fmt.Errorf("%w: the sign-in of %s %s: %w", ErrDenied, user, b.refused.key, err)
		}
		return nil, fmt.Errorf("nats at %s: %w", redact(cfg.URL), err)
	}
	b.js, err = jetstream.New(b.nc, jetstream.WithDefaultTimeout(b.patience))
	if err != nil {
		b.nc.Close()
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	b.metrics.register(registry, b.nc)
	b.runs, b.slots = b.bucket(bucketRuns), b.bucket(bucketSlots)
	b.logs, b.sources = b.objects(objectsLogs), b.objects(objectsSource)
	return b, nil
}

func (b *Bus) options(cfg Config, user string) ([]nats.Option, error) {
	options := []nats.Option{
		nats.Name("litci-" + cfg.Name),
		nats.Timeout(connectTimeout),
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(!cfg.Once),
		nats.CustomReconnectDelay(func(attempts int) time.Duration {
			return min(time.Duration(attempts)*500*time.Millisecond, 2*time.Second) + rand.N(100*time.Millisecond)
		}),
		// The operator may let the user in after all.
		nats.IgnoreAuthErrorAbort(),
		nats.CustomInboxPrefix(inbox(user)),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				b.log.Warn("nats connection lost", zap.Error(err))
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { b.refused.unreachable(err) }),
		nats.ConnectHandler(func(*nats.Conn) { b.refused.connected() }),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			b.refused.connected()
			b.metrics.reconnects.Inc()
			b.log.Info("nats connection is back", zap.String("server", nc.ConnectedUrlRedacted()))
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { b.refused.hear(err) }),
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

// Ready returns nil while the server answers, refuses nothing, and has what this
// process uses.
func (b *Bus) Ready() error {
	if err := b.refused.stands(forgiven); err != nil {
		return err
	}
	if status := b.nc.Status(); status != nats.CONNECTED {
		if err := b.nc.LastError(); err != nil {
			return fmt.Errorf("nats is %s: %w", strings.ToLower(status.String()), err)
		}
		return fmt.Errorf("nats is %s", strings.ToLower(status.String()))
	}
	if what := b.awaited.first(); what != "" {
		return errors.New("waiting for " + what)
	}
	return nil
}

// Check asks the server once whether it has litci's streams and lets this user
// read them.
func (b *Bus) Check(ctx context.Context) error {
	ctx, cancel := withTimeout(ctx, b.patience)
	defer cancel()
	_, err := b.js.KeyValue(ctx, bucketRuns)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, jetstream.ErrBucketNotFound), errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("%w: %w", ErrUnprovisioned, err)
	}
	return b.Refusal(err)
}

// Refusal puts what the server refused in the place of err, which is then only the
// answer that never came: for as long as one is waited for, and that long again.
func (b *Bus) Refusal(err error) error {
	if refused := b.refused.stands(2 * b.patience); err != nil && refused != nil {
		return refused
	}
	return err
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

// Provisioned waits until the server has litci's streams, or ctx ends.
func (b *Bus) Provisioned(ctx context.Context) error {
	return b.await(ctx, "litci's streams; litci provision makes them", func(ctx context.Context) error {
		_, err := b.js.KeyValue(ctx, bucketRuns) // the last that is made
		return b.Refusal(err)
	})
}

// awaited is what a process waits for.
type awaited struct {
	mu   sync.Mutex
	what []string
}

func (a *awaited) add(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.what = append(a.what, what)
}

func (a *awaited) remove(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at := slices.Index(a.what, what); at >= 0 {
		a.what = slices.Delete(a.what, at, at+1)
	}
}

func (a *awaited) first() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.what) == 0 {
		return ""
	}
	return a.what[0]
}

// await calls try until it works or ctx ends, and logs what it waits for once.
func (b *Bus) await(ctx context.Context, what string, try func(context.Context) error) error {
	wait := 100 * time.Millisecond
	for told := false; ; {
		attempt, cancel := context.WithTimeout(ctx, b.patience)
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
			b.awaited.add(what)
			defer b.awaited.remove(what)
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
