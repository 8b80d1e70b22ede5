package launcher

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/daemon"
	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/lightning/fakelightning"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/sourcelink"
)

func TestLinks(t *testing.T) {
	w := setup(t, newMachine())
	spec := specFor(t, aJob(), func(context.Context) (io.ReadCloser, error) { return nil, nil })
	seen := map[string]bool{}
	for _, base := range []string{"https://ci.example.com", "https://ci.example.com/litci/"} {
		address, err := links{w.bus, base}.url(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		secret, ok := strings.CutPrefix(address, strings.TrimRight(base, "/")+"/sources/")
		if !ok || len(secret) < 26 || strings.Trim(secret, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" || seen[secret] {
			t.Errorf("address is %s", address)
		}
		seen[secret] = true
		link, err := sourcelink.Take(t.Context(), w.bus, secret)
		if err != nil {
			t.Fatal(err)
		}
		if link.Object() != flow.SourceName(7, sha) || link.Attempt() != "aaaaaaaaaaaaaaaaaaaa-0-a2" {
			t.Errorf("link is to %s for %s", link.Object(), link.Attempt())
		}
	}
}

func TestLinksThatCannotBeMade(t *testing.T) {
	t.Parallel()
	for want, l := range map[string]struct {
		links
		job executor.Spec
	}{
		"--public-url": {job: executor.Spec{SourceName: "7/sha"}},
		"no source":    {links: links{base: "https://ci.example.com"}},
	} {
		if address, err := l.url(t.Context(), l.job); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s, %v; want %q", address, err, want)
		}
	}
}

// TestStartsOnLightning goes from the settings to the machine: its job is told an
// address from which the source can be fetched, and nobody else is.
func TestStartsOnLightning(t *testing.T) {
	w := setup(t, newMachine())
	service := fakelightning.New(fakelightning.Options{Dir: t.TempDir(), APIKey: "canary-key"})
	t.Cleanup(service.Close)
	web := httptest.NewServer(service)
	t.Cleanup(web.Close)
	reporter := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(reporter.Close)
	core, logs := observer.New(zapcore.DebugLevel)
	env := &daemon.Env{
		Config: &config.Config{
			Slots: 1, Executor: "lightning", PublicURL: reporter.URL, QueueTimeout: time.Hour, Retention: time.Hour,
			Lightning: config.Lightning{URL: web.URL, UserID: service.Options().UserID, APIKey: "canary-key", Teamspace: "acme/ci"},
		},
		Bus: w.bus, Log: zap.New(core), Metrics: prometheus.NewRegistry(),
	}
	r, err := Wire(env)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	j := w.job(7, 0)
	w.publish(j)
	s := w.started(j)
	jobs := service.Jobs()
	if len(jobs) != 1 || jobs[0].Name != external(j) {
		t.Fatalf("jobs are %+v", jobs)
	}
	address := jobs[0].Env["LITCI_SOURCE_URL"]
	secret, ok := strings.CutPrefix(address, reporter.URL+sourcelink.Path)
	if !ok {
		t.Fatalf("address of the source is %q", address)
	}
	link, err := sourcelink.Take(t.Context(), w.bus, secret)
	if err != nil || link.Object() != j.Source {
		t.Errorf("link is %+v, %v", link, err)
	}
	text := string(s.Handle)
	for _, entry := range logs.All() {
		text += fmt.Sprintf("\n%+v %v", entry.Entry, entry.ContextMap())
	}
	values, err := w.bus.Runs().List(t.Context(), ">")
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range values {
		text += "\n" + key + " " + string(value)
	}
	if err := bus.Tail(t.Context(), w.bus, flow.States, func(s flow.Status) bool {
		data, err := json.Marshal(s)
		text += "\n" + string(data)
		return err == nil && s.State != flow.Started
	}); err != nil {
		t.Fatal(err)
	}
	for _, canary := range []string{secret, "canary-key"} {
		if strings.Contains(text, canary) {
			t.Errorf("%s stands in\n%s", canary, text)
		}
	}
}
