package fakegithub_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v4"

	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/pkg/fakegithub/fakegithubtest"
)

func TestHeaderRefusals(t *testing.T) {
	w := setup(t, nil, fakegithubtest.RefusalsMayDiffer())
	token := w.token(nil)
	tests := []struct {
		name, path, credential string
		headers                []string
		status                 int
		message                string
	}{
		{"no user agent", repoPath, token, []string{"User-Agent", ""}, 403, "User-Agent"},
		{"an unknown API version", repoPath, token, []string{"X-GitHub-Api-Version", "2021-01-01"}, 400, "2021-01-01"},
		{"a known API version", repoPath, token, []string{"X-GitHub-Api-Version", "2026-03-10"}, 200, ""},
		{"a trailing slash", repoPath + "/", token, nil, 404, "Not Found"},
		{"an unknown path", "/nowhere", token, nil, 404, "Not Found"},
		{"an unknown path of GitHub Enterprise", "/api/v3/nowhere", token, nil, 404, "Not Found"},
		{"GitHub Enterprise's prefix", "/api/v3" + repoPath, token, nil, 200, ""},
		{"an unknown repository", "/repos/octo/nowhere", token, nil, 404, "Not Found"},
		{"no credential", repoPath, "", nil, 401, "Requires authentication"},
		{"a bad credential", repoPath, "ghs_bad", nil, 401, "Bad credentials"},
		{"a bad credential where none is needed", "/meta", "ghs_bad", nil, 401, "Bad credentials"},
		{"the App's token on a repository", repoPath, w.jwt(nil), nil, 403, "Resource not accessible by integration"},
		{"an installation's token on the App", "/app", token, nil, 401, "A JSON web token could not be decoded"},
		{"no credential on the App", "/app", "", nil, 401, "A JSON web token could not be decoded"},
		{"basic authentication", "/app", "", []string{"Authorization", "Basic eDp5"}, 401, "A JSON web token could not be decoded"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := w.send(http.MethodGet, tt.path, tt.credential, nil, tt.headers...)
			if got.status != tt.status || !strings.Contains(got.body, tt.message) {
				t.Errorf("got %d %s, want %d with %q", got.status, got.body, tt.status, tt.message)
			}
			if tt.status >= 400 && !strings.Contains(got.body, `"documentation_url"`) {
				t.Errorf("the body has not GitHub's shape: %s", got.body)
			}
		})
	}
	requests := w.server.State().Requests
	if requests["unknown GET /nowhere"] != 2 || requests["GET /repos/{owner}/{repo}"] == 0 {
		t.Errorf("requests = %v", requests)
	}
}

func TestAppTokenRefusals(t *testing.T) {
	w := setup(t, nil)
	now := w.clock.Now()
	foreign, err := fakegithub.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	claims := jwt.MapClaims{"iss": appID, "iat": now.Unix(), "exp": now.Add(time.Minute).Unix()}
	sign := func(method jwt.SigningMethod, key any) string {
		signed, err := jwt.NewWithClaims(method, claims).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	set := func(name string, value any) string { return w.jwt(func(c jwt.MapClaims) { c[name] = value }) }
	without := func(name string) string { return w.jwt(func(c jwt.MapClaims) { delete(c, name) }) }
	const (
		undecodable = "A JSON web token could not be decoded"
		expired     = "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the assertion expires"
		tooFar      = "'Expiration time' claim ('exp') is too far in the future"
		badIssuedAt = "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
		badIssuer   = "'Issuer' claim ('iss') must be an Integer"
	)
	tests := []struct {
		name, token string
		status      int
		message     string
	}{
		{"good", w.jwt(nil), 200, ""},
		{"the id as text", set("iss", fmt.Sprint(appID)), 200, ""},
		{"ten minutes ahead", set("exp", now.Add(10*time.Minute).Unix()), 200, ""},
		{"more than ten minutes ahead", set("exp", now.Add(10*time.Minute+time.Second).Unix()), 401, tooFar},
		{"expired", set("exp", now.Unix()), 401, expired},
		{"a fraction of a second", set("exp", float64(now.Unix())+60.5), 401, expired},
		{"no expiry", without("exp"), 401, expired},
		{"issued in the future", set("iat", now.Add(time.Second).Unix()), 401, badIssuedAt},
		{"no time of issue", without("iat"), 401, badIssuedAt},
		{"no issuer", without("iss"), 401, badIssuer},
		{"another App", set("iss", 1), 404, "Integration not found"},
		{"another key", sign(jwt.SigningMethodRS256, foreign), 401, undecodable},
		{"another algorithm", sign(jwt.SigningMethodHS256, []byte("x")), 401, undecodable},
		{"another hash", sign(jwt.SigningMethodRS512, w.key), 401, undecodable},
		{"no signature", sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType), 401, undecodable},
		{"no token", "x.y.z", 401, undecodable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := w.send(http.MethodGet, "/app", tt.token, nil)
			if got.status != tt.status || !strings.Contains(got.body, tt.message) {
				t.Errorf("got %d %s, want %d with %q", got.status, got.body, tt.status, tt.message)
			}
		})
	}
}

