package ghapp_test

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-github/v62/github"

	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/pkg/fakegithub/fakegithubtest"
	"github.com/litci/litci/pkg/ghapp"
	"github.com/litci/litci/pkg/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const (
	appID        = 7
	installation = 42
	repository   = 4711
)

func newKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := fakegithub.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// oneCommit is a git repository of one commit.
func oneCommit(t *testing.T) (dir, sha string) {
	t.Helper()
	dir = t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		c := exec.CommandContext(t.Context(), "git", args...)
		c.Dir = dir
		c.Env = []string{"PATH=/usr/bin:/bin:/usr/local/bin", "HOME=" + dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com"}
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q", "-b", "main")
	git("commit", "-q", "--allow-empty", "-m", "first")
	return dir, git("rev-parse", "HEAD")
}

// emulator is GitHub with one repository of one commit.
func emulator(t *testing.T) (gh *fakegithub.Server, url, sha string, key *rsa.PrivateKey) {
	t.Helper()
	dir, sha := oneCommit(t)
	key = newKey(t)
	gh, err := fakegithub.New(fakegithub.Config{AppID: appID, PrivateKey: key})
	if err != nil {
		t.Fatal(err)
	}
	if err := gh.AddRepo(fakegithub.Repo{Owner: "octo", Name: "hello", ID: repository, Dir: dir, Installation: installation}); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(fakegithubtest.Handler(t, gh))
	t.Cleanup(func() { server.Close(); _ = gh.Close() })
	return gh, server.URL, sha, key
}

func newApp(t *testing.T, cfg ghapp.Config, key *rsa.PrivateKey) *ghapp.App {
	t.Helper()
	if cfg.AppID == 0 {
		cfg.AppID = appID
	}
	cfg.PrivateKey = fakegithub.EncodeKey(key)
	app, err := ghapp.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(app.Close)
	return app
}

func client(t *testing.T, app *ghapp.App) *github.Client {
	t.Helper()
	c, err := app.Client(installation, repository)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTokenIsScopedAndMintedOnce(t *testing.T) {
	gh, url, sha, key := emulator(t)
	app := newApp(t, ghapp.Config{BaseURL: url, Permissions: map[string]string{"contents": "read", "metadata": "read"}}, key)
	done := make(chan error, 8)
	for range cap(done) {
		go func() {
			_, _, err := client(t, app).Git.GetCommit(context.Background(), "octo", "hello", sha)
			done <- err
		}()
	}
	for range cap(done) {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := gh.State().Requests["POST /app/installations/{installation_id}/access_tokens"]; n != 1 {
		t.Errorf("%d tokens were minted, want 1: %v", n, gh.State().Requests)
	}
	_, _, err := client(t, app).Checks.CreateCheckRun(t.Context(), "octo", "hello", github.CreateCheckRunOptions{Name: "x", HeadSHA: sha})
	if !ghapp.IsRefused(err) {
		t.Errorf("writing with a token to read: %v, want a refusal", err)
	}
	if _, waits := ghapp.Pause(err); waits {
		t.Errorf("a missing permission counts as a limit: %v", err)
	}
}

func TestForeignRepositoryIsNotFound(t *testing.T) {
	_, url, _, key := emulator(t)
	c := client(t, newApp(t, ghapp.Config{BaseURL: url}, key))
	if _, _, err := c.Repositories.Get(t.Context(), "octo", "other"); !ghapp.IsNotFound(err) || ghapp.IsRefused(err) {
		t.Errorf("%v, want not found", err)
	}
}

func TestUngrantedPermissionIsRefused(t *testing.T) {
	_, url, _, key := emulator(t)
	c := client(t, newApp(t, ghapp.Config{BaseURL: url, Permissions: map[string]string{"administration": "write"}}, key))
	if _, _, err := c.Repositories.Get(t.Context(), "octo", "hello"); !ghapp.IsRefused(err) {
		t.Errorf("%v, want a refusal", err)
	}
}

func TestSuspendedInstallationIsRefused(t *testing.T) {
	gh, url, _, key := emulator(t)
	if err := gh.Suspend(installation, true); err != nil {
		t.Fatal(err)
	}
	c := client(t, newApp(t, ghapp.Config{BaseURL: url}, key))
	if _, _, err := c.Repositories.Get(t.Context(), "octo", "hello"); !ghapp.IsRefused(err) {
		t.Errorf("%v, want a refusal", err)
	}
}

// Go's client would turn the POST into a GET.
func TestRenamedRepositoryIsFollowed(t *testing.T) {
	gh, url, sha, key := emulator(t)
	if err := gh.RenameRepo("octo", "hello", "bonjour"); err != nil {
		t.Fatal(err)
	}
	c := client(t, newApp(t, ghapp.Config{BaseURL: url}, key))
	run, _, err := c.Checks.CreateCheckRun(t.Context(), "octo", "hello", github.CreateCheckRunOptions{Name: "x", HeadSHA: sha})
	if err != nil {
		t.Fatal(err)
	}
	if run.GetName() != "x" || run.GetHeadSHA() != sha {
		t.Errorf("the check run is %v", run)
	}
}

func TestArchiveIsTheCommit(t *testing.T) {
	_, url, sha, key := emulator(t)
	body, err := newApp(t, ghapp.Config{BaseURL: url}, key).Archive(t.Context(), installation, repository, "octo", "hello", sha)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = body.Close() }()
	gz, err := gzip.NewReader(body)
	if err != nil {
		t.Fatal(err)
	}
	for r, found := tar.NewReader(gz), false; ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			if !found {
				t.Error("the archive has no folder")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		found = found || strings.HasPrefix(h.Name, "octo-hello-") || h.Typeflag == tar.TypeXGlobalHeader && h.PAXRecords["comment"] == sha
	}
}

func TestArchiveOfUnknownCommitIsNotFound(t *testing.T) {
	_, url, _, key := emulator(t)
	_, err := newApp(t, ghapp.Config{BaseURL: url}, key).Archive(t.Context(), installation, repository, "octo", "hello", strings.Repeat("e", 40))
	if !ghapp.IsNotFound(err) {
		t.Errorf("%v, want not found", err)
	}
}

func TestLoginIsTheBot(t *testing.T) {
	_, url, _, key := emulator(t)
	app := newApp(t, ghapp.Config{BaseURL: url}, key)
	if login, err := app.Login(t.Context()); login != "litci[bot]" || err != nil {
		t.Errorf("%q, %v", login, err)
	}
	if err := app.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCheckSaysWhatToCorrect(t *testing.T) {
	_, url, _, key := emulator(t)
	for _, c := range []struct {
		name string
		id   int64
		key  *rsa.PrivateKey
		want string
	}{
		{"another App's key", appID, newKey(t), "refuses the private key"},
		{"a wrong id", appID + 1, key, "does not exist"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := newApp(t, ghapp.Config{BaseURL: url, AppID: c.id}, c.key).Check(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestKeyIsReadOrRefusedClearly(t *testing.T) {
	key := newKey(t)
	pkcs1 := fakegithub.EncodeKey(key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	curveDER, err := x509.MarshalPKCS8PrivateKey(curve)
	if err != nil {
		t.Fatal(err)
	}
	block := func(name string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: name, Bytes: der})
	}
	for _, c := range []struct {
		name string
		text []byte
		want string
	}{
		{"PKCS 1", pkcs1, ""},
		{"PKCS 8", block("PRIVATE KEY", der), ""},
		{"on one line", []byte(strings.ReplaceAll(string(pkcs1), "\n", `\n`)), ""},
		{"nothing", nil, "not PEM"},
		{"a path", []byte("/etc/litci/key.pem"), "not PEM"},
		{"a public key", block("PUBLIC KEY", der), "want a private key"},
		{"another kind", block("PRIVATE KEY", curveDER), "RSA"},
		{"encrypted", block("ENCRYPTED PRIVATE KEY", der), "passphrase"},
		{"damaged", block("RSA PRIVATE KEY", der[:40]), "github app key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := ghapp.ParseKey(c.text)
			if c.want == "" {
				if err != nil || !got.Equal(key) {
					t.Errorf("%v", err)
				}
			} else if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestWrongSettingsAreRefused(t *testing.T) {
	key := fakegithub.EncodeKey(newKey(t))
	for _, c := range []struct {
		name string
		cfg  ghapp.Config
		want string
	}{
		{"no app id", ghapp.Config{PrivateKey: key}, "app id"},
		{"a bare host", ghapp.Config{AppID: 1, PrivateKey: key, BaseURL: "ghe.example"}, "want https://HOST"},
		{"a permission that is none", ghapp.Config{AppID: 1, PrivateKey: key, Permissions: map[string]string{"content": "read"}}, "permissions"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := ghapp.New(c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	app, err := ghapp.New(ghapp.Config{AppID: 1, PrivateKey: key})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := app.Client(1, 0); err == nil {
		t.Error("a client without a repository would reach all of them")
	}
}

func TestAddressFollowsGitHubsRules(t *testing.T) {
	key := fakegithub.EncodeKey(newKey(t))
	for base, want := range map[string]string{
		"":                           "https://api.github.com/",
		"https://github.com":         "https://api.github.com/",
		"https://ghe.example":        "https://ghe.example/api/v3/",
		"https://ghe.example/":       "https://ghe.example/api/v3/",
		"https://ghe.example/api/v3": "https://ghe.example/api/v3/",
		"https://api.octo.ghe.com":   "https://api.octo.ghe.com/",
		"http://127.0.0.1:8090":      "http://127.0.0.1:8090/api/v3/",
	} {
		app, err := ghapp.New(ghapp.Config{AppID: 1, PrivateKey: key, BaseURL: base})
		if err != nil {
			t.Fatal(err)
		}
		if got := app.AsApp().BaseURL.String(); got != want {
			t.Errorf("%q leads to %s, want %s", base, got, want)
		}
	}
}

// response is a plain answer.
func response(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func TestInstallationListsItsRepositories(t *testing.T) {
	_, url, _, key := emulator(t)
	app, err := ghapp.New(ghapp.Config{BaseURL: url, AppID: appID, PrivateKey: fakegithub.EncodeKey(key), Permissions: map[string]string{"contents": "read"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(app.Close)
	client, err := app.Installation(installation)
	if err != nil {
		t.Fatal(err)
	}
	found, _, err := client.Apps.ListRepos(t.Context(), nil)
	if err != nil || len(found.Repositories) != 1 || found.Repositories[0].GetID() != repository {
		t.Errorf("repositories are %v, %v", found, err)
	}
	// Its token reads nothing of them.
	if _, _, err := client.Git.GetTree(t.Context(), "octo", "hello", "main", false); !ghapp.IsRefused(err) {
		t.Errorf("the tree is read: %v", err)
	}
	if _, err := app.Installation(0); err == nil {
		t.Error("no installation has a client")
	}
}
