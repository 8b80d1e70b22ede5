package doctor

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/executor/kubernetes/fakekubernetes"
	"github.com/litci/litci/pkg/executor/lightning/fakelightning"
	"github.com/litci/litci/pkg/fakegithub"
)

// has tells whether a report has a finding that begins so, in that state.
func (r *Report) has(what string, state State, text string) bool {
	return slices.ContainsFunc(r.Findings, func(f Finding) bool {
		return f.What == what && f.State == state && strings.Contains(f.Text, text)
	})
}

func (r *Report) text() string {
	var out bytes.Buffer
	_ = r.Print(&out) // a buffer takes everything
	return out.String()
}

func TestClock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		ahead time.Duration
		state State
		text  string
	}{
		{0, OK, "right"},
		{5 * time.Second, OK, "5s ahead"},
		{20 * time.Second, Warn, "20s ahead"},
		{31 * time.Second, Fail, "refuses"},
		{-31 * time.Second, Warn, "31s behind"},
		{-2 * time.Minute, Fail, "2m0s behind"},
	} {
		r := &Report{}
		r.clock(now.Add(-c.ahead).Format(http.TimeFormat), now, now)
		if !r.has("clock", c.state, c.text) {
			t.Errorf("%s ahead: %s", c.ahead, r.text())
		}
	}
	// An answer that took its time is no proof: GitHub wrote its time when it began or later.
	for _, passed := range []time.Duration{0, 20 * time.Second, 40 * time.Second} {
		r := &Report{}
		if r.clock(now.Add(passed).Format(http.TimeFormat), now, now.Add(40*time.Second)); !r.has("clock", OK, "right") {
			t.Errorf("written %s after the question: %s", passed, r.text())
		}
	}
	r := &Report{}
	if r.clock("", now, now); !r.has("clock", Warn, "no time") {
		t.Error(r.text())
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	r := &Report{}
	r.events([]string{"push", "check_run", "check_suite", "issue_comment", "pull_request_review", "team"})
	if r.Failed != 1 || r.Warned != 1 || !r.has("github events", Fail, "pull_request: no pull request is tested") || !r.has("github events", Warn, "merge_group") {
		t.Error(r.text())
	}
}

// gitHub is an emulator that a webhook address and permissions may be wrong of.
func gitHub(t *testing.T, cfg fakegithub.Config) *config.Config {
	t.Helper()
	key, err := fakegithub.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	cfg.AppID, cfg.PrivateKey = 7, key
	hub, err := fakegithub.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hub.Close() })
	web := httptest.NewServer(hub)
	t.Cleanup(web.Close)
	return &config.Config{GitHubURL: web.URL, AppID: 7, PrivateKey: fakegithub.EncodeKey(key)}
}

func TestGitHub(t *testing.T) {
	t.Parallel()
	answering := func(code int) string {
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }))
		t.Cleanup(web.Close)
		return web.URL + "/webhook?canary=1"
	}
	for name, c := range map[string]struct {
		hub   fakegithub.Config
		what  string
		state State
		text  string
	}{
		"no webhook":         {fakegithub.Config{}, "webhook", Fail, "no webhook URL"},
		"no secret":          {fakegithub.Config{WebhookURL: answering(405)}, "webhook", Fail, "no secret"},
		"good webhook":       {fakegithub.Config{WebhookURL: answering(405), WebhookSecret: "s"}, "webhook", OK, "answers from here"},
		"something else":     {fakegithub.Config{WebhookURL: answering(404), WebhookSecret: "s"}, "webhook", Fail, "is not ingress"},
		"proxy alone":        {fakegithub.Config{WebhookURL: answering(502), WebhookSecret: "s"}, "webhook", Fail, "answers 502"},
		"nobody":             {fakegithub.Config{WebhookURL: "http://127.0.0.1:1/webhook?canary=1", WebhookSecret: "s"}, "webhook", Fail, "does not answer"},
		"permission missing": {fakegithub.Config{Permissions: map[string]string{"checks": "read", "contents": "write", "metadata": "read"}}, "github permissions", Fail, "the App lacks checks write, pull_requests write"},
		"installed nowhere":  {fakegithub.Config{}, "github installations", Warn, "nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &Report{}
			r.github(t.Context(), gitHub(t, c.hub))
			if !r.has(c.what, c.state, c.text) || strings.Contains(r.text(), "canary") {
				t.Error(r.text())
			}
			for _, f := range r.Findings {
				if (f.State == OK) != (f.Remedy == "") {
					t.Errorf("%+v", f)
				}
			}
		})
	}
}

