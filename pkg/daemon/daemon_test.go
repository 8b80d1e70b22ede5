package daemon_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/bus/embedded"
	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/daemon"
	"github.com/litci/litci/pkg/leaktest"
)

func TestMain(m *testing.M) {
	leaktest.Main(m, goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"), goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"))
}

type runner func(context.Context) error

func (r runner) Run(ctx context.Context) error { return r(ctx) }

func wire(r runner) daemon.Wire {
	return func(*daemon.Env) (daemon.Runner, error) { return r, nil }
}

func waits(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func env(t *testing.T) *daemon.Env {
	return &daemon.Env{Config: &config.Config{}, Bus: bustest.New(t), Log: zap.NewNop()}
}

// administered has an environment listen on any free address, and returns a function
// that tells it once it is known.
func administered(e *daemon.Env) func() string {
	core, logs := observer.New(zapcore.InfoLevel)
	e.Log, e.Config.AdminListen = zap.New(core), "127.0.0.1:0"
	return func() string {
		for _, line := range logs.FilterMessage("health and metrics").All() {
			return line.ContextMap()["address"].(string)
		}
		return ""
	}
}

func TestFirstToStopStopsAll(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name string
		run  runner
		want string
	}{
		{"by an error", func(context.Context) error { return broken }, "broken"},
		{"by returning early", func(context.Context) error { return nil }, "stopped by itself"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := daemon.Run(t.Context(), env(t), nil, wire(waits), wire(c.run), wire(waits))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestSignalEndsWithNil(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	started := make(chan struct{})
	go func() {
		<-started
		cancel()
	}()
	err := daemon.Run(ctx, env(t), nil, wire(func(ctx context.Context) error {
		close(started)
		return waits(ctx)
	}))
	if err != nil {
		t.Error(err)
	}
}

// unfit is a service that says why it is not ready.
type unfit struct{ runner }

func (unfit) Ready() error { return errors.New("the key is wrong") }

func TestReadinessFallsWithAService(t *testing.T) {
	e := env(t)
	address := administered(e)
	ctx, cancel := context.WithCancel(t.Context())
	answer := ""
	err := daemon.Run(ctx, e, daemon.NewRegistry(), wire(waits), func(*daemon.Env) (daemon.Runner, error) {
		return unfit{func(ctx context.Context) error {
			defer cancel()
			res, err := http.Get("http://" + address() + "/readyz")
			if err != nil {
				return err
			}
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			answer = res.Status + " " + strings.TrimSpace(string(body))
			return err
		}}, nil
	})
	if want := "503 Service Unavailable the key is wrong"; err != nil || answer != want {
		t.Errorf("readiness is %q, %v; want %q", answer, err, want)
	}
}

type answering struct{ runner }

func (answering) Answers() {}

// Without the streams only those begin who have callers.
func TestCallersAreAnsweredBeforeThereAreStreams(t *testing.T) {
	server, err := embedded.Start(embedded.Config{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	b, err := bus.Connect(bus.Config{Name: "test", URL: server.URL(), NKey: server.KeyFile, InProcess: server}, zap.NewNop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	ctx, stop := context.WithCancel(t.Context())
	began := func(context.Context) error { t.Error("a service began without streams"); return nil }
	answers := func(ctx context.Context) error { stop(); return waits(ctx) }
	err = daemon.Run(ctx, &daemon.Env{Config: &config.Config{}, Bus: b, Log: zap.NewNop()}, nil, wire(began),
		func(*daemon.Env) (daemon.Runner, error) { return answering{answers}, nil })
	if err != nil {
		t.Error(err)
	}
}

func TestReadinessFallsWithTheBus(t *testing.T) {
	s := bustest.Server(t)
	e := env(t)
	e.Bus = bustest.Connect(t, s, bus.Config{Name: "test"})
	address := administered(e)
	registry := daemon.NewRegistry()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- daemon.Run(ctx, e, registry, wire(waits)) }()
	get := func(path string) (int, string) {
		t.Helper()
		res, err := http.Get("http://" + address() + path)
		if err != nil {
			return 0, err.Error()
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(body)
	}
	until := func(path string, want int) {
		t.Helper()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		deadline := time.After(time.Minute)
		for {
			code, body := get(path)
			if code == want {
				return
			}
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatalf("%s answers %d %s, want %d", path, code, body, want)
			}
		}
	}
	until("/readyz", 200)
	until("/healthz", 200)
	if code, body := get("/metrics"); code != 200 || !strings.Contains(body, "go_goroutines") {
		t.Errorf("/metrics answers %d", code)
	}
	s.Stop()
	until("/readyz", 503)
	until("/healthz", 200)
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestTakenAdminAddressIsSaid(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	e := env(t)
	e.Config.AdminListen = l.Addr().String()
	if err := daemon.Run(t.Context(), e, nil, wire(waits)); err == nil || !strings.Contains(err.Error(), "--admin-listen") {
		t.Errorf("%v", err)
	}
}
