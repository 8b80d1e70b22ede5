package ghapp_test

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
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
	key, err := anyKey()
	if err != nil {
		t.Fatal(err)
	}
	return d, newApp(t, ghapp.Config{BaseURL: server.URL}, key)
}

func get(t *testing.T, app *ghapp.App) error {
	t.Helper()
	_, _, err := client(t, app).Repositories.Get(t.Context(), "octo", "hello")
	return err
}

// nobody is an address where no server is, nor gets by chance.
const nobody = "http://127.0.0.1:1"

const secondary = `{"message":"You have exceeded a secondary rate limit."}`

func TestLimitsPauseTheInstallation(t *testing.T) {
	const reset = "in ten minutes"
	for _, c := range []struct {
		name   string
		status int
		header map[string]string
		body   string
		want   time.Duration // and some jitter
	}{
		{"retry-after", 403, map[string]string{"Retry-After": "30"}, secondary, 30 * time.Second},
		{"retry-after wins", 429, map[string]string{"Retry-After": "30", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}, "{}", 30 * time.Second},
		{"exhausted", 403, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}, "{}", 10*time.Minute + time.Second},
		{"reset in the past", 403, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1"}, "{}", time.Minute},
		{"text alone", 403, nil, secondary, time.Minute},
		{"429 alone", 429, nil, "{}", time.Minute},
		{"asks too much", 403, map[string]string{"Retry-After": "999999"}, "{}", 70 * time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gh := answers(func(w http.ResponseWriter, _ *http.Request) {
					for name, value := range c.header {
						if value == reset {
							value = strconv.FormatInt(time.Now().Add(10*time.Minute).Unix(), 10)
						}
						w.Header().Set(name, value)
					}
					response(w, c.status, c.body)
				})
				app := nearApp(t, gh, nil)
				for range 3 {
					err := get(t, app)
					if limit := limitOf(t, err); limit.Installation != installation || time.Until(limit.Until) != c.want {
						t.Fatalf("%v for %s, want %s", err, time.Until(limit.Until), c.want)
					}
					if d, ok := ghapp.Pause(err); !ok || d <= c.want || d > c.want+6*time.Second {
						t.Errorf("pause of %s, want a little more than %s", d, c.want)
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
				if n := gh.count(); n != 1 {
					t.Errorf("%d requests, want 1: calls went on through the pause", n)
				}
			})
		})
	}
}

func TestPauseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gh := answers(nil)
		mints := gh.Handler
		gh.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.HasSuffix(r.URL.Path, "/access_tokens"):
				mints.ServeHTTP(w, r)
			case gh.count() == 1:
				w.Header().Set("Retry-After", "0")
				response(w, 403, secondary)
			default:
				response(w, 200, "{}")
			}
		})
		app := nearApp(t, gh, nil)
		err := get(t, app)
		wait, ok := ghapp.Pause(err)
		if !ok {
			t.Fatal(err)
		}
		time.Sleep(wait) // Pause promises that a call passes after it
		if err := get(t, app); err != nil {
			t.Error(err)
		}
	})
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

func TestUnnamedPausesDouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		works := false
		gh := answers(func(w http.ResponseWriter, r *http.Request) {
			if works {
				fine(w, r)
				return
			}
			response(w, 403, secondary)
		})
		app := nearApp(t, gh, nil)
		api := client(t, app)
		paused := func() time.Duration {
			limit := limitOf(t, send(t.Context(), api, "PATCH", checkRuns+"/1"))
			wait := time.Until(limit.Until)
			time.Sleep(wait)
			return wait
		}
		for _, want := range []time.Duration{1, 2, 4, 8, 15, 15} {
			if got := paused(); got != want*time.Minute {
				t.Errorf("pause of %s, want %s", got, want*time.Minute)
			}
		}
		works = true
		if err := send(t.Context(), api, "PATCH", checkRuns+"/1"); err != nil {
			t.Fatal(err)
		}
		works = false
		if got := paused(); got != time.Minute {
			t.Errorf("pause of %s after one that passed, want a minute", got)
		}
	})
}

