package planner

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/cancellation"
	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/pkg/fakegithub/fakegithubtest"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/ghapp"
	"github.com/litci/litci/pkg/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// world is a planner between a real bus and an emulated GitHub with one repository.
type world struct {
	t       *testing.T
	bus     *bus.Bus
	gh      *fakegithub.Server
	dir     string
	url     string
	key     []byte
	planner *Planner
	log     tape
	dead    chan flow.Event
	count   int
}

// patience bounds every wait of these tests. A delivery that is lost on its way, as
// when a pull ends that it was the answer to, comes again in a minute.
const patience = 3 * time.Minute

// tape is a log's core that hands on what the planner says of each delivery.
type tape chan said

type said struct{ message, reason string }

func (t tape) Enabled(zapcore.Level) bool        { return true }
func (t tape) With([]zapcore.Field) zapcore.Core { return t }
func (t tape) Sync() error                       { return nil }
func (t tape) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return c.AddCore(e, t)
}

func (t tape) Write(e zapcore.Entry, fields []zapcore.Field) error {
	s := said{message: e.Message}
	for _, f := range fields {
		if f.Key == "reason" || f.Key == "cause" {
			s.reason = f.String
		}
	}
	t <- s
	return nil
}

// appKey is made once: keys are slow to make.
var appKey = sync.OnceValues(fakegithub.NewKey)

func setup(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	key, err := appKey()
	if err != nil {
		t.Fatal(err)
	}
	// A delivery that comes again since the machine was slow would be heard twice.
	b := bustest.Connect(t, bustest.Server(t), bus.Config{Name: "test", AckWait: time.Minute})
	w := &world{t: t, dir: t.TempDir(), bus: b, log: make(tape, 100), dead: make(chan flow.Event, 100)}
	w.git("init", "-q", "-b", "main")
	w.commit("main", "first", map[string]string{"README.md": "hello"})
	if w.gh, err = fakegithub.New(fakegithub.Config{AppID: 1, PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	if err := w.gh.AddRepo(fakegithub.Repo{Owner: "octo", Name: "hello", ID: 4711, Dir: w.dir, Installation: 42}); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(fakegithubtest.Handler(t, w.gh))
	t.Cleanup(func() { server.Close(); _ = w.gh.Close() })
	w.url, w.key = server.URL, fakegithub.EncodeKey(key)
	app, err := ghapp.New(ghapp.Config{
		BaseURL: server.URL, AppID: 1, PrivateKey: fakegithub.EncodeKey(key),
		Permissions: map[string]string{"contents": "read", "metadata": "read", "pull_requests": "read", "checks": "read"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(app.Close)
	w.planner = New(w.bus, app, zap.New(w.log))
	return w
}

// run starts the planner; it ends with the test.
func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- w.planner.Run(ctx) }()
	go func() {
		err := bus.Tail(ctx, w.bus, flow.Subject[flow.Event](flow.DeadLettersOf("planner")), func(e flow.Event) bool {
			w.dead <- e
			return true
		})
		if ctx.Err() != nil { // a short test ends before the tail begins
			err = nil
		}
		done <- err
	}()
	w.t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				w.t.Error(err)
			}
		}
	})
}

