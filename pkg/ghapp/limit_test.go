package ghapp_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-github/v62/github"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/litci/litci/pkg/ghapp"
)

// double is a GitHub that answers as a test says, and mints numbered tokens.
type double struct {
	mu       sync.Mutex
	minted   int
	life     time.Duration
	requests []*http.Request
	bodies   []string
	answer   func(w http.ResponseWriter, r *http.Request, n int)
}

func (d *double) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	d.mu.Lock()
	defer d.mu.Unlock()
	if strings.HasSuffix(r.URL.Path, "/access_tokens") {
		d.minted++
		d.requests, d.bodies = append(d.requests, r), append(d.bodies, string(body))
		response(w, 201, fmt.Sprintf(`{"token":"ghs_secret%d","expires_at":%q}`, d.minted, time.Now().Add(d.life).UTC().Format(time.RFC3339)))
		return
	}
	d.requests, d.bodies = append(d.requests, r), append(d.bodies, string(body))
	n := 0
	for _, r := range d.requests {
		if !strings.HasSuffix(r.URL.Path, "/access_tokens") {
			n++
		}
	}
	d.answer(w, r, n)
}

func (d *double) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.requests) - d.minted
}

func start(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, n int)) (*double, *ghapp.App) {
	t.Helper()
	d := &double{answer: answer, life: time.Hour}
	server := httptest.NewServer(d)
	t.Cleanup(server.Close)
	return d, newApp(t, ghapp.Config{BaseURL: server.URL}, newKey(t))
}

func get(t *testing.T, app *ghapp.App) error {
	t.Helper()
	_, _, err := client(t, app).Repositories.Get(t.Context(), "octo", "hello")
	return err
}

const secondary = `{"message":"You have exceeded a secondary rate limit."}`

func TestLimitsPauseTheInstallation(t *testing.T) {
	reset := strconv.FormatInt(time.Now().Add(10*time.Minute).Unix(), 10)
	for _, c := range []struct {
		name   string
		status int
		header map[string]string
		body   string
		least  time.Duration
		most   time.Duration
	}{
		{"retry-after", 403, map[string]string{"Retry-After": "30"}, secondary, 28 * time.Second, 36 * time.Second},
		{"retry-after wins", 429, map[string]string{"Retry-After": "30", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}, "{}", 28 * time.Second, 36 * time.Second},
		{"exhausted", 403, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}, "{}", 9 * time.Minute, 11 * time.Minute},
		{"reset in the past", 403, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}, "{}", 58 * time.Second, 66 * time.Second},
		{"text alone", 403, nil, secondary, 58 * time.Second, 66 * time.Second},
		{"429 alone", 429, nil, "{}", 58 * time.Second, 66 * time.Second},
		{"asks too much", 403, map[string]string{"Retry-After": "999999"}, "{}", 69 * time.Minute, 71 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d, app := start(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
				for name, value := range c.header {
					w.Header().Set(name, value)
				}
				response(w, c.status, c.body)
			})
			for range 3 {
				err := get(t, app)
				var limit *ghapp.LimitError
				if !errors.As(err, &limit) || limit.Installation != installation {
					t.Fatalf("%v, want a limit", err)
				}
				if d, ok := ghapp.Pause(err); !ok || d < c.least || d > c.most {
					t.Errorf("pause of %s, want between %s and %s", d, c.least, c.most)
				}
				if ghapp.IsRefused(err) {
					t.Error("a limit counts as a refusal")
				}
			}
			other, err := app.Client(installation, repository+1)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := other.Repositories.Get(t.Context(), "octo", "other"); err == nil {
				t.Error("another repository of the installation is not paused")
			}
			if n := d.count(); n != 1 {
				t.Errorf("%d requests, want 1: calls went on through the pause", n)
			}
		})
	}
}

func TestPauseEnds(t *testing.T) {
	_, app := start(t, func(w http.ResponseWriter, _ *http.Request, n int) {
		if n == 1 {
			w.Header().Set("Retry-After", "0")
			response(w, 403, secondary)
			return
		}
		response(w, 200, "{}")
	})
	err := get(t, app)
	wait, ok := ghapp.Pause(err)
	if !ok {
		t.Fatal(err)
	}
	timer := time.NewTimer(wait) // Pause promises that a call passes after it
	defer timer.Stop()
	<-timer.C
	if err := get(t, app); err != nil {
		t.Error(err)
	}
}