// Of those that were sent before the refusal some are refused too and some pass:
// none changes the guess. Those that waited for a place are not sent.
func TestPauseMeetsManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sent atomic.Int32
		gh := answers(func(w http.ResponseWriter, r *http.Request) {
			switch sent.Add(1) {
			case 1:
				time.Sleep(time.Second)
			case 2, 3:
				time.Sleep(2 * time.Second)
			case 4:
				time.Sleep(3 * time.Second)
				fine(w, r)
				return
			}
			response(w, 403, secondary)
		})
		app := nearApp(t, gh, ghapp.NewBudgets(ghapp.Limits{Concurrent: 4}))
		api := client(t, app)
		began := time.Now()
		var wait sync.WaitGroup
		for range 40 {
			wait.Go(func() { _ = send(t.Context(), api, "PATCH", checkRuns+"/1") })
		}
		wait.Wait()
		if n := gh.count(); n != 4 {
			t.Errorf("%d requests were sent through 4 places, though the first was refused", n)
		}
		_, err := app.Reserve(installation, ghapp.Cost{}, true)
		if until := limitOf(t, err).Until.Sub(began); until != time.Minute+2*time.Second {
			t.Errorf("paused until %s after the start, want a minute after the last refusal", until)
		}
		time.Sleep(time.Minute)
		limit := limitOf(t, send(t.Context(), api, "PATCH", checkRuns+"/1"))
		if wait := time.Until(limit.Until); wait != 2*time.Minute {
			t.Errorf("the second guess is %s, want two minutes: what passed was sent before the refusal", wait)
		}
	})
}

func TestPauseIsOneInstallations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limitRepo, limitMint := false, false
		gh := answers(func(w http.ResponseWriter, r *http.Request) {
			if limitRepo {
				w.Header().Set("Retry-After", "600")
				response(w, 403, secondary)
				return
			}
			fine(w, r)
		})
		mints := gh.Handler
		gh.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if limitMint && strings.HasSuffix(r.URL.Path, "/access_tokens") {
				w.Header().Set("Retry-After", "600")
				response(w, 403, secondary)
				return
			}
			mints.ServeHTTP(w, r)
		})
		app := nearApp(t, gh, nil)
		ask := func(installation, repo int64) error {
			api, err := app.Client(installation, repo)
			if err != nil {
				t.Fatal(err)
			}
			return send(t.Context(), api, "PATCH", checkRuns+"/1")
		}
		if err := ask(1, 10); err != nil {
			t.Fatal(err)
		}
		limitRepo = true
		limitOf(t, ask(1, 10))
		limitRepo = false
		before := len(gh.sent)
		limitOf(t, ask(1, 11)) // a token would have to be minted
		if len(gh.sent) != before {
			t.Errorf("a paused installation sends %v", gh.sent[before:])
		}
		if err := ask(2, 20); err != nil {
			t.Errorf("another installation is paused too: %v", err)
		}
		limitMint = true
		if limit := limitOf(t, ask(2, 21)); limit.Installation != 0 {
			t.Errorf("the limit at minting is installation %d's, want the App's", limit.Installation)
		}
		before = len(gh.sent)
		limitOf(t, ask(3, 30))
		if len(gh.sent) != before {
			t.Errorf("the paused App mints on: %v", gh.sent[before:])
		}
		if err := ask(2, 20); err != nil {
			t.Errorf("who has a token is stopped: %v", err)
		}
	})
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

func TestAnswersAreToldApart(t *testing.T) {
	for _, c := range []struct {
		status                  int
		body                    string
		waits, absent, hopeless bool
	}{
		{403, `{"message":"Resource not accessible by integration"}`, false, false, true},
		{403, secondary, true, false, false},
		{429, "{}", true, false, false},
		{404, `{"message":"Not Found"}`, false, true, false},
		{410, `{"message":"Gone"}`, false, true, false},
		{422, `{"message":"Validation Failed"}`, false, false, true},
		{451, `{"message":"Repository access blocked"}`, false, false, true},
		{409, `{"message":"Git Repository is empty."}`, false, false, false},
		{401, `{"message":"Bad credentials"}`, false, false, false},
		{500, "{}", true, false, false},
		{503, "not JSON", true, false, false},
	} {
		t.Run(fmt.Sprint(c.status, c.body), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				app := nearApp(t, answers(func(w http.ResponseWriter, _ *http.Request) { response(w, c.status, c.body) }), nil)
				err := get(t, app)
				if _, waits := ghapp.Pause(err); waits != c.waits || ghapp.IsNotFound(err) != c.absent || ghapp.IsRefused(err) != c.hopeless {
					t.Errorf("waits %t, not found %t, refused %t: %v", waits, ghapp.IsNotFound(err), ghapp.IsRefused(err), err)
				}
			})
		})
	}
}

