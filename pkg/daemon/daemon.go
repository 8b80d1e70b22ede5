// Package daemon runs services: signals, health, metrics, shutdown. One process
// or five, a service cannot tell.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/tracing"
)

// Env is what a service is wired from.
type Env struct {
	Config  *config.Config
	Bus     *bus.Bus
	Log     *zap.Logger
	Metrics prometheus.Registerer
	// Tracing exports spans; nil exports none.
	Tracing *tracing.Exporter
}

// Runner works until ctx ends, and returns nil once the work in hand is put down.
// One that has a method Ready() error makes the process unready while that is not nil.
type Runner interface {
	Run(ctx context.Context) error
}

type readier interface{ Ready() error }

// answerer is a runner with callers who must hear that it cannot work yet, rather than
// wait for an answer: it begins at once.
type answerer interface{ Answers() }

// Wire makes a service from its environment.
type Wire func(*Env) (Runner, error)

// stopWithin bounds the time between the signal and the end.
const stopWithin = 28 * time.Second

// NewRegistry returns a registry that has the process's own metrics.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), buildInfo())
	return r
}

// Main is the whole of a service's own binary. It exits with 0 after a signal,
// with 1 when the service failed, with 2 when the settings are wrong. With the argument
// "health" it asks a running one how it is, and exits with 0 or 1.
func Main(service string, wire Wire) {
	os.Exit(run(service, wire, os.Args[1:]))
}

func run(service string, wire Wire, args []string) int {
	flags := pflag.NewFlagSet("litci-"+service, pflag.ContinueOnError)
	config.AddFlags(flags, service)
	version := flags.Bool("version", false, "print the version")
	flags.Usage = func() {
		fmt.Printf("Usage: litci-%[1]s [flags]\n       litci-%[1]s health [flags]\n\nRuns litci's %[1]s against a NATS server (--nats-url); health asks the one at\n--admin-listen whether it is ready.\n\n%[2]s", service, flags.FlagUsages())
	}
	if err := flags.Parse(args); errors.Is(err, pflag.ErrHelp) {
		return 0
	} else if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if *version {
		fmt.Println("litci-"+service, Version())
		return 0
	}
	switch {
	case flags.NArg() == 1 && flags.Arg(0) == "health":
		return health(flags)
	case flags.NArg() > 0:
		fmt.Fprintf(os.Stderr, "litci-%s takes flags, and no argument but health; it was given %q\n", service, flags.Args())
		return 2
	}
	cfg, err := config.Load(flags, config.Options{DotEnv: ".env"}, service)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	log, err := cfg.Logger()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	defer func() { _ = log.Sync() }()
	ctx, stop := Signals(context.Background())
	defer stop()
	if err := serve(ctx, cfg, log, service, wire); err != nil {
		log.Error("stopped", zap.Error(err))
		return 1
	}
	return 0
}

func health(flags *pflag.FlagSet) int {
	// An operator's settings are those that must be right to look at a service.
	cfg, err := config.Load(flags, config.Options{DotEnv: ".env"}, config.Operator)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	if err := Health(context.Background(), cfg.AdminListen); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("ready")
	return 0
}

func serve(ctx context.Context, cfg *config.Config, log *zap.Logger, service string, wire Wire) error {
	registry := NewRegistry()
	spans, err := tracing.Open(Version(), log.Named("tracing"))
	if err != nil {
		return err
	}
	defer spans.Close()
	bc := cfg.Bus(service)
	bc.Tracing = spans.Provider
	b, err := bus.Connect(bc, log.Named("bus"), registry)
	if err != nil {
		return err
	}
	defer b.Close()
	return Run(ctx, &Env{Config: cfg, Bus: b, Log: log, Metrics: registry, Tracing: spans}, registry, wire)
}

// Signals ends the context at the first SIGINT or SIGTERM; the second ends the
// process at once.
func Signals(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(parent, syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// Run wires the services and runs them, with health and metrics on the admin
// address, until ctx ends or one of them fails; the first to stop stops all. It
// returns nil when all of them put their work down in time. Services begin once NATS
// has litci's streams, but for those that have callers to answer.
func Run(ctx context.Context, env *Env, gather prometheus.Gatherer, wires ...Wire) error {
	runners := make([]Runner, 0, len(wires)+1)
	for _, wire := range wires {
		r, err := wire(env)
		if err != nil {
			return err
		}
		runners = append(runners, r)
	}
	if env.Config.AdminListen != "" {
		a, err := newAdmin(env, gather, runners)
		if err != nil {
			return err
		}
		runners = append(runners, a)
	}
	runners = append(runners, newPresence(env, gather, runners))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, len(runners))
	provisioned := sync.OnceValue(func() error { return env.Bus.Provisioned(ctx) })
	for i, r := range runners {
		go func() {
			if _, answers := r.(answerer); i < len(wires) && !answers && provisioned() != nil { // ctx has ended
				ended <- nil
				return
			}
			err := r.Run(ctx)
			if err == nil && ctx.Err() == nil {
				err = errors.New("stopped by itself")
			}
			if err != nil {
				err = fmt.Errorf("%s: %w", name(r), err)
			}
			ended <- err
		}()
	}
	var failed error
	var late <-chan time.Time
	stopping := ctx.Done()
	for left := len(runners); left > 0; {
		select {
		case err := <-ended:
			left--
			failed = errors.Join(failed, err)
			cancel()
		case <-stopping:
			stopping = nil
			env.Log.Info("stopping")
			late = time.After(stopWithin)
		case <-late:
			return errors.Join(failed, fmt.Errorf("%d services did not stop within %s", left, stopWithin))
		}
	}
	return failed
}

// name is the package of a runner's type: "planner".
func name(r Runner) string {
	if several, ok := r.(pools); ok {
		return name(several[0].Runner)
	}
	text := strings.TrimPrefix(fmt.Sprintf("%T", r), "*")
	before, _, _ := strings.Cut(text, ".")
	return before
}

// admin serves health, readiness and metrics.
type admin struct {
	listener net.Listener
	server   *http.Server
}

// readiness returns a function that says why the process cannot work at present.
func readiness(env *Env, runners []Runner) func() error {
	all := []readier{env.Bus}
	for _, r := range runners {
		if r, ok := r.(readier); ok {
			all = append(all, r)
		}
	}
	return func() error {
		for _, r := range all {
			if err := r.Ready(); err != nil {
				return err
			}
		}
		return nil
	}
}

func newAdmin(env *Env, gather prometheus.Gatherer, runners []Runner) (*admin, error) {
	ready := readiness(env, runners)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(gather, promhttp.HandlerOpts{}))
	listener, err := net.Listen("tcp", env.Config.AdminListen)
	if err != nil {
		return nil, fmt.Errorf("admin address: %w; --admin-listen sets another", err)
	}
	env.Log.Info("health and metrics", zap.String("address", listener.Addr().String()))
	return &admin{listener, &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}}, nil
}

// Run serves until ctx ends.
func (a *admin) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { _ = a.server.Close() })()
	if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