// GitHub itself reaches no address of this network.
func TestPrivateAddresses(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "::1": true, "10.1.2.3": true, "192.168.0.1": true, "0.0.0.0": true,
		"ci.example.com": false, "140.82.112.3": false,
	} {
		if private(host) != want {
			t.Errorf("%s is private: %t", host, !want)
		}
	}
}

func TestTopology(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		found bus.Inspection
		state State
		text  string
	}{
		{bus.Inspection{Topology: 2}, OK, "version 2"},
		{bus.Inspection{Topology: 2, Missing: []string{"stream JOBS"}, Older: []string{"stream EVENTS"}}, Fail, "stream JOBS"},
		{bus.Inspection{Topology: 2, Older: []string{"stream EVENTS"}}, Warn, "older than version 2"},
		{bus.Inspection{Topology: 2, Newer: []string{"stream EVENTS"}}, Warn, "newer than version 2"},
	} {
		r := &Report{}
		if r.topology(c.found); !r.has("nats topology", c.state, c.text) {
			t.Error(r.text())
		}
	}
}

func TestStorage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		found bus.Inspection
		state State
	}{
		{bus.Inspection{Used: 5 << 30}, OK},
		{bus.Inspection{Used: 5 << 30, Limit: 10 << 30}, OK},
		{bus.Inspection{Used: 95 << 20, Limit: 100 << 20}, Warn},
		{bus.Inspection{Full: []string{"bucket runs"}}, Fail},
	} {
		r := &Report{}
		if r.storage(c.found); !r.has("nats storage", c.state, "") {
			t.Errorf("%+v: %s", c.found, r.text())
		}
	}
}

// TestServer looks at a server before and after it is provisioned, and without a key.
func TestServer(t *testing.T) {
	t.Parallel()
	server := bustest.Server(t)
	cfg := &config.Config{NATS: config.NATS{URL: server.URL(), NKey: server.KeyFile}}
	r := &Report{}
	if r.nats(t.Context(), cfg); !r.has("nats topology", Fail, "stream JOBS") || !r.has("nats", OK, "version") {
		t.Error(r.text())
	}
	bustest.Connect(t, server, bus.Config{Name: "test"}) // provisions it
	r = &Report{}
	if r.nats(t.Context(), cfg); !r.has("nats topology", OK, "") {
		t.Error(r.text())
	}
	r = &Report{}
	cfg.NATS.NKey = ""
	if r.nats(t.Context(), cfg); !r.has("nats sign-in", Fail, "") {
		t.Error(r.text())
	}
}

func TestLightning(t *testing.T) {
	t.Parallel()
	service := fakelightning.New(fakelightning.Options{Dir: t.TempDir(), APIKey: "canary-key"})
	t.Cleanup(service.Close)
	web := httptest.NewServer(service)
	t.Cleanup(web.Close)
	good := config.Lightning{URL: web.URL, UserID: service.Options().UserID, APIKey: "canary-key", Teamspace: "acme/ci"}
	wrong := good
	wrong.APIKey = "canary-wrong"
	for state, l := range map[State]config.Lightning{OK: good, Fail: wrong} {
		r := &Report{}
		r.executor(t.Context(), &config.Config{Executor: "lightning", Lightning: l})
		if !r.has("executor lightning", state, "") || strings.Contains(r.text(), "canary") {
			t.Error(r.text())
		}
	}
}