// GitHub that does not answer in time is waited for, not all at the same moment.
func TestSilenceIsWaitedForWithJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gh := answers(nil)
		mints := gh.Handler
		gh.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, "/access_tokens") {
				<-r.Context().Done()
				return
			}
			mints.ServeHTTP(w, r)
		})
		began := time.Now()
		err := get(t, nearApp(t, gh, nil))
		if took := time.Since(began); took < 10*time.Second || took > time.Minute {
			t.Errorf("given up after %s", took)
		}
		waits := map[time.Duration]bool{}
		for range 50 {
			wait, ok := ghapp.Pause(err)
			if !ok || wait < 5*time.Second || wait > 10*time.Second {
				t.Fatalf("%v: pause %s, %t", err, wait, ok)
			}
			waits[wait] = true
		}
		if len(waits) < 25 {
			t.Errorf("50 that wait come back at %d moments", len(waits))
		}
	})
}

func TestRedirectsKeepMethodAndBody(t *testing.T) {
	for _, status := range []int{301, 307, 308} {
		for _, method := range []string{"GET", "POST", "PATCH", "DELETE"} {
			t.Run(fmt.Sprint(method, status), func(t *testing.T) {
				d, app := start(t, func(w http.ResponseWriter, r *http.Request, _ int) {
					if strings.Contains(r.URL.Path, "/repos/octo/hello") {
						w.Header().Set("Location", "/api/v3/repositories/4711/check-runs")
						w.WriteHeader(status)
						return
					}
					response(w, 200, "{}")
				})
				if err := send(t.Context(), client(t, app), method, checkRuns); err != nil {
					t.Fatal(err)
				}
				last := len(d.requests) - 1
				if r := d.requests[last]; d.count() != 2 || r.Method != method || r.URL.Path != "/api/v3/repositories/4711/check-runs" || r.Header.Get("Authorization") == "" {
					t.Errorf("after %d requests %s %s", d.count(), r.Method, r.URL)
				}
				if method != "GET" && !strings.Contains(d.bodies[last], `"value"`) {
					t.Errorf("the body is %q", d.bodies[last])
				}
			})
		}
	}
	t.Run("in a circle", func(t *testing.T) {
		d, app := start(t, func(w http.ResponseWriter, r *http.Request, _ int) {
			w.Header().Set("Location", r.URL.Path)
			w.WriteHeader(301)
		})
		if err := get(t, app); err == nil || d.count() > 10 {
			t.Errorf("%d requests, %v", d.count(), err)
		}
	})
}

