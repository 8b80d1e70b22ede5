package fakegithub_test

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v4"
	"github.com/google/go-github/v62/github"

	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/pkg/fakegithub/fakegithubtest"
	"github.com/litci/litci/pkg/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const (
	appID     = 4711
	repoID    = 77
	secret    = "It's a Secret to Everybody"
	owner     = "octo"
	repoName  = "hello"
	repoPath  = "/repos/octo/hello"
	workflow  = "trigger:\n  pull_request: {}\nrun: echo hi\n"
	firstDate = "2024-01-02T03:04:05Z"
)

// appKey is made once: RSA keys are slow to make.
var appKey = sync.OnceValues(fakegithub.NewKey)

// world is a server with one repository, behind a validator.
type world struct {
	t      *testing.T
	dir    string // the git repository
	server *fakegithub.Server
	url    string
	key    *rsa.PrivateKey
	clock  *clock
	hooks  *hookTarget
}

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// setup returns a world; change edits the configuration before it is used.
func setup(t *testing.T, change func(*fakegithub.Config), options ...fakegithubtest.Option) *world {
	t.Helper()
	t.Parallel()
	key, err := appKey()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, dir: makeRepo(t), key: key, hooks: newHookTarget(t),
		clock: &clock{now: time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)},
	}
	cfg := fakegithub.Config{
		AppID: appID, PrivateKey: key, WebhookURL: w.hooks.url, WebhookSecret: secret, Now: w.clock.Now,
	}
	if change != nil {
		change(&cfg)
	}
	w.server, w.url = fakegithubtest.Start(t, cfg, options...)
	err = w.server.AddRepo(fakegithub.Repo{Owner: owner, Name: repoName, ID: repoID, Dir: w.dir})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// makeRepo makes a repository: main, and two commits more on feature.
func makeRepo(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	git(t, dir, "init", "-q", "-b", "main")
	write(t, dir, "README.md", "hello\n")
	write(t, dir, ".lightning/workflows/ci.yml", workflow)
	write(t, dir, "src/app.py", strings.Repeat("print('hello')\n", 20))
	if err := os.Symlink("README.md", filepath.Join(dir, "LINK")); err != nil {
		t.Fatal(err)
	}
	commit(t, dir, "first commit\n\nwith a body")
	git(t, dir, "tag", "-a", "v1", "-m", "one")
	git(t, dir, "checkout", "-q", "-b", "feature")
	write(t, dir, "README.md", "hello\nworld\n")
	commit(t, dir, "say more")
	git(t, dir, "mv", "src/app.py", "src/main.py")
	write(t, dir, "src/new.py", "pass\n")
	commit(t, dir, "move")
	git(t, dir, "checkout", "-q", "main")
	return dir
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func commit(t *testing.T, dir, message string) string {
	t.Helper()
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "-m", message)
	return git(t, dir, "rev-parse", "HEAD")
}

// git runs git with an identity and without anybody's configuration, nor what a hook
// that runs the tests was told, and leaves no process behind that tidies up.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "maintenance.auto=false", "-c", "gc.auto=0"}, args...)...)
	others := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "GIT_") })
	cmd.Env = append(others, "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com", "GIT_AUTHOR_DATE="+firstDate,
		"GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com", "GIT_COMMITTER_DATE="+firstDate)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// sha is what a name in the world's repository leads to.
func (w *world) sha(name string) string {
	w.t.Helper()
	return git(w.t, w.dir, "rev-parse", name)
}

// jwt is the App's token; change edits the claims.
func (w *world) jwt(change func(jwt.MapClaims)) string {
	w.t.Helper()
	now := w.clock.Now()
	claims := jwt.MapClaims{"iss": appID, "iat": now.Add(-time.Minute).Unix(), "exp": now.Add(9 * time.Minute).Unix()}
	if change != nil {
		change(claims)
	}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(w.key)
	if err != nil {
		w.t.Fatal(err)
	}
	return signed
}

// bearer puts a credential on every request.
type bearer struct {
	credential func() string
	base       http.RoundTripper
}

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.credential())
	return b.base.RoundTrip(r)
}

