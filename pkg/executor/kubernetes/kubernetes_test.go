package kubernetes

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/executortest"
	"github.com/litci/litci/pkg/executor/kubernetes/fakekubernetes"
	"github.com/litci/litci/pkg/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// suiteOptions are those of the double, and of any cluster.
func suiteOptions(image string) executortest.Options {
	return executortest.Options{
		Prepare: func(spec *executor.Spec) {
			spec.Image = image
			spec.Timeout = max(spec.Timeout, time.Minute)
		},
		NoSource: true, Tombstone: true,
		Environment: []string{
			"PATH", "HOME", "HOSTNAME",
			"GITHUB_WORKSPACE", "LITCI_WORKSPACE", "GITHUB_STEP_SUMMARY", "LITCI_STEP_SUMMARY",
			"RUNNER_TEMP", "RUNNER_NAME", "RUNNER_OS",
			// of the node, in every container
			"KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "KUBERNETES_SERVICE_PORT_HTTPS", "KUBERNETES_PORT",
			"KUBERNETES_PORT_443_TCP", "KUBERNETES_PORT_443_TCP_PROTO", "KUBERNETES_PORT_443_TCP_PORT", "KUBERNETES_PORT_443_TCP_ADDR",
			"FAKE_KUBERNETES_CONTAINER",
		},
	}
}

func TestSuite(t *testing.T) {
	o := suiteOptions("debian:bookworm-slim")
	executortest.Run(t, func(t *testing.T) executor.Executor {
		return newWorld(t, fakekubernetes.Options{Restricted: true}).executor(t, nil)
	}, o)
}

// world is a cluster of a test's own, and what must never be shown.
type world struct {
	*fakekubernetes.Server
	url string
	log *safeBuffer
}

// safeBuffer is written by several goroutines.
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

func newWorld(t *testing.T, options fakekubernetes.Options) *world {
	t.Helper()
	options.Dir = t.TempDir()
	if options.Rules == nil {
		options.Rules = role(t)
	}
	w := &world{Server: fakekubernetes.New(options), log: &safeBuffer{}}
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

// role are the rules that operators are told to give litci.
func role(t *testing.T) []fakekubernetes.Rule {
	t.Helper()
	rules, err := fakekubernetes.RoleOf("../../../deploy/kubernetes/role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

const canary = "canary-signature"

// checkSecrets looks for the token and the link wherever they do not belong.
func (w *world) checkSecrets(t *testing.T) {
	t.Helper()
	token := w.Options().Token
	for _, r := range w.Requests() {
		if strings.Contains(r.Path+r.Query+r.Body, token) {
			t.Errorf("%s %s shows the token", r.Method, r.Path)
		}
		if strings.Contains(r.Path+r.Query+r.Body, canary) {
			t.Errorf("%s %s shows the source's address", r.Method, r.Path)
		}
	}
	for _, secret := range []string{token, canary} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("our own log shows %q", secret)
		}
	}
}

// executor is one more client of the cluster.
func (w *world) executor(t *testing.T, change func(*Config)) *Executor {
	t.Helper()
	o := w.Options()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	config := Config{
		Cluster: Cluster{Server: w.url, Token: o.Token, Namespace: o.Namespace}, Instance: "test",
		Client: &http.Client{Transport: transport},
		Log:    zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.Lock(zapcore.AddSync(w.log)), zap.DebugLevel)),
		Pace: Pace{
			Retry: time.Millisecond, Fresh: time.Nanosecond, Events: time.Nanosecond, Deletion: 200 * time.Millisecond,
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

// spec is a job of the test's own, with a scenario of the double.
func spec(id, scenario, script string) executor.Spec {
	return executor.Spec{
		ID: "litci-" + id, Hash: "sha256:h", Image: "fake:" + scenario, Script: []byte(script),
		Timeout: time.Hour, Grace: time.Minute,
	}
}
