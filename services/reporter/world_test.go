package reporter

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/bus/embedded"
	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/pkg/fakegithub/fakegithubtest"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/ghapp"
	"github.com/litci/litci/pkg/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// world is a real bus and a GitHub with one repository and one pull request.
type world struct {
	t      testing.TB
	server *embedded.Server
	hub    *fakegithub.Server
	url    string
	key    []byte
	// shas are commits of the repository, old to new.
	shas []string
	pull int
	// budgets are what the installation may spend; nil is the default.
	budgets *ghapp.Budgets

	mu      sync.Mutex
	changed chan struct{} // closed at the next request's end
}

const (
	appID        = 4242
	installation = 77
	repoID       = 11
)

func newWorld(t *testing.T, limits fakegithub.Limits) *world {
	t.Helper()
	return newWorldGranting(t, limits, nil)
}

// newWorldGranting is a world whose installation granted just these permissions;
// nil is all that litci asks for.
func newWorldGranting(t *testing.T, limits fakegithub.Limits, permissions map[string]string) *world {
	t.Helper()
	return newWorldOf(t, fakegithub.Config{Limits: limits, Permissions: permissions})
}

func newWorldOf(t testing.TB, cfg fakegithub.Config) *world {
	t.Helper()
	w := &world{t: t, server: bustest.Server(t), changed: make(chan struct{})}
	dir := t.TempDir()
	w.git(dir, "init", "-q", "-b", "main")
	for i := range 3 {
		if err := os.WriteFile(filepath.Join(dir, "file"), fmt.Append(nil, i), 0o600); err != nil {
			t.Fatal(err)
		}
		w.git(dir, "add", ".")
		w.git(dir, "commit", "-q", "-m", fmt.Sprint("commit ", i))
		w.shas = append(w.shas, w.git(dir, "rev-parse", "HEAD"))
	}
	w.git(dir, "branch", "topic")
	key, err := fakegithub.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	w.key = fakegithub.EncodeKey(key)
	cfg.AppID, cfg.PrivateKey = appID, key
	if w.hub, err = fakegithub.New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.hub.Close() })
	if err := w.hub.AddRepo(fakegithub.Repo{Owner: "octo", Name: "repo", ID: repoID, Dir: dir, Installation: installation}); err != nil {
		t.Fatal(err)
	}
	// What is sent must fit GitHub's own description, whatever the emulator takes.
	checked := fakegithubtest.Handler(t, w.hub)
	web := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		defer w.tell()
		checked.ServeHTTP(rw, r)
	}))
	t.Cleanup(web.Close)
	w.url = web.URL
	if w.pull, err = w.hub.OpenPull(t.Context(), fakegithub.OpenPull{Owner: "octo", Repo: "repo", Head: "topic", Base: "main"}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) git(dir string, args ...string) string {
	w.t.Helper()
	// What git tidies up in the background would write while the folder is removed.
	cmd := exec.Command("git", append([]string{"-c", "maintenance.auto=false", "-c", "gc.auto=0"}, args...)...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a",
		"GIT_COMMITTER_EMAIL=a@example.com", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// tell wakes who awaits a change at GitHub.
func (w *world) tell() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.changed)
	w.changed = make(chan struct{})
}

// await returns once ok is true of GitHub's state; it looks after every request.
func (w *world) await(what string, ok func(fakegithub.State) bool) fakegithub.State {
	w.t.Helper()
	return w.awaitFor(3*time.Minute, what, ok)
}

func (w *world) awaitFor(d time.Duration, what string, ok func(fakegithub.State) bool) fakegithub.State {
	w.t.Helper()
	limit := time.NewTimer(d)
	defer limit.Stop()
	for {
		w.mu.Lock()
		changed := w.changed
		w.mu.Unlock()
		state := w.hub.State()
		if ok(state) {
			return state
		}
		select {
		case <-changed:
		case <-limit.C:
			w.t.Fatalf("never: %s\n%s", what, shown(state))
		}
	}
}

// connect is another process's connection to the bus.
func (w *world) connect() *bus.Bus {
	return bustest.Connect(w.t, w.server, bus.Config{Name: "reporter", AckWait: 30 * time.Second})
}

// reporter is one more life of the service; transport may be nil.
func (w *world) reporter(transport http.RoundTripper) *Reporter {
	w.t.Helper()
	return w.reporterOn(w.connect(), transport)
}