func TestEveryEndpointAsksForItsPermission(t *testing.T) {
	w := setup(t, func(c *fakegithub.Config) { c.Permissions = map[string]string{"metadata": "read", "actions": "read"} }, fakegithubtest.RefusalsMayDiffer())
	token := w.token(nil)
	n := w.openPull(nil)
	tests := []struct{ method, path, accepted string }{
		{"GET", "/git/trees/main", "contents=read"},
		{"GET", "/git/blobs/" + strings.Repeat("1", 40), "contents=read"},
		{"GET", "/contents/README.md", "contents=read"},
		{"GET", "/tarball/main", "contents=read"},
		{"GET", "/commits/main", "contents=read"},
		{"GET", "/compare/main...feature", "contents=read"},
		{"GET", fmt.Sprintf("/pulls/%d/files", n), "pull_requests=read"},
		{"GET", "/pulls", "pull_requests=read"},
		{"POST", "/check-runs", "checks=write"},
		{"PATCH", "/check-runs/1", "checks=write"},
		{"GET", "/commits/main/check-runs", "checks=read"},
		{"POST", "/statuses/" + strings.Repeat("1", 40), "statuses=write"},
		{"POST", fmt.Sprintf("/issues/%d/comments", n), "issues=write; pull_requests=write"},
		{"GET", fmt.Sprintf("/issues/%d/comments", n), "issues=read; pull_requests=read"},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			got := w.send(tt.method, repoPath+tt.path, token, nil)
			if got.status != http.StatusForbidden || got.header.Get("X-Accepted-GitHub-Permissions") != tt.accepted {
				t.Errorf("got %d, %q; want 403, %q", got.status, got.header.Get("X-Accepted-GitHub-Permissions"), tt.accepted)
			}
			if !strings.Contains(got.body, "Resource not accessible by integration") {
				t.Errorf("body = %s", got.body)
			}
		})
	}
	if got := w.send("GET", repoPath, token, nil); got.status != http.StatusOK {
		t.Errorf("metadata: %d, want 200: it is part of every token", got.status)
	}
}

func TestArchivedRepositoryIsReadOnly(t *testing.T) {
	w := setup(t, nil, fakegithubtest.RefusalsMayDiffer())
	if err := w.server.AddRepo(fakegithub.Repo{Owner: owner, Name: "old", Dir: w.dir, Archived: true}); err != nil {
		t.Fatal(err)
	}
	token := w.token(nil)
	if got := w.send(http.MethodGet, "/repos/octo/old", token, nil); got.status != 200 || !strings.Contains(got.body, `"archived":true`) {
		t.Errorf("read: %d %s", got.status, got.body)
	}
	if got := w.send(http.MethodPost, "/repos/octo/old/check-runs", token, map[string]any{"name": "x", "head_sha": w.sha("main")}); got.status != 403 || !strings.Contains(got.body, "archived") {
		t.Errorf("written: %d %s", got.status, got.body)
	}
}
