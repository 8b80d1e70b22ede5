package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/litci/litci/cmd/litci/internal/loopback"
	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/pkg/fakegithub/fakegithubtest"
)

// world is a GitHub with one repository, for meshes that run as real processes.
type world struct {
	t      *testing.T
	github *fakegithub.Server
	url    string
	dir    string // of everything
	repo   string // the git repository
	hook   string // where the mesh listens for webhooks
	admin  string
	secret string // of the webhook
	key    []byte // the App's, PEM
	env    []string
}

const (
	testOwner  = "octo"
	testRepo   = "hello"
	testBranch = "feature"
	patience   = 4 * time.Minute
)

// newWorld makes a repository whose main branch and feature branch hold the given
// workflow files.
func newWorld(t *testing.T, workflows map[string]string) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), hook: freeAddress(t), admin: freeAddress(t), secret: "hook-" + rand.Text()}
	w.repo = filepath.Join(w.dir, "repo")
	files := filepath.Join(w.repo, ".lightning", "workflows")
	if err := os.MkdirAll(files, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range workflows {
		w.write(filepath.Join(files, name), text)
	}
	w.git("init", "-q", "-b", "main")
	w.git("add", "-A")
	w.git("commit", "-q", "-m", "one")
	w.git("checkout", "-q", "-b", testBranch)
	w.git("commit", "-q", "--allow-empty", "-m", "two")

	key, err := fakegithub.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	w.github, err = fakegithub.New(fakegithub.Config{AppID: 1, PrivateKey: key, WebhookURL: "http://" + w.hook + "/webhook", WebhookSecret: w.secret})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.github.AddRepo(fakegithub.Repo{Owner: testOwner, Name: testRepo, Dir: w.repo, DefaultBranch: "main"}); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(fakegithubtest.Handler(t, w.github)) // held against GitHub's description
	t.Cleanup(func() {
		server.Close()
		if err := w.github.Close(); err != nil {
			t.Error(err)
		}
	})
	w.url = server.URL
	keyFile := filepath.Join(w.dir, "app.pem")
	w.key = fakegithub.EncodeKey(key)
	w.write(keyFile, string(w.key))
	w.env = append(os.Environ(),
		"LITCI_WEBHOOK_SECRET="+w.secret, "LITCI_APP_ID=1", "LITCI_PRIVATE_KEY_FILE="+keyFile, "LITCI_GITHUB_URL="+w.url,
		"LITCI_DATA="+filepath.Join(w.dir, "data"), "LITCI_ACK_WAIT=2s", "LITCI_LOG_FORMAT=json", "LITCI_NATS_MAX_BYTES=1073741824",
	)
	return w
}