func (w *world) reporterOn(b *bus.Bus, transport http.RoundTripper) *Reporter {
	w.t.Helper()
	own := &http.Transport{}
	w.t.Cleanup(own.CloseIdleConnections)
	if transport == nil {
		transport = own
	}
	checks, comments, err := newApps(ghapp.Config{BaseURL: w.url, AppID: appID, PrivateKey: w.key, Transport: transport, Budgets: w.budgets})
	if err != nil {
		w.t.Fatal(err)
	}
	log := zaptest.NewLogger(w.t, zaptest.Level(zapLevel))
	pages, err := NewPages(b, "127.0.0.1:0", "", w.key, log)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = pages.listener.Close() })
	pages.poll = 20 * time.Millisecond
	r := New(b, checks, comments, pages, log)
	r.checkEvery, r.sumEvery, r.commentEvery = 0, 0, 0
	r.turns.poll = 5 * time.Millisecond
	w.t.Cleanup(r.desk.close)
	w.t.Cleanup(r.looks.close)
	return r
}

// run starts a life of the service and ends it with the test.
func (w *world) run(r *Reporter) {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	w.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
}

// plan is a run with n jobs on the pull request at a commit.
func (w *world) plan(letter, sha string, n int, at time.Time) (flow.Plan, []flow.Job) {
	id := flow.Identity{
		Delivery: "guid-" + letter, Installation: installation, Repo: flow.Repo{ID: repoID, Owner: "octo", Name: "repo"},
		Event: "pull_request", SHA: sha, Ref: "refs/pull/1/head", PullRequest: w.pull, Run: strings.Repeat(letter, 20),
	}
	p := flow.Plan{Identity: id, PlannedAt: at}
	var jobs []flow.Job
	for i := range n {
		j := flow.Job{
			Identity: id, Job: flow.JobID(id.Run, i), Index: i, Attempt: 1, Check: fmt.Sprintf("ci / unit (%d)", i),
			File: "ci.yml", Workflow: "unit", Image: "ubuntu", Machine: "cpu", TimeoutMinutes: 60, QueuedAt: at,
		}
		jobs = append(jobs, j)
		p.Jobs = append(p.Jobs, flow.PlannedJob{Job: j.Job, Check: j.Check, File: j.File})
	}
	return p, jobs
}

func running(j flow.Job) flow.Status {
	return flow.StatusOf(j, flow.Running, j.QueuedAt.Add(time.Second))
}

func endOf(j flow.Job, c flow.Conclusion) flow.Result {
	r := flow.ResultOf(j, c, flow.CauseExit, "", j.QueuedAt.Add(time.Minute))
	code := 0
	if c != flow.Success {
		code = 1
		r.FirstError, r.Window, r.WindowLine, r.Tail = "E: boom", []string{"$ make", "E: boom"}, 1, []string{"E: boom", "bye"}
	}
	r.ExitCode, r.StartedAt = &code, j.QueuedAt.Add(time.Second)
	return r
}

// checksOf are the check runs of a name at a commit.
func checksOf(s fakegithub.State, sha, name string) []fakegithub.CheckRun {
	var found []fakegithub.CheckRun
	for _, c := range s.CheckRuns {
		if c.HeadSHA == sha && c.Name == name {
			found = append(found, c)
		}
	}
	return found
}

// only returns the one check run of a name.
func (w *world) only(sha, name string) fakegithub.CheckRun {
	w.t.Helper()
	found := checksOf(w.hub.State(), sha, name)
	if len(found) != 1 {
		w.t.Fatalf("%d check runs %q:\n%s", len(found), name, shown(w.hub.State()))
	}
	return found[0]
}

func concluded(c fakegithub.CheckRun) string {
	if c.Conclusion == nil {
		return c.Status
	}
	return *c.Conclusion
}

// shown is GitHub's state in a few lines.
func shown(s fakegithub.State) string {
	var b strings.Builder
	for _, c := range s.CheckRuns {
		fmt.Fprintf(&b, "%s %q %s %s: %s\n", c.HeadSHA[:7], c.Name, c.ExternalID, concluded(c), *c.Output.Title)
	}
	for _, c := range s.Comments {
		fmt.Fprintf(&b, "comment %d: %s\n", c.ID, c.Body)
	}
	for path, n := range s.Requests {
		fmt.Fprintf(&b, "%d × %s\n", n, path)
	}
	return b.String()
}
