package ghapp_test

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-github/v62/github"

	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/pkg/fakegithub/fakegithubtest"
	"github.com/litci/litci/pkg/ghapp"
)

// near is a handler without a connection in between, so that a test's clock may be
// a fake. It counts who is under way, and what was refused.
type near struct {
	http.Handler
	latency time.Duration // at most, before and after the handler

	mu       sync.Mutex
	underWay int
	most     int
	sent     []string
	refused  int
}

func (n *near) RoundTrip(req *http.Request) (*http.Response, error) {
	n.mu.Lock()
	n.underWay++
	n.most = max(n.most, n.underWay)
	n.sent = append(n.sent, req.Method+" "+req.URL.Path)
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		n.underWay--
		n.mu.Unlock()
	}()
	n.travel()
	w := httptest.NewRecorder()
	arrived := req.Clone(req.Context())
	if arrived.Body == nil {
		arrived.Body = http.NoBody
	}
	n.ServeHTTP(w, arrived)
	_ = arrived.Body.Close()
	n.travel()
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	resp := w.Result()
	resp.Request = req
	if resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusTooManyRequests {
		n.mu.Lock()
		n.refused++
		n.mu.Unlock()
	}
	return resp, nil
}

func (n *near) travel() {
	if n.latency > 0 {
		time.Sleep(rand.N(n.latency))
	}
}

// count is how many requests were sent, those that mint tokens aside.
func (n *near) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	count := 0
	for _, request := range n.sent {
		if !strings.HasSuffix(request, "/access_tokens") {
			count++
		}
	}
	return count
}

// answers mints tokens, and answers all else by a function.
func answers(answer http.HandlerFunc) *near {
	return &near{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/access_tokens") {
			answer(w, r)
			return
		}
		response(w, 201, fmt.Sprintf(`{"token":"ghs_x","expires_at":%q}`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339)))
	})}
}

func fine(w http.ResponseWriter, _ *http.Request) { response(w, 200, `{"id":1}`) }

// anyKey is a key for tests that need not know whose.
var anyKey = sync.OnceValues(fakegithub.NewKey)

func nearApp(t *testing.T, n *near, budgets *ghapp.Budgets) *ghapp.App {
	t.Helper()
	key, err := anyKey()
	if err != nil {
		t.Fatal(err)
	}
	return newApp(t, ghapp.Config{Transport: n, Budgets: budgets}, key)
}

// limited is GitHub with these limits.
func limited(t *testing.T, limits fakegithub.Limits, key *rsa.PrivateKey) (n *near, sha string) {
	t.Helper()
	dir, sha := oneCommit(t)
	gh, err := fakegithub.New(fakegithub.Config{AppID: appID, PrivateKey: key, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = gh.Close() })
	if err := gh.AddRepo(fakegithub.Repo{Owner: "octo", Name: "hello", ID: repository, Dir: dir, Installation: installation}); err != nil {
		t.Fatal(err)
	}
	return &near{Handler: fakegithubtest.Handler(t, gh)}, sha
}

func limitOf(t *testing.T, err error) *ghapp.LimitError {
	t.Helper()
	var limit *ghapp.LimitError
	if !errors.As(err, &limit) {
		t.Fatalf("%v, want a limit", err)
	}
	return limit
}

func send(ctx context.Context, c *github.Client, method, path string) error {
	var body any
	if method != http.MethodGet {
		body = map[string]string{"name": "value"}
	}
	req, err := c.NewRequest(method, path, body)
	if err != nil {
		return err
	}
	_, err = c.Do(ctx, req, nil)
	return err
}

const (
	checkRuns = "repos/octo/hello/check-runs"
	aRepo     = "repos/octo/hello"
)