func (w *world) github(credential func() string) *github.Client {
	w.t.Helper()
	base := &http.Transport{}
	w.t.Cleanup(base.CloseIdleConnections)
	c, err := github.NewClient(&http.Client{Transport: bearer{credential, base}}).WithEnterpriseURLs(w.url, w.url)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// app is a client with the App's own credential.
func (w *world) app() *github.Client {
	return w.github(func() string { return w.jwt(nil) })
}

// installation is the id of the App's installation.
func (w *world) installation() int64 {
	w.t.Helper()
	in, _, err := w.app().Apps.FindRepositoryInstallation(w.t.Context(), owner, repoName)
	if err != nil {
		w.t.Fatal(err)
	}
	return in.GetID()
}

// token mints an installation token.
func (w *world) token(options *github.InstallationTokenOptions) string {
	w.t.Helper()
	made, _, err := w.app().Apps.CreateInstallationToken(w.t.Context(), w.installation(), options)
	if err != nil {
		w.t.Fatal(err)
	}
	return made.GetToken()
}

// client is a client with a token of all permissions.
func (w *world) client() *github.Client {
	w.t.Helper()
	token := w.token(nil)
	return w.github(func() string { return token })
}

// answer is what a raw request got.
type answer struct {
	status int
	header http.Header
	body   string
}

// send makes a request without a client library, and follows no redirect.
func (w *world) send(method, path, credential string, body any, headers ...string) answer {
	w.t.Helper()
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		in = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			w.t.Fatal(err)
		}
		in = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, w.url+path, in)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("User-Agent", "test")
	if credential != "" {
		req.Header.Set("Authorization", "Bearer "+credential)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

// control sends to a control path and reads the answer into out.
func (w *world) control(method, path string, body, out any) {
	w.t.Helper()
	got := w.send(method, "/_fake"+path, "", body)
	if got.status > 299 {
		w.t.Fatalf("%s %s: %d %s", method, path, got.status, got.body)
	}
	if out != nil {
		if err := json.Unmarshal([]byte(got.body), out); err != nil {
			w.t.Fatal(err)
		}
	}
}

// openPull opens a pull request from feature to main.
func (w *world) openPull(change func(*fakegithub.OpenPull)) int {
	w.t.Helper()
	open := fakegithub.OpenPull{Owner: owner, Repo: repoName, Head: "feature", Author: "ada"}
	if change != nil {
		change(&open)
	}
	n, err := w.server.OpenPull(w.t.Context(), open)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// received is a webhook as it arrived.
type received struct {
	header http.Header
	body   []byte
}

func (r received) event() string { return r.header.Get("X-GitHub-Event") }

// field reads a value of the payload by a path such as "check_run.name".
func (r received) field(t *testing.T, path string) any {
	t.Helper()
	var at any
	if err := json.Unmarshal(r.body, &at); err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Split(path, ".") {
		inner, ok := at.(map[string]any)
		if !ok {
			t.Fatalf("%s: no object before %q", path, name)
		}
		at = inner[name]
	}
	return at
}

// hookTarget receives webhooks.
type hookTarget struct {
	url string

	mu     sync.Mutex
	got    []received
	status int
}

func newHookTarget(t *testing.T) *hookTarget {
	h := &hookTarget{status: http.StatusAccepted}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.got = append(h.got, received{r.Header, body})
		w.WriteHeader(h.status)
		_, _ = io.WriteString(w, "noted")
	}))
	t.Cleanup(web.Close)
	h.url = web.URL
	return h
}

// answer sets the status of answers from now on.
func (h *hookTarget) answer(status int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.status = status
}

// all returns what has arrived once nothing is under way.
func (w *world) received() []received {
	w.server.Wait()
	w.hooks.mu.Lock()
	defer w.hooks.mu.Unlock()
	return append([]received{}, w.hooks.got...)
}

// last returns the latest webhook.
func (w *world) last() received {
	w.t.Helper()
	all := w.received()
	if len(all) == 0 {
		w.t.Fatal("no webhook arrived")
	}
	return all[len(all)-1]
}
