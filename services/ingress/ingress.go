// Package ingress receives GitHub's webhooks.
//
//	in   POST / and /webhook  a signed delivery
//	out  flow.Events          the delivery, normalised, stored before the answer
//
// GitHub never sends a failed delivery again by itself: 202 means that the
// stream holds the event, and only failed storage is a 5xx. What was missed
// all the same, a sweep finds in GitHub's log and has delivered again.
package ingress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/google/go-github/v62/github"
	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
)

// The server's deadlines. GitHub hangs up after 10 s, so that reading takes no
// longer; with the publish behind it a request ends well within the grace.
const (
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second
	publishTimeout = 5 * time.Second
	writeTimeout   = 20 * time.Second
	idleTimeout    = 60 * time.Second
	stopGrace      = 20 * time.Second
	maxHeaderBytes = 32 << 10
)

// Settings are what ingress needs to know.
type Settings struct {
	// Listen is the webhook's address: ":8080", "[::1]:0".
	Listen string
	// Secrets are the webhook secrets that may sign, newest first; more than one
	// while a secret is being replaced.
	Secrets []string
	// App is the id of the GitHub App, by which it knows news of its own check
	// runs; 0 when it is not known.
	App int64
	// Log is GitHub as the App, whose log of deliveries is swept every SweepInterval
	// for what was missed; without both nothing is.
	Log           *github.Client
	SweepInterval time.Duration
	// Tracing makes the spans that traces begin with; nil makes none.
	Tracing trace.TracerProvider
}

// Ingress is the service.
type Ingress struct {
	listener net.Listener
	receiver *receiver
	sweeper  *sweeper // nil: nothing is swept
	// streams waits until the bus has litci's streams; until then it is not ready.
	streams func(context.Context) error
	log     *zap.Logger
}

// New returns an Ingress that already holds its address; deliveries wait until
// Run. It refuses secrets with which anybody could sign.
func New(b *bus.Bus, settings Settings, log *zap.Logger, metrics prometheus.Registerer) (*Ingress, error) {
	i, err := listen(stream{b}, settings, log, metrics)
	if err != nil {
		return nil, err
	}
	i.streams = b.Provisioned
	if settings.Log == nil || settings.SweepInterval <= 0 {
		return i, nil
	}
	i.sweeper, err = newSweeper(appLog{settings.Log}, b.Runs(), settings.SweepInterval, log.Named("sweep"), metrics)
	if err != nil {
		return nil, errors.Join(err, i.listener.Close())
	}
	return i, nil
}

func listen(events publisher, settings Settings, log *zap.Logger, metrics prometheus.Registerer) (*Ingress, error) {
	receiver, err := newReceiver(events, settings, log, metrics)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", settings.Listen)
	if err != nil {
		return nil, fmt.Errorf("webhook address: %w", err)
	}
	return &Ingress{listener: listener, receiver: receiver, log: log}, nil
}

// Addr is where the webhook listens, with the port that was given for port 0.
func (i *Ingress) Addr() net.Addr { return i.listener.Addr() }

// Answers says that GitHub gets an answer also while NATS is away: what is refused can
// be delivered again.
func (i *Ingress) Answers() {}

// Run receives deliveries until ctx ends, then returns nil with none in hand.
func (i *Ingress) Run(ctx context.Context) error {
	server := &http.Server{
		Handler:           i.receiver,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          zap.NewStdLog(i.log.Named("http")),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(i.listener) }()
	i.log.Info("receiving webhooks", zap.Stringer("address", i.Addr()))
	defer i.sweep(ctx)()

	select {
	case err := <-served:
		return fmt.Errorf("webhook server: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopGrace)
	defer cancel()
	err := server.Shutdown(grace)
	if err != nil {
		err = errors.Join(fmt.Errorf("webhook server did not drain in %s: %w", stopGrace, err), server.Close())
	}
	<-served
	return err
}

// sweep starts the sweep, once there are streams, and returns what ends it and waits
// for it.
func (i *Ingress) sweep(ctx context.Context) (stop func()) {
	if i.streams == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() {
		if i.streams(ctx) == nil && i.sweeper != nil { // an error is the end of ctx
			i.sweeper.run(ctx)
		}
	})
	return func() {
		cancel()
		running.Wait()
	}
}

// publisher stores an event, and returns when it is stored.
type publisher interface {
	Publish(ctx context.Context, event flow.Event) error
}

// stream is the publisher that is used outside of tests.
type stream struct{ bus *bus.Bus }

func (s stream) Publish(ctx context.Context, event flow.Event) error {
	return bus.Publish(ctx, s.bus, flow.Events, event)
}
