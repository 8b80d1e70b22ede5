package fakegithub_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-github/v62/github"

	"github.com/litci/litci/pkg/fakegithub"
)

func TestUnchangedAnswersAreFree(t *testing.T) {
	w := setup(t, nil)
	token := w.token(nil)
	first := w.send(http.MethodGet, repoPath, token, nil)
	tag := first.header.Get("ETag")
	if first.status != http.StatusOK || tag == "" || first.header.Get("X-RateLimit-Remaining") != "4999" {
		t.Fatalf("first: %d, %v", first.status, first.header)
	}
	again := w.send(http.MethodGet, repoPath, token, nil, "If-None-Match", tag)
	if again.status != http.StatusNotModified || again.body != "" || again.header.Get("X-RateLimit-Remaining") != "4999" {
		t.Errorf("unchanged: %d, remaining %s", again.status, again.header.Get("X-RateLimit-Remaining"))
	}
	other := w.send(http.MethodGet, repoPath, token, nil, "If-None-Match", `"other"`)
	if other.status != http.StatusOK || other.header.Get("X-RateLimit-Used") != "2" {
		t.Errorf("changed: %d, used %s", other.status, other.header.Get("X-RateLimit-Used"))
	}
	free := w.send(http.MethodGet, "/rate_limit", token, nil)
	if free.status != http.StatusOK || !strings.Contains(free.body, `"remaining":4998`) {
		t.Errorf("rate_limit: %d %s", free.status, free.body)
	}
}

func TestPrimaryLimit(t *testing.T) {
	w := setup(t, func(c *fakegithub.Config) { c.Limits.RequestsPerHour = 3 })
	token := w.token(nil)
	var got answer
	for range 4 {
		got = w.send(http.MethodGet, repoPath, token, nil)
	}
	reset, err := strconv.ParseInt(got.header.Get("X-RateLimit-Reset"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if got.status != http.StatusForbidden || got.header.Get("X-RateLimit-Remaining") != "0" || !strings.Contains(got.body, "API rate limit exceeded for installation") {
		t.Errorf("got %d %s", got.status, got.body)
	}
	if want := w.clock.Now().Add(time.Hour).Unix(); reset != want {
		t.Errorf("reset = %d, want %d", reset, want)
	}
	w.clock.Advance(time.Hour - time.Second)
	if got := w.send(http.MethodGet, repoPath, token, nil); got.status != http.StatusForbidden {
		t.Errorf("before the reset: %d, want 403", got.status)
	}
	w.clock.Advance(time.Second)
	if got := w.send(http.MethodGet, repoPath, w.token(nil), nil); got.status != http.StatusOK {
		t.Errorf("after the reset: %d %s, want 200", got.status, got.body)
	}
}

func TestSecondaryLimits(t *testing.T) {
	tests := []struct {
		name   string
		limits fakegithub.Limits
		wait   string // seconds
	}{
		{"content a minute", fakegithub.Limits{ContentPerMinute: 2}, "60"},
		{"content an hour", fakegithub.Limits{ContentPerHour: 2}, "3600"},
		{"points a minute", fakegithub.Limits{PointsPerMinute: 12}, "60"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := setup(t, func(c *fakegithub.Config) { c.Limits = tt.limits })
			token := w.token(nil)
			create := func() answer {
				return w.send(http.MethodPost, repoPath+"/check-runs", token, map[string]any{"name": "x", "head_sha": w.sha("main")})
			}
			for range 2 {
				if got := create(); got.status != http.StatusCreated {
					t.Fatalf("within the limit: %d %s", got.status, got.body)
				}
			}
			got := create()
			if got.status != http.StatusForbidden || got.header.Get("Retry-After") != tt.wait || !strings.Contains(got.body, "secondary rate limit") {
				t.Errorf("beyond: %d, Retry-After %q, %s", got.status, got.header.Get("Retry-After"), got.body)
			}
			if runs := len(w.server.State().CheckRuns); runs != 2 {
				t.Errorf("%d check runs, want 2", runs)
			}
			seconds, err := strconv.Atoi(got.header.Get("Retry-After"))
			if err != nil {
				t.Fatal(err)
			}
			w.clock.Advance(time.Duration(seconds) * time.Second)
			token = w.token(nil) // the old one expires within the hour
			if got := create(); got.status != http.StatusCreated {
				t.Errorf("after the wait: %d %s", got.status, got.body)
			}
		})
	}
}

func TestLimitsOff(t *testing.T) {
	w := setup(t, func(c *fakegithub.Config) {
		c.Limits = fakegithub.Limits{Off: true, RequestsPerHour: 1, PointsPerMinute: 1, ContentPerMinute: 1}
	})
	for i := range 3 {
		w.newRun(w.client(), fmt.Sprint(i))
	}
}

func TestPagesAreLinked(t *testing.T) {
	w := setup(t, func(c *fakegithub.Config) { c.Limits.Off = true })
	c := w.client()
	for i := range 105 {
		w.newRun(c, fmt.Sprint(i))
	}
	for _, tt := range []struct{ perPage, page, got, next, last int }{
		{0, 1, 30, 2, 4}, {100, 1, 100, 2, 2}, {500, 1, 100, 2, 2}, {100, 2, 5, 0, 0}, {100, 9, 0, 0, 0},
	} {
		list, resp, err := c.Checks.ListCheckRunsForRef(t.Context(), owner, repoName, "feature", &github.ListCheckRunsOptions{
			ListOptions: github.ListOptions{PerPage: tt.perPage, Page: tt.page},
		})
		if err != nil || len(list.CheckRuns) != tt.got || resp.NextPage != tt.next || resp.LastPage != tt.last {
			t.Errorf("page %d of %d: %d runs, next %d, last %d, %v; want %+v", tt.page, tt.perPage, len(list.CheckRuns), resp.NextPage, resp.LastPage, err, tt)
		}
	}
}