func (w *world) write(path, text string) {
	w.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) git(args ...string) {
	w.t.Helper()
	cmd := exec.Command("git", append([]string{"-C", w.repo}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

// ports are those of all worlds of this process.
var ports = loopback.New()

// freeAddress is a loopback address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := ports.Take()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// up starts the whole mesh as one process and waits until it is ready.
func (w *world) up() *process {
	w.t.Helper()
	p := w.start("litci", "up", "--listen", w.hook, "--pages-listen", "127.0.0.1:0", "--admin-listen", w.admin, "--nats-listen", "127.0.0.1:0")
	w.ready(p, w.admin)
	return p
}

// ready waits until a process says that it is.
func (w *world) ready(p *process, admin string) {
	w.t.Helper()
	w.until("readiness of "+p.name, func() bool {
		select {
		case <-p.done:
			w.t.Fatalf("%s ended", p.name)
		default:
		}
		res, err := http.Get("http://" + admin + "/readyz")
		if err != nil {
			return false
		}
		defer res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

// until polls a condition of the world outside this process.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	give := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-give:
			w.t.Fatalf("%s: not within %s", what, patience)
		}
	}
}

func (w *world) untilFile(path string) {
	w.t.Helper()
	w.until(path, func() bool {
		_, err := os.Stat(path)
		return err == nil
	})
}

// openPull opens the feature branch's pull request; its webhook must be accepted.
func (w *world) openPull() {
	w.t.Helper()
	if _, err := w.github.OpenPull(context.Background(), fakegithub.OpenPull{Owner: testOwner, Repo: testRepo, Head: testBranch, Base: "main"}); err != nil {
		w.t.Fatal(err)
	}
	state := w.github.State()
	for _, d := range state.Deliveries {
		if d.Event == "pull_request" && d.StatusCode == http.StatusAccepted {
			return
		}
	}
	w.t.Fatalf("webhook of the pull request was not accepted: %+v", state.Deliveries)
}

// untilVerdict waits until the aggregate is completed and returns its conclusion.
func (w *world) untilVerdict() string {
	w.t.Helper()
	conclusion := ""
	w.until("verdict on GitHub", func() bool {
		for _, c := range w.github.State().CheckRuns {
			if c.Name == "litci" && c.Status == "completed" {
				conclusion = *c.Conclusion
				return true
			}
		}
		return false
	})
	return conclusion
}

// expectOnce holds GitHub's state against "exactly once": these checks, the
// aggregate, one comment, and nothing else.
func (w *world) expectOnce(conclusion string, checks ...string) {
	w.t.Helper()
	w.until("every check completed, and one comment that says so", func() bool {
		state := w.github.State()
		for _, c := range state.CheckRuns {
			if c.Status != "completed" {
				return false
			}
		}
		return len(state.Comments) == 1 && !strings.Contains(state.Comments[0].Body, "running")
	})
	state := w.github.State()
	var have []string
	for _, c := range state.CheckRuns {
		have = append(have, c.Name)
		if c.Status != "completed" || *c.Conclusion != conclusion {
			w.t.Errorf("check %s is %s %v, want %s", c.Name, c.Status, c.Conclusion, conclusion)
		}
	}
	want := append(slices.Clone(checks), "litci")
	slices.Sort(want)
	slices.Sort(have)
	if !slices.Equal(have, want) {
		w.t.Errorf("check runs are %q, want %q", have, want)
	}
}

// process is a real process of litci.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{}
	err  error

	mu  sync.Mutex
	log bytes.Buffer
}

// start runs a program in the world's environment until the test ends.
func (w *world) start(program string, args ...string) *process {
	w.t.Helper()
	return w.startInto(nil, program, args...)
}

// startInto is start for a program whose standard output matters.
func (w *world) startInto(stdout io.Writer, program string, args ...string) *process {
	w.t.Helper()
	p := &process{name: strings.Join(append([]string{filepath.Base(program)}, args[:min(len(args), 3)]...), " "), done: make(chan struct{})}
	p.cmd = exec.Command(program, args...)
	p.cmd.Env = w.env
	p.cmd.Dir = w.dir
	p.cmd.Stdout = stdout
	out, err := p.cmd.StderrPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			p.mu.Lock()
			p.log.Write(append(lines.Bytes(), '\n'))
			p.mu.Unlock()
		}
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	w.t.Cleanup(func() {
		p.kill(w.t)
		if w.t.Failed() {
			w.t.Logf("log of %s:\n%s", p.name, p.logged())
		}
	})
	return p
}

func (p *process) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// kill ends the process with SIGKILL and waits until it is gone.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("kill %s: %v", p.name, err)
	}
	<-p.done
}

// terminate asks the process to stop and returns its exit code.
func (p *process) terminate(t *testing.T) int {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("SIGTERM to %s: %v", p.name, err)
	}
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Fatalf("%s did not stop within %s of SIGTERM:\n%s", p.name, patience, p.logged())
	}
	return p.cmd.ProcessState.ExitCode()
}

// held is a workflow whose job says that it began, waits to be released, and
// leaves a mark for every time it ran.
func held(dir string) string {
	return fmt.Sprintf(`name: Held
timeout: 5
run: |
  echo began >> %[1]s/marks
  touch %[1]s/began
  until [ -e %[1]s/release ]; do sleep 0.05; done
  echo released
  touch %[1]s/finished
`, dir)
}

// marks are how often the held job began.
func marks(t *testing.T, dir string) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "marks"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(text), "began")
}