func TestNothingIsSentBeyondThePace(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits ghapp.Limits
		method string
		path   string
		most   int
		until  time.Duration
	}{
		{"reading costs one point", ghapp.Limits{PointsPerMinute: 50}, "GET", aRepo, 50, time.Minute},
		{"writing costs five", ghapp.Limits{PointsPerMinute: 50}, "PATCH", checkRuns + "/1", 10, time.Minute},
		{"creating is counted by the minute", ghapp.Limits{ContentPerMinute: 8}, "POST", checkRuns, 8, time.Minute},
		{"and by the hour", ghapp.Limits{ContentPerHour: 9}, "POST", "repos/octo/hello/issues/1/comments", 9, time.Hour},
		{"windows are as long as set", ghapp.Limits{ContentPerMinute: 3, Minute: 2 * time.Second}, "POST", checkRuns, 3, 2 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gh := answers(fine)
				api := client(t, nearApp(t, gh, ghapp.NewBudgets(c.limits)))
				for round := 1; round <= 2; round++ {
					began := time.Now()
					for range c.most {
						if err := send(t.Context(), api, c.method, c.path); err != nil {
							t.Fatal(err)
						}
					}
					err := send(t.Context(), api, c.method, c.path)
					if limit := limitOf(t, err); !limit.Until.Equal(began.Add(c.until)) {
						t.Errorf("refused for %s, want %s: %v", limit.Until.Sub(began), c.until, err)
					}
					if wait, ok := ghapp.Pause(err); !ok || wait < c.until {
						t.Errorf("pause of %s, %t", wait, ok)
					}
					if n := gh.count(); n != round*c.most {
						t.Errorf("%d requests were sent, want %d", n, round*c.most)
					}
					time.Sleep(c.until)
				}
			})
		})
	}
}

func TestReservation(t *testing.T) {
	limits := ghapp.Limits{ContentPerMinute: 20, PointsPerMinute: 200} // of which progress leaves 2 and 20
	ask := func(t *testing.T, app *ghapp.App, creations int, urgent bool) *ghapp.Reservation {
		t.Helper()
		r, err := app.Reserve(installation, ghapp.Cost{Creations: creations}, urgent)
		if err != nil {
			limitOf(t, err)
			return nil
		}
		return r
	}
	for _, c := range []struct {
		name string
		do   func(t *testing.T, app *ghapp.App, gh *near)
	}{
		{"what is reserved is nobody else's", func(t *testing.T, app *ghapp.App, _ *near) {
			if ask(t, app, 15, true) == nil || ask(t, app, 5, true) == nil {
				t.Fatal("less was reserved than there is")
			}
			limitOf(t, send(t.Context(), client(t, app), "POST", checkRuns))
			if ask(t, app, 1, true) != nil {
				t.Error("more was reserved than there is")
			}
		}},
		{"progress leaves a reserve, which verdicts may have", func(t *testing.T, app *ghapp.App, _ *near) {
			if ask(t, app, 18, false) == nil {
				t.Fatal("progress may not have its part")
			}
			if ask(t, app, 1, false) != nil {
				t.Error("progress takes of the reserve")
			}
			if ask(t, app, 2, true) == nil {
				t.Error("a verdict may not have the reserve")
			}
		}},
		{"what is released comes back, once", func(t *testing.T, app *ghapp.App, _ *near) {
			r := ask(t, app, 20, true)
			r.Release()
			r.Release()
			if ask(t, app, 20, true) == nil || ask(t, app, 1, true) != nil {
				t.Error("another part is free than was released")
			}
		}},
		{"what was spent does not come back", func(t *testing.T, app *ghapp.App, _ *near) {
			r := ask(t, app, 20, true)
			for range 5 {
				if err := send(r.Context(t.Context()), client(t, app), "POST", checkRuns); err != nil {
					t.Fatal(err)
				}
			}
			r.Release()
			if ask(t, app, 15, true) == nil || ask(t, app, 1, true) != nil {
				t.Error("another part is free than was not spent")
			}
			time.Sleep(time.Minute)
			if ask(t, app, 5, true) == nil {
				t.Error("after a minute it is not free")
			}
		}},
		{"beyond it, progress takes what is free", func(t *testing.T, app *ghapp.App, gh *near) {
			r := ask(t, app, 1, false)
			ctx := r.Context(t.Context())
			for range 18 {
				if err := send(ctx, client(t, app), "POST", checkRuns); err != nil {
					t.Fatal(err)
				}
			}
			limitOf(t, send(ctx, client(t, app), "POST", checkRuns))
			if gh.count() != 18 {
				t.Errorf("%d requests were sent, want 18", gh.count())
			}
			r.Release()
			if ask(t, app, 2, true) == nil {
				t.Error("the reserve is gone")
			}
		}},
		{"a cost beyond a window is cut", func(t *testing.T, app *ghapp.App, _ *near) {
			r := ask(t, app, 1000, false)
			if r == nil {
				t.Fatal("it would wait for ever")
			}
			if ask(t, app, 3, true) != nil || ask(t, app, 2, true) == nil {
				t.Error("it did not leave the reserve alone")
			}
		}},
		{"another installation's does not count", func(t *testing.T, app *ghapp.App, _ *near) {
			if ask(t, app, 20, true) == nil {
				t.Fatal("less was reserved than there is")
			}
			foreign, err := app.Reserve(installation+1, ghapp.Cost{Creations: 20}, true)
			if err != nil {
				t.Fatal(err)
			}
			limitOf(t, send(foreign.Context(t.Context()), client(t, app), "POST", checkRuns))
		}},
		{"a pause refuses it until its end", func(t *testing.T, app *ghapp.App, gh *near) {
			gh.Handler = answers(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Retry-After", "90")
				response(w, 403, secondary)
			}).Handler
			limitOf(t, send(t.Context(), client(t, app), "GET", aRepo))
			_, err := app.Reserve(installation, ghapp.Cost{Reads: 1}, true)
			if limit := limitOf(t, err); time.Until(limit.Until) != 90*time.Second {
				t.Errorf("until %s", time.Until(limit.Until))
			}
			time.Sleep(90 * time.Second)
			if _, err := app.Reserve(installation, ghapp.Cost{Reads: 1}, true); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gh := answers(fine)
				c.do(t, nearApp(t, gh, ghapp.NewBudgets(limits)), gh)
			})
		})
	}
}