func (w *world) git(args ...string) string {
	w.t.Helper()
	// What git tidies up in the background would write while the folder is removed.
	c := exec.CommandContext(w.t.Context(), "git", append([]string{"-c", "maintenance.auto=false", "-c", "gc.auto=0"}, args...)...)
	c.Dir = w.dir
	c.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com",
	}
	out, err := c.CombinedOutput()
	if err != nil {
		w.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// commit writes files on a branch and returns the commit. The content "-> x" is
// a symbolic link to x.
func (w *world) commit(branch, message string, files map[string]string) string {
	w.t.Helper()
	w.git("checkout", "-q", "-B", branch)
	for name, content := range files {
		full := filepath.Join(w.dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			w.t.Fatal(err)
		}
		var err error
		if target, link := strings.CutPrefix(content, "-> "); link {
			err = os.Symlink(target, full)
		} else {
			err = os.WriteFile(full, []byte(content), 0o644)
		}
		if err != nil {
			w.t.Fatal(err)
		}
	}
	w.git("add", "-A")
	w.git("commit", "-q", "--allow-empty", "-m", message)
	return w.git("rev-parse", "HEAD")
}

// open opens a pull request without a webhook and returns its event.
func (w *world) open(pr fakegithub.OpenPull, sha string) flow.Event {
	w.t.Helper()
	pr.Owner, pr.Repo, pr.Silent, pr.Author = "octo", "hello", true, "mona"
	number, err := w.gh.OpenPull(w.t.Context(), pr)
	if err != nil {
		w.t.Fatal(err)
	}
	e := pullEvent("opened")
	e.PullRequest.Number, e.PullRequest.HeadSHA, e.PullRequest.HeadRef, e.PullRequest.Fork = number, sha, pr.Head, pr.Fork
	return e
}

func push(ref, before, after string) flow.Event {
	e := pushEvent(ref)
	e.Push.Before, e.Push.After, e.Push.Head = before, after, after
	return e
}

// send publishes an event as a delivery of its own.
func (w *world) send(e flow.Event) {
	w.t.Helper()
	w.count++
	e.Delivery = fmt.Sprintf("%s-%d", w.t.Name(), w.count)
	if err := bus.Publish(w.t.Context(), w.bus, flow.Events, e); err != nil {
		w.t.Fatal(err)
	}
}

// hears waits for what the planner says next, and for a part of its reason.
func (w *world) hears(message, reason string) {
	w.t.Helper()
	select {
	case s := <-w.log:
		if s.message != message || !strings.Contains(s.reason, reason) {
			w.t.Fatalf("the planner says %q because of %q, want %q because of %q", s.message, s.reason, message, reason)
		}
	case e := <-w.dead:
		w.t.Fatalf("delivery %s is a dead letter", e.Delivery)
	case <-time.After(patience):
		w.t.Fatal("the planner says nothing")
	}
}

// plans are all markers that are stored, jobs all jobs, results all results.
func (w *world) plans() []flow.Plan {
	mark := w.sentinel()
	return stored(w, flow.Plans, func() error {
		return bus.PublishPlan(w.t.Context(), w.bus, flow.Plan{Identity: flow.Identity{Run: mark}}, nil)
	}, mark, func(p flow.Plan) string { return p.Run })
}

func (w *world) jobs() []flow.Job {
	mark := w.sentinel()
	return stored(w, flow.Jobs, func() error { return bus.Publish(w.t.Context(), w.bus, flow.Jobs, flow.Job{Job: mark}) }, mark, func(j flow.Job) string { return j.Job })
}

func (w *world) results() []flow.Result {
	mark := w.sentinel()
	return stored(w, flow.Results, func() error { return bus.Publish(w.t.Context(), w.bus, flow.Results, flow.Result{Job: mark}) }, mark, func(r flow.Result) string { return r.Job })
}

func (w *world) sentinel() string {
	w.count++
	return fmt.Sprint("sentinel", w.count)
}

// stored reads a subject up to a sentinel, so that what is missing is not waited for.
func stored[T any](w *world, subject flow.Subject[T], publish func() error, mark string, name func(T) string) (all []T) {
	w.t.Helper()
	if err := publish(); err != nil {
		w.t.Fatal(err)
	}
	if err := bus.Tail(w.t.Context(), w.bus, subject, func(msg T) bool {
		if name(msg) == mark {
			return false
		}
		if !strings.HasPrefix(name(msg), "sentinel") {
			all = append(all, msg)
		}
		return true
	}); err != nil {
		w.t.Fatal(err)
	}
	return all
}

// cancelled checks that the end of a run was asked for, or not where reason is empty.
func (w *world) cancelled(run, reason string) {
	w.t.Helper()
	request, err := cancellation.OfRun(w.t.Context(), w.bus, run)
	if err != nil {
		w.t.Fatal(err)
	}
	switch {
	case request == nil && reason != "":
		w.t.Errorf("nobody asked for the end of run %s", run)
	case request != nil && request.Reason != reason:
		w.t.Errorf("the end of run %s is asked for: %q, want %q", run, request.Reason, reason)
	}
}

func folder(files ...string) map[string]string {
	all := map[string]string{}
	for i := 0; i < len(files); i += 2 {
		all[".lightning/workflows/"+files[i]] = files[i+1]
	}
	return all
}