// Each pool's executor is looked at.
func TestPools(t *testing.T) {
	t.Parallel()
	cluster := fakekubernetes.New(fakekubernetes.Options{Dir: t.TempDir(), Token: "canary-token"})
	t.Cleanup(cluster.Close)
	web := httptest.NewServer(cluster)
	t.Cleanup(web.Close)
	pool := func(name, token string) *config.Config {
		file := filepath.Join(t.TempDir(), "kubeconfig")
		text := fmt.Sprintf(`{current-context: a, contexts: [{name: a, context: {cluster: a, user: a, namespace: %s}}],
clusters: [{name: a, cluster: {server: %q}}], users: [{name: a, user: {token: %s}}]}`, cluster.Options().Namespace, web.URL, token)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return &config.Config{Pool: name, Executor: "kubernetes", Kubernetes: config.Kubernetes{Kubeconfig: file}, PublicURL: "http://127.0.0.1:1"}
	}
	cfg := &config.Config{Executor: "local", Data: t.TempDir(), PublicURL: "http://127.0.0.1:1", Pools: []*config.Config{pool("good", "canary-token"), pool("bad", "canary-wrong")}}
	r := Examine(t.Context(), cfg, "launcher")
	if !r.has("executor local: bash", OK, "") || !r.has("pool good: executor kubernetes", OK, "") ||
		!r.has("pool bad: executor kubernetes", Fail, "make a new token") || !r.has("pool good: report pages", Fail, "pods would find themselves") || strings.Contains(r.text(), "canary") {
		t.Error(r.text())
	}
}

func TestLocal(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "not", "there")
	r := &Report{}
	r.executor(t.Context(), &config.Config{Executor: "local", Data: data, JobUser: "no such user"})
	if !r.has("executor local: bash", OK, "bash") || !r.has("executor local: job user", Fail, "no such user") {
		t.Error(r.text())
	}
	if made, err := filepath.Glob(filepath.Dir(data)); err != nil || made != nil {
		t.Errorf("%v was made, %v", made, err)
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	for name, c := range map[string]struct {
		cfg    config.Config
		serves bool
		state  State
		text   string
	}{
		"unset":             {config.Config{}, true, Warn, "only its own users"},
		"answering":         {config.Config{PublicURL: web.URL}, true, OK, "answers from here"},
		"away":              {config.Config{PublicURL: "http://127.0.0.1:1"}, true, Fail, "does not answer"},
		"hidden from cloud": {config.Config{PublicURL: web.URL, Executor: "lightning"}, false, Fail, "cannot reach"},
	} {
		r := &Report{}
		if r.pages(t.Context(), &c.cfg, c.serves); !r.has("report pages", c.state, c.text) {
			t.Errorf("%s: %s", name, r.text())
		}
	}
	r := &Report{}
	if r.pages(t.Context(), &config.Config{}, false); len(r.Findings) != 0 {
		t.Error(r.text())
	}
}

// A machine without NATS and GitHub is told what it lacks, part by part.
func TestExamine(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	r := Examine(ctx, &config.Config{Executor: "local", Data: t.TempDir(), LogLevel: "info", LogFormat: "console"}, "launcher", "reporter")
	for _, want := range []string{"--app-id", "--private-key-file", "--nats-url", "--slots"} {
		if !r.has("settings", Fail, want) {
			t.Errorf("%s is missing in\n%s", want, r.text())
		}
	}
	if !r.has("nats", Warn, "no litci up runs") || strings.Contains(r.text(), "github app") {
		t.Error(r.text())
	}
}

func TestPrintIsPlain(t *testing.T) {
	t.Parallel()
	r := &Report{}
	r.add("x", Fail, "two\nlines \x1b[31mred", "do\tthis")
	if text := r.text(); strings.ContainsRune(text, 0x1b) || strings.Count(text, "\n") != 3 {
		t.Errorf("%q", text)
	}
}