// Two Apps of one process are one to GitHub.
func TestAppsShareTheirBudgets(t *testing.T) {
	t.Run("pace", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			gh, budgets := answers(fine), ghapp.NewBudgets(ghapp.Limits{ContentPerMinute: 4})
			checks, comments := nearApp(t, gh, budgets), nearApp(t, gh, budgets)
			r, err := checks.Reserve(installation, ghapp.Cost{Creations: 3}, true)
			if err != nil {
				t.Fatal(err)
			}
			for range 4 { // three of the reservation, one that is free
				if err := send(r.Context(t.Context()), client(t, comments), "POST", "repos/octo/hello/issues/1/comments"); err != nil {
					t.Fatal(err)
				}
			}
			limitOf(t, send(t.Context(), client(t, checks), "POST", checkRuns))
		})
	})
	t.Run("pause", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			gh := answers(func(w http.ResponseWriter, _ *http.Request) { response(w, 429, "{}") })
			budgets := ghapp.NewBudgets(ghapp.Limits{})
			checks, comments, alone := nearApp(t, gh, budgets), nearApp(t, gh, budgets), nearApp(t, gh, nil)
			limitOf(t, get(t, checks))
			limitOf(t, get(t, comments))
			if gh.count() != 1 {
				t.Errorf("%d requests were sent, want 1", gh.count())
			}
			limitOf(t, get(t, alone))
			if gh.count() != 2 {
				t.Error("an App with Budgets of its own is paused with the others")
			}
		})
	})
	t.Run("places", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			gh, budgets := answers(fine), ghapp.NewBudgets(ghapp.Limits{Concurrent: 3})
			gh.latency = time.Second
			apps := []*ghapp.App{nearApp(t, gh, budgets), nearApp(t, gh, budgets)}
			for _, app := range apps { // mint, which has places of its own
				if err := get(t, app); err != nil {
					t.Fatal(err)
				}
			}
			gh.most = 0
			var wait sync.WaitGroup
			for n := range 40 {
				wait.Go(func() {
					if err := get(t, apps[n%2]); err != nil {
						t.Error(err)
					}
				})
			}
			wait.Wait()
			if gh.most != 3 {
				t.Errorf("%d requests at once, want 3", gh.most)
			}
		})
	})
}