func TestUnavailableIsRepeatedUnlessItMayHaveWorked(t *testing.T) {
	for _, c := range []struct {
		method string
		status int
		want   int
	}{
		{"GET", 502, 2}, {"GET", 503, 2}, {"GET", 504, 2}, {"POST", 504, 1}, {"PATCH", 502, 1}, {"DELETE", 503, 2}, {"POST", 502, 1}, {"GET", 500, 1},
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
	before := time.Now()
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
	after := time.Now()
	if claims.Iat < before.Add(-65*time.Second).Unix() || claims.Iat > after.Add(-55*time.Second).Unix() {
		t.Errorf("issued at %d, which is not a minute before %s", claims.Iat, before)
	}
	if claims.Exp < before.Add(8*time.Minute).Unix() || claims.Exp > after.Add(9*time.Minute).Unix() {
		t.Errorf("expires at %d, which is not 8 to 9 min behind %s", claims.Exp, before)
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
	var at atomic.Value
	at.Store(other.URL)
	_, app := start(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		w.Header().Set("Location", at.Load().(string)+"/x?token=secret")
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
	at.Store(nobody)
	_, err = app.Archive(t.Context(), installation, repository, "octo", "hello", strings.Repeat("a", 40))
	if _, ok := ghapp.Pause(err); !ok || strings.Contains(err.Error(), "secret") {
		t.Errorf("an unreachable archive host: %v", err)
	}
}

func TestUnreachableIsWaitedFor(t *testing.T) {
	app := newApp(t, ghapp.Config{BaseURL: nobody}, newKey(t))
	if wait, ok := ghapp.Pause(get(t, app)); !ok || wait > time.Minute {
		t.Errorf("pause %s, %t", wait, ok)
	}
	if _, ok := ghapp.Pause(context.Canceled); ok {
		t.Error("our own stopping counts as GitHub's fault")
	}
}

func TestGaugesAndCounters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		key, err := anyKey()
		if err != nil {
			t.Fatal(err)
		}
		gh := answers(func(w http.ResponseWriter, r *http.Request) {
			remaining := map[string]string{"/repos/octo/few": "17"}[r.URL.Path]
			w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10))
			switch r.URL.Path {
			case "/repos/octo/primary":
				w.Header().Set("X-RateLimit-Remaining", "0")
				response(w, 403, `{"message":"API rate limit exceeded"}`)
				return
			case "/repos/octo/secondary":
				w.Header().Set("X-RateLimit-Remaining", "4000")
				w.Header().Set("Retry-After", "60")
				response(w, 403, secondary)
				return
			}
			w.Header().Set("X-RateLimit-Remaining", cmp.Or(remaining, "4000"))
			w.Header().Set("ETag", `"1"`)
			if r.Header.Get("If-None-Match") != "" {
				w.WriteHeader(304)
				return
			}
			response(w, 200, "{}")
		})
		// Two Apps of one process, with Budgets of their own, share the metrics.
		var apps [2]*ghapp.App
		for i := range apps {
			apps[i] = newApp(t, ghapp.Config{Transport: gh, Metrics: registry, Budgets: ghapp.NewBudgets(ghapp.Limits{PointsPerMinute: 20})}, key)
		}
		ask := func(app *ghapp.App, installation int64, name string) {
			api, err := app.Client(installation, repository)
			if err != nil {
				t.Fatal(err)
			}
			_, _, _ = api.Repositories.Get(t.Context(), "octo", name) // what it was is measured
		}
		ask(apps[0], 1, "few")
		for range 21 { // of which one is beyond the pace
			ask(apps[1], 2, "many")
		}
		if _, err := apps[1].Reserve(2, ghapp.Cost{Writes: 1}, true); err == nil {
			t.Error("more was reserved than there is")
		}
		ask(apps[0], 3, "secondary")
		ask(apps[1], 4, "secondary")
		ask(apps[1], 4, "secondary") // is not sent
		measured := gather(t, registry)
		for name, want := range map[string]float64{
			"litci_github_budget_remaining":                    17,
			"litci_github_paused_installations":                2,
			"litci_github_limited_total own":                   2,
			"litci_github_limited_total primary":               0,
			"litci_github_limited_total secondary":             2,
			"litci_github_not_modified_total":                  19,
			"litci_github_requests_total 304 GET /repos/{}/{}": 19,
			"litci_github_requests_total 200 GET /repos/{}/{}": 2,
			"litci_github_requests_total 403 GET /repos/{}/{}": 2,
		} {
			if measured[name] != want {
				t.Errorf("%s is %v, want %v", name, measured[name], want)
			}
		}
		ask(apps[0], 5, "primary")
		time.Sleep(2 * time.Minute)
		measured = gather(t, registry)
		for name, want := range map[string]float64{
			"litci_github_budget_remaining":      0,
			"litci_github_paused_installations":  1,
			"litci_github_limited_total primary": 1,
		} {
			if measured[name] != want {
				t.Errorf("then %s is %v, want %v", name, measured[name], want)
			}
		}
		time.Sleep(2 * time.Hour)
		if measured = gather(t, registry); measured["litci_github_paused_installations"] != 0 {
			t.Error("the pauses do not end")
		}
		if _, told := measured["litci_github_budget_remaining"]; told {
			t.Error("it tells a budget of an hour that is over")
		}
	})
}

// gather is what a registry measured, by name and labels.
func gather(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
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
	return got
}

func TestRequestsAreCounted(t *testing.T) {
	registry := prometheus.NewRegistry()
	server := httptest.NewServer(&double{life: time.Hour, answer: func(w http.ResponseWriter, _ *http.Request, _ int) {
		w.Header().Set("X-RateLimit-Remaining", "4990")
		w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10))
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
	got := gather(t, registry)
	want := map[string]float64{
		"litci_github_budget_remaining":                                            4990,
		"litci_github_limited_total own":                                           0,
		"litci_github_limited_total primary":                                       0,
		"litci_github_limited_total secondary":                                     0,
		"litci_github_not_modified_total":                                          0,
		"litci_github_paused_installations":                                        0,
		"litci_github_requests_total 200 GET /repos/{}/{}/pulls/{}":                2,
		"litci_github_requests_total 201 POST /app/installations/{}/access_tokens": 2,
	}
	if !maps.Equal(got, want) {
		t.Errorf("measured %v, want %v", got, want)
	}
}
