package fakegithub_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-github/v62/github"
)

func TestFaults(t *testing.T) {
	create := func(w *world, c *github.Client) (*github.Response, error) {
		_, resp, err := c.Checks.CreateCheckRun(w.t.Context(), owner, repoName, github.CreateCheckRunOptions{Name: "x", HeadSHA: w.sha("main")})
		return resp, err
	}
	tests := []struct {
		name, fault string
		status      int // 0: no answer comes
		runs        int // that the first request made
	}{
		{"before the effect", `[{"method":"POST","path":"/repos/{owner}/{repo}/check-runs","status":502}]`, 502, 0},
		{"by the path of one request", `[{"path":"/repos/octo/hello/check-runs","status":500}]`, 500, 0},
		{"after the effect", `[{"method":"POST","path":"/repos/{owner}/{repo}/check-runs","status":502,"after_effect":true}]`, 502, 1},
		{"without an answer", `[{"method":"POST","path":"/repos/{owner}/{repo}/check-runs","drop":true}]`, 0, 0},
		{"without an answer after the effect", `[{"method":"POST","path":"/repos/{owner}/{repo}/check-runs","drop":true,"after_effect":true}]`, 0, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := setup(t, nil)
			c := w.client()
			w.control(http.MethodPost, "/faults", tt.fault, nil)
			resp, err := create(w, c)
			if err == nil {
				t.Fatal("the fault did not happen")
			}
			if tt.status == 0 && resp != nil || tt.status != 0 && (resp == nil || resp.StatusCode != tt.status) {
				t.Errorf("got %v, %v; want %d", resp, err, tt.status)
			}
			if runs := len(w.server.State().CheckRuns); runs != tt.runs {
				t.Errorf("%d check runs, want %d", runs, tt.runs)
			}
			if _, err := create(w, c); err != nil {
				t.Errorf("the second time: %v", err)
			}
		})
	}
}

func TestFaultHeadersAndCount(t *testing.T) {
	w := setup(t, nil)
	token := w.token(nil)
	w.control(http.MethodPost, "/faults", `[{"method":"GET","status":429,"headers":{"Retry-After":"7"},"count":2},{"path":"/meta","status":503,"count":-1}]`, nil)
	for range 2 {
		got := w.send(http.MethodGet, repoPath, token, nil)
		if got.status != http.StatusTooManyRequests || got.header.Get("Retry-After") != "7" || !strings.Contains(got.body, `"message"`) {
			t.Errorf("got %d %v", got.status, got.header)
		}
	}
	if got := w.send(http.MethodGet, repoPath, token, nil); got.status != http.StatusOK {
		t.Errorf("the third time: %d, want 200", got.status)
	}
	for range 3 {
		if got := w.send(http.MethodGet, "/meta", token, nil); got.status != http.StatusServiceUnavailable {
			t.Errorf("meta: %d, want 503 always", got.status)
		}
	}
	w.control(http.MethodDelete, "/faults", nil, nil)
	if got := w.send(http.MethodGet, "/meta", token, nil); got.status != http.StatusOK {
		t.Errorf("without faults: %d, want 200", got.status)
	}
}

func TestFaultDelays(t *testing.T) {
	w := setup(t, nil)
	token := w.token(nil)
	w.control(http.MethodPost, "/faults", `[{"delay_ms":60}]`, nil)
	start := time.Now()
	if got := w.send(http.MethodGet, repoPath, token, nil); got.status != http.StatusOK {
		t.Errorf("got %d, want 200", got.status)
	}
	if took := time.Since(start); took < 60*time.Millisecond {
		t.Errorf("took %v, want 60 ms at least", took)
	}
}
