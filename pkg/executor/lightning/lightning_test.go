package lightning

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/executortest"
	"github.com/litci/litci/pkg/executor/lightning/fakelightning"
	"github.com/litci/litci/pkg/leaktest"
)

// TestMain lets the test binary play the programs by which a machine fetches its
// source, since a machine that runs tests may have none of them.
func TestMain(m *testing.M) {
	if fetch, ok := fetchers()[filepath.Base(os.Args[0])]; ok {
		os.Exit(fetch(os.Args[1:]))
	}
	leaktest.Main(m)
}

func TestSuite(t *testing.T) {
	executortest.Run(t, func(t *testing.T) executor.Executor { return newWorld(t, fakelightning.Options{}).executor(t, nil) }, executortest.Options{
		Prepare: func(spec *executor.Spec) {
			spec.Image = "python:3.12-slim"
			spec.Timeout = max(spec.Timeout, time.Minute)
		},
		Output:   1_000_000,
		NoSource: true, Tombstone: true,
		Environment: []string{
			"PATH", "HOME", "TMPDIR",
			"GITHUB_WORKSPACE", "LITCI_WORKSPACE", "GITHUB_STEP_SUMMARY", "LITCI_STEP_SUMMARY",
			"RUNNER_TEMP", "RUNNER_NAME", "RUNNER_OS",
			// of the platform, in every container
			"LIGHTNING_CLOUD_URL", "LIGHTNING_CLOUD_PROJECT_ID", "LIGHTNING_USERNAME", "FAKE_LIGHTNING_MACHINE",
		},
	})
}

// world is a service of a test's own, and what must never be shown.
type world struct {
	*fakelightning.Server
	url    string
	source *sourceServer
	log    *safeBuffer
}

// safeBuffer is written by the executors of several processes.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(data []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(data)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newWorld(t *testing.T, options fakelightning.Options) *world {
	t.Helper()
	options.Dir = t.TempDir()
	w := &world{Server: fakelightning.New(options), source: newSource(t), log: &safeBuffer{}}
	server := httptest.NewServer(w.Server)
	w.url = server.URL
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		w.Close()
		for _, violation := range w.Violations() {
			t.Error(violation)
		}
		w.checkSecrets(t)
	})
	return w
}

// checkSecrets looks for the API key wherever it does not belong.
func (w *world) checkSecrets(t *testing.T) {
	t.Helper()
	key := w.Options().APIKey
	for _, r := range w.Requests() {
		if strings.Contains(r.Path+r.Query+r.Body, key) {
			t.Errorf("%s %s shows the API key", r.Method, r.Path)
		}
		if strings.Contains(r.Path+r.Query, "canary-signature") {
			t.Errorf("%s %s shows the source's address", r.Method, r.Path)
		}
	}
	for _, secret := range []string{key, "canary-signature"} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("our own log shows %q", secret)
		}
	}
}

// executor is one more client of the service.
func (w *world) executor(t *testing.T, change func(*Config)) *Executor {
	t.Helper()
	o := w.Options()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	config := Config{
		URL: w.url, UserID: o.UserID, APIKey: o.APIKey, Teamspace: o.Organization + "/" + o.Teamspace,
		Client: &http.Client{Transport: transport}, SourceURL: w.source.sign,
		Log: zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.Lock(zapcore.AddSync(w.log)), zap.DebugLevel)),
		Pace: Pace{
			Rate: 10_000, Retry: time.Millisecond, Call: 30 * time.Second, Marker: 200 * time.Millisecond, Fresh: time.Nanosecond,
			Discard:   time.Minute,
			LookAgain: []time.Duration{time.Millisecond, 10 * time.Millisecond},
		},
	}
	if change != nil {
		change(&config)
	}
	e, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// spec is a job of the test's own.
func spec(id, image, script string) executor.Spec {
	return executor.Spec{
		ID: "litci-" + id, Hash: "h", Image: "fake:" + image, Script: []byte(script),
		Timeout: time.Hour, Grace: time.Minute,
	}
}

// waitLimit bounds every wait; it is only reached by what is broken.
const waitLimit = 2 * time.Minute

// follow observes a job until it is in the phase, and shows what it was before.
func follow(t *testing.T, e *Executor, h executor.Handle, phase executor.Phase) (executor.State, []executor.State) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var before []executor.State
	for {
		state, err := e.Observe(ctx, h)
		if err != nil {
			t.Fatal(err)
		}
		if state.Phase == phase {
			return state, before
		}
		before = append(before, state)
		select {
		case <-ctx.Done():
			t.Fatalf("job is %+v, not %s", state, phase)
		case <-tick.C:
		}
	}
}

func fakeOptions() fakelightning.Options { return fakelightning.Options{} }