func TestMintingIsPausedToo(t *testing.T) {
	requests := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		requests++
		w.Header().Set("Retry-After", "60")
		response(w, 403, secondary)
	}))
	t.Cleanup(server.Close)
	app := newApp(t, ghapp.Config{BaseURL: server.URL}, newKey(t))
	for range 2 {
		if _, ok := ghapp.Pause(get(t, app)); !ok {
			t.Error("a limit at minting is no pause")
		}
	}
	if requests != 1 {
		t.Errorf("%d requests, want 1", requests)
	}
}

func TestMissingPermissionIsNoLimit(t *testing.T) {
	_, app := start(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
		response(w, 403, `{"message":"Resource not accessible by integration"}`)
	})
	err := get(t, app)
	if _, waits := ghapp.Pause(err); waits || !ghapp.IsRefused(err) || ghapp.IsNotFound(err) {
		t.Errorf("%v, want a refusal", err)
	}
	if !strings.Contains(err.Error(), "not accessible") {
		t.Errorf("%v: GitHub's words are lost", err)
	}
}

func TestUnavailableIsRepeatedUnlessItMayHaveWorked(t *testing.T) {
	for _, c := range []struct {
		method string
		status int
		want   int
	}{
		{"GET", 502, 2}, {"GET", 503, 2}, {"PATCH", 502, 1}, {"DELETE", 503, 2}, {"POST", 502, 1}, {"GET", 500, 1},
	} {
		t.Run(fmt.Sprint(c.method, c.status), func(t *testing.T) {
			t.Parallel()
			d, app := start(t, func(w http.ResponseWriter, _ *http.Request, _ int) { response(w, c.status, "{}") })
			api := client(t, app)
			var body any
			if c.method == "PATCH" || c.method == "POST" {
				body = map[string]string{"name": "value"}
			}
			req, err := api.NewRequest(c.method, "repos/octo/hello", body)
			if err != nil {
				t.Fatal(err)
			}
			_, err = api.Do(t.Context(), req, nil)
			if wait, ok := ghapp.Pause(err); !ok || wait > time.Minute {
				t.Errorf("%v: pause %s, %t", err, wait, ok)
			}
			if n := d.count(); n != c.want {
				t.Errorf("%d requests, want %d", n, c.want)
			}
			for _, got := range d.bodies[1:] {
				if body != nil && !strings.Contains(got, `"value"`) {
					t.Errorf("repeated with the body %q", got)
				}
			}
		})
	}
}

func TestRefusedTokenIsReplacedOnce(t *testing.T) {
	for _, c := range []struct {
		name     string
		until    int
		requests int
		works    bool
	}{{"then it works", 1, 2, true}, {"then it gives up", 99, 2, false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			d, app := start(t, func(w http.ResponseWriter, _ *http.Request, n int) {
				if n <= c.until {
					response(w, 401, `{"message":"Bad credentials"}`)
					return
				}
				response(w, 200, "{}")
			})
			_, _, err := client(t, app).Issues.CreateComment(t.Context(), "octo", "hello", 1, &github.IssueComment{Body: github.String("text")})
			if (err == nil) != c.works {
				t.Error(err)
			}
			if err != nil && (strings.Contains(err.Error(), "ghs_") || strings.Contains(err.Error(), "Bearer")) {
				t.Errorf("the error shows a credential: %v", err)
			}
			if d.count() != c.requests || d.minted != 2 {
				t.Errorf("%d requests and %d tokens, want %d and 2", d.count(), d.minted, c.requests)
			}
			if last := d.bodies[len(d.bodies)-1]; !strings.Contains(last, "text") {
				t.Errorf("repeated with the body %q", last)
			}
		})
	}
}

func TestTokenIsRenewedBeforeItExpires(t *testing.T) {
	d, app := start(t, func(w http.ResponseWriter, _ *http.Request, _ int) { response(w, 200, "{}") })
	d.life = 4 * time.Minute
	for range 2 {
		if err := get(t, app); err != nil {
			t.Fatal(err)
		}
	}
	if d.minted != 2 {
		t.Errorf("%d tokens were minted, want 2", d.minted)
	}
}