// Near its end the hour's budget is the verdicts' alone; GitHub refuses none.
func TestHoursBudgetEndsWithVerdicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, err := anyKey()
		if err != nil {
			t.Fatal(err)
		}
		gh, sha := limited(t, fakegithub.Limits{RequestsPerHour: 100}, key)
		app := nearApp(t, gh, nil)
		began := time.Now()
		works := func(urgent bool) (n int, limit *ghapp.LimitError) {
			for {
				r, err := app.Reserve(installation, ghapp.Cost{Reads: 1}, urgent)
				if err != nil {
					return n, limitOf(t, err)
				}
				if err := send(r.Context(t.Context()), client(t, app), "GET", fmt.Sprintf("%s/commits/%s/check-runs?page=%d", aRepo, sha, gh.count()+1)); err != nil {
					t.Fatal(err)
				}
				r.Release()
				n++
			}
		}
		for hour := range 2 {
			until := began.Add(time.Duration(hour+1) * time.Hour)
			n, limit := works(false)
			if early := until.Sub(limit.Until); n != 90 || early > time.Second || early < -time.Minute {
				t.Errorf("hour %d: progress made %d requests and waits until %s, want 90 and %s", hour, n, limit.Until, until)
			}
			if n, _ := works(true); n != 10 {
				t.Errorf("hour %d: %d requests are left for verdicts, want 10", hour, n)
			}
			if _, _, err := app.AsApp().Apps.Get(t.Context(), ""); err != nil {
				t.Errorf("the App's own budget is another: %v", err)
			}
			time.Sleep(time.Until(limit.Until))
		}
		if gh.refused != 0 {
			t.Errorf("GitHub refused %d requests", gh.refused)
		}
	})
}

// A matrix of 256 jobs: its checks are created as progress, each is updated, then
// completed. GitHub's limits are met nowhere, and the end is not later than the
// 80 creations a minute allow.
func TestMatrixMeetsNoLimit(t *testing.T) {
	const jobs = 256
	synctest.Test(t, func(t *testing.T) {
		key, err := anyKey()
		if err != nil {
			t.Fatal(err)
		}
		gh, sha := limited(t, fakegithub.Limits{}, key)
		gh.latency = 200 * time.Millisecond
		app := nearApp(t, gh, nil)
		began := time.Now()
		patiently := func(urgent bool, cost ghapp.Cost, do func(context.Context) error) {
			for time.Since(began) < time.Hour {
				r, err := app.Reserve(installation, cost, urgent)
				if err == nil {
					err = do(r.Context(t.Context()))
					r.Release()
					if err != nil {
						t.Error(err)
					}
					return
				}
				time.Sleep(time.Until(limitOf(t, err).Until))
			}
			t.Error("the budget does not come back")
		}
		api := client(t, app)
		var wait sync.WaitGroup
		for n := range jobs {
			wait.Go(func() {
				var id int64
				patiently(false, ghapp.Cost{Creations: 1}, func(ctx context.Context) error {
					run, _, err := api.Checks.CreateCheckRun(ctx, "octo", "hello", github.CreateCheckRunOptions{Name: fmt.Sprint("job ", n), HeadSHA: sha})
					id = run.GetID()
					return err
				})
				patiently(true, ghapp.Cost{Writes: 1}, func(ctx context.Context) error {
					_, _, err := api.Checks.UpdateCheckRun(ctx, "octo", "hello", id, github.UpdateCheckRunOptions{
						Name: fmt.Sprint("job ", n), Conclusion: github.String("success"),
					})
					return err
				})
			})
		}
		wait.Wait()
		if gh.refused != 0 {
			t.Errorf("GitHub refused %d requests", gh.refused)
		}
		if took, most := time.Since(began), (jobs-1)/80*time.Minute+10*time.Second; took > most {
			t.Errorf("it took %s, want at most %s", took, most)
		}
		if n := gh.count(); n != 2*jobs {
			t.Errorf("%d requests for %d jobs", n, jobs)
		}
	})
}

// Whoever does not reserve and comes again when told meets no limit either.
func TestCallersWithoutReservationMeetNoLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, err := anyKey()
		if err != nil {
			t.Fatal(err)
		}
		gh, _ := limited(t, fakegithub.Limits{PointsPerMinute: 40}, key)
		gh.latency = time.Second
		api := client(t, nearApp(t, gh, ghapp.NewBudgets(ghapp.Limits{PointsPerMinute: 40})))
		began := time.Now()
		var wait sync.WaitGroup
		for range 200 {
			wait.Go(func() {
				for {
					err := send(t.Context(), api, "GET", aRepo)
					if err == nil {
						return
					}
					pause, ok := ghapp.Pause(err)
					if !ok || time.Since(began) > time.Hour {
						t.Errorf("after %s: %v", time.Since(began), err)
						return
					}
					time.Sleep(pause)
				}
			})
		}
		wait.Wait()
		if gh.refused != 0 {
			t.Errorf("GitHub refused %d requests", gh.refused)
		}
	})
}
