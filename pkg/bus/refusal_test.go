package bus_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/serverconfig"
	"github.com/litci/litci/pkg/flow"
)

// restricted runs a server of the configuration that serverconfig writes, and returns
// it and the directory of the keys. It has an address of its own, where nobody else
// takes the port when it is gone.
func restricted(t *testing.T, pools ...string) (s *server.Server, keys string) {
	t.Helper()
	dir := t.TempDir()
	keys = filepath.Join(dir, "keys")
	done, err := serverconfig.Write(serverconfig.Config{
		Dir: dir, Keys: keys, Pools: pools, Listen: "127.0.0.3:4222", Monitor: "127.0.0.1:8222", Store: filepath.Join(dir, "store"),
	})
	if err != nil {
		t.Fatal(err)
	}
	o, err := server.ProcessConfigFile(done.File)
	if err != nil {
		t.Fatal(err)
	}
	o.Port = server.RANDOM_PORT
	return run(t, o), keys
}

func run(t *testing.T, o *server.Options) *server.Server {
	t.Helper()
	o.HTTPPort, o.HTTPHost, o.NoSigs, o.NoLog, o.AuthTimeout = 0, "", true, true, 60
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	go s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server does not listen")
	}
	return s
}

func keyOf(keys, user string) string { return filepath.Join(keys, user, serverconfig.KeyName) }

// as connects as a user.
func as(t *testing.T, s *server.Server, keys, user string, log *zap.Logger) *bus.Bus {
	t.Helper()
	b, err := bus.Connect(bus.Config{Name: user, URL: s.ClientURL(), NKey: keyOf(keys, user), Patience: time.Minute}, log, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// until waits for a condition of another goroutine.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	give := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-give:
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// refusedLines are the lines of a log that say that something was refused.
func refusedLines(logs *observer.ObservedLogs) []string {
	var lines []string
	for _, e := range logs.FilterMessage("nats refuses").All() {
		text := ""
		for _, f := range e.Context {
			if f.Type == zapcore.ErrorType {
				text += f.Interface.(error).Error()
			}
			text += " " + f.String
		}
		lines = append(lines, text)
	}
	return lines
}

func TestWrongKeyIsToldOnceAndForgottenWhenItIsKnown(t *testing.T) {
	_, foreign := restricted(t)
	s, keys := restricted(t)
	seed, err := os.ReadFile(keyOf(foreign, "planner"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keyOf(keys, "planner"), seed, 0o600); err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zapcore.WarnLevel)
	b := as(t, s, keys, "planner", zap.New(core))
	until(t, "several attempts", func() bool { return s.NumClients() == 0 && attempts(s) >= 3 && logs.Len() > 0 })
	if err := b.Ready(); !errors.Is(err, bus.ErrDenied) || !strings.Contains(err.Error(), keyOf(keys, "planner")) {
		t.Errorf("ready: %v", err)
	}
	lines := refusedLines(logs)
	if len(lines) != 1 || logs.Len() != 1 {
		t.Fatalf("logged %q in %v", lines, logs.All())
	}
	for _, part := range []string{"planner", keyOf(keys, "planner"), "--nats-nkey"} {
		if !strings.Contains(lines[0], part) {
			t.Errorf("%q does not name %s", lines[0], part)
		}
	}

	// Another server that knows the key takes the place of the first.
	address := s.Addr().String()
	s.Shutdown()
	s.WaitForShutdown()
	done, err := serverconfig.Write(serverconfig.Config{Dir: t.TempDir(), Keys: keys, Listen: address, Monitor: "127.0.0.1:8222", Store: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	o, err := server.ProcessConfigFile(done.File)
	if err != nil {
		t.Fatal(err)
	}
	run(t, o)
	until(t, "readiness", func() bool { return b.Ready() == nil })
}

// attempts counts who came and went.
func attempts(s *server.Server) uint64 {
	v, err := s.Varz(nil)
	if err != nil {
		return 0
	}
	return v.TotalConnections
}

func TestRefusedSubjectsAreToldOnceAKind(t *testing.T) {
	s, keys := restricted(t)
	maker := as(t, s, keys, "provision", zap.NewNop())
	if err := maker.Provision(t.Context(), small); err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zapcore.WarnLevel)
	b := as(t, s, keys, "ingress", zap.New(core))
	if err := b.Check(t.Context()); err != nil || b.Ready() != nil {
		t.Fatalf("check: %v, ready: %v", err, b.Ready())
	}
	// An answer never comes, and the refusal some time after the question.
	soon := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	result := func(job string) error {
		return bus.Publish(soon(), b, flow.Results, flow.Result{Job: job, Attempt: 1})
	}
	for i := range 3 {
		until(t, "the refusal of a message", func() bool {
			if err := result("j-" + strconv.Itoa(i)); err == nil {
				t.Error("another service's message was stored")
			}
			return len(refusedLines(logs)) > 0
		})
		until(t, "the refusal of a key", func() bool {
			if _, err := b.Runs().Put(soon(), "head.1.2"+strconv.Itoa(i), []byte("{}"), 0); err == nil {
				t.Error("another service's key was written")
			}
			return len(refusedLines(logs)) > 1
		})
	}
	if err := result("j-3"); !errors.Is(err, bus.ErrDenied) {
		t.Errorf("publish: %v", err)
	}
	if err := b.Ready(); !errors.Is(err, bus.ErrDenied) || !strings.Contains(err.Error(), "user ingress may not publish to") {
		t.Errorf("ready: %v", err)
	}
	lines := refusedLines(logs)
	if len(lines) != 2 || !strings.Contains(lines[0], `publish to "results"`) || !strings.Contains(lines[1], `"$KV.runs.head.1.20"`) {
		t.Errorf("logged %q", lines)
	}
}