func TestEveryRequestSaysWhoAndWhat(t *testing.T) {
	d, app := start(t, func(w http.ResponseWriter, _ *http.Request, _ int) { response(w, 200, `{"slug":"litci"}`) })
	if err := get(t, app); err != nil {
		t.Fatal(err)
	}
	if err := app.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(d.requests) != 3 {
		t.Fatalf("%d requests, want minting, reading and asking for the App", len(d.requests))
	}
	for _, r := range d.requests {
		for name, want := range map[string]string{"User-Agent": "litci", "X-GitHub-Api-Version": "2022-11-28"} {
			if r.Header.Get(name) != want {
				t.Errorf("%s: %s is %q", r.URL, name, r.Header.Get(name))
			}
		}
		if accept := r.Header.Values("Accept"); len(accept) != 1 || !strings.HasPrefix(accept[0], "application/vnd.github") || strings.Contains(accept[0], "github.v3+json") && r.Method == "POST" {
			t.Errorf("%s: Accept is %q", r.URL, accept)
		}
	}
	var scope struct {
		Repositories []int64 `json:"repository_ids"`
	}
	if err := json.Unmarshal([]byte(d.bodies[0]), &scope); err != nil || len(scope.Repositories) != 1 || scope.Repositories[0] != repository {
		t.Errorf("the token is asked for by %s", d.bodies[0])
	}
	jwt := strings.Split(strings.TrimPrefix(d.requests[0].Header.Get("Authorization"), "Bearer "), ".")
	if len(jwt) != 3 {
		t.Fatalf("%d parts of a token", len(jwt))
	}
	text, err := base64.RawURLEncoding.DecodeString(jwt[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Iat, Exp int64
		Iss      string
	}
	if err := json.Unmarshal(text, &claims); err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	if ago := now - claims.Iat; ago < 55 || ago > 75 {
		t.Errorf("issued %d s ago, want 60", ago)
	}
	if ahead := claims.Exp - now; ahead < 8*60 || ahead > 9*60 {
		t.Errorf("expires in %d s, want 8 to 9 min", ahead)
	}
	if claims.Iss != strconv.Itoa(appID) {
		t.Errorf("issued by %s", claims.Iss)
	}
}

func TestTokenStaysOnItsHost(t *testing.T) {
	leaked := make(chan string, 10)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leaked <- r.Header.Get("Authorization")
		_, _ = io.WriteString(w, "archive")
	}))
	t.Cleanup(other.Close)
	_, app := start(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		w.Header().Set("Location", other.URL+"/x?token=secret")
		status := http.StatusMovedPermanently
		if strings.Contains(r.URL.Path, "/tarball/") {
			status = http.StatusFound
		}
		w.WriteHeader(status)
	})
	if err := get(t, app); err == nil {
		t.Error("a redirect to another host was followed")
	}
	body, err := app.Archive(t.Context(), installation, repository, "octo", "hello", strings.Repeat("a", 40))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(body)
	if err != nil || string(text) != "archive" {
		t.Errorf("%q, %v", text, err)
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
	if len(leaked) != 1 {
		t.Errorf("%d requests to the other host, want the archive alone", len(leaked))
	}
	if credential := <-leaked; credential != "" {
		t.Error("the token went to another host")
	}
	other.Close()
	_, err = app.Archive(t.Context(), installation, repository, "octo", "hello", strings.Repeat("a", 40))
	if _, ok := ghapp.Pause(err); !ok || strings.Contains(err.Error(), "secret") {
		t.Errorf("an unreachable archive host: %v", err)
	}
}

func TestUnreachableIsWaitedFor(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	app := newApp(t, ghapp.Config{BaseURL: server.URL}, newKey(t))
	if wait, ok := ghapp.Pause(get(t, app)); !ok || wait > time.Minute {
		t.Errorf("pause %s, %t", wait, ok)
	}
	if _, ok := ghapp.Pause(context.Canceled); ok {
		t.Error("our own stopping counts as GitHub's fault")
	}
}

func TestRequestsAreCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	server := httptest.NewServer(&double{life: time.Hour, answer: func(w http.ResponseWriter, _ *http.Request, _ int) {
		w.Header().Set("X-RateLimit-Remaining", "4990")
		response(w, 200, "{}")
	}})
	t.Cleanup(server.Close)
	key := newKey(t)
	for range 2 { // two Apps of one process share the metrics
		app := newApp(t, ghapp.Config{BaseURL: server.URL, Metrics: registry}, key)
		if _, _, err := client(t, app).PullRequests.Get(t.Context(), "repos", "pulls", 17); err != nil {
			t.Fatal(err)
		}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, label := range m.GetLabel() {
				name += " " + label.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	want := map[string]float64{
		"litci_github_budget_remaining":                                            4990,
		"litci_github_requests_total 200 GET /repos/{}/{}/pulls/{}":                2,
		"litci_github_requests_total 201 POST /app/installations/{}/access_tokens": 2,
	}
	if !maps.Equal(got, want) {
		t.Errorf("measured %v, want %v", got, want)
	}
}
