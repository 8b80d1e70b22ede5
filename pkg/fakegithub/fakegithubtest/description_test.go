package fakegithubtest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestCheckNotices shows that the validator fails what GitHub would not say.
func TestCheckNotices(t *testing.T) {
	a, err := description()
	if err != nil {
		t.Fatal(err)
	}
	const refusal = `{"message":"no","documentation_url":"https://docs.github.com/rest"}`
	tests := []struct {
		name, method, path, request string
		status                      int
		answer                      string
		refusalsMayDiffer           bool
		wrong                       string // "" when all is well
	}{
		{name: "all is well", method: "GET", path: "/repos/a/b/issues/1/comments?per_page=3", status: 200, answer: "[]"},
		{name: "GitHub Enterprise's prefix", method: "GET", path: "/api/v3/repos/a/b/issues/1/comments", status: 200, answer: "[]"},
		{name: "a ref with slashes", method: "GET", path: "/repos/a/b/commits/heads/x/y/check-runs", status: 200, answer: `{"total_count":0,"check_runs":[]}`},
		{name: "no such operation", method: "GET", path: "/nowhere", status: 404, answer: refusal, wrong: "no operation"},
		{name: "no such operation, on purpose", method: "GET", path: "/nowhere", status: 404, answer: refusal, refusalsMayDiffer: true},
		{name: "an unknown query parameter", method: "GET", path: "/repos/a/b/issues/1/comments?sort=created", status: 200, answer: "[]", wrong: `"sort"`},
		{name: "a query parameter of the wrong type", method: "GET", path: "/repos/a/b/issues/1/comments?per_page=many", status: 200, answer: "[]", wrong: "per_page"},
		{name: "a path parameter of the wrong type", method: "GET", path: "/repos/a/b/pulls/one", status: 404, answer: refusal, wrong: "pull_number"},
		{name: "a body that lacks a field", method: "POST", path: "/repos/a/b/check-runs", request: `{"name":"x"}`, status: 201, answer: "{}", wrong: "head_sha"},
		{name: "a refused body", method: "POST", path: "/repos/a/b/check-runs", request: `{"name":"x"}`, status: 422, answer: refusal, wrong: "head_sha"},
		{name: "a refused body, on purpose", method: "POST", path: "/repos/a/b/check-runs", request: `{"name":"x"}`, status: 422, answer: refusal, refusalsMayDiffer: true},
		{name: "an answer that lacks fields", method: "GET", path: "/repos/a/b/check-runs/1", status: 200, answer: `{"id":1}`, wrong: "the answer 200"},
		{name: "an undescribed status", method: "GET", path: "/repos/a/b/check-runs/1", status: 206, answer: `{}`, wrong: "status 206"},
		{name: "a refusal of another shape", method: "GET", path: "/repos/a/b/check-runs/1", status: 403, answer: `{"error":"no"}`, wrong: "message"},
		{name: "a body where none is due", method: "DELETE", path: "/installation/token", status: 204, answer: "{}", wrong: "a body"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, tt.path, strings.NewReader(tt.request))
			r.Header.Set("Content-Type", "application/json")
			header := http.Header{"Content-Type": {"application/json; charset=utf-8"}}
			err := a.check(exchange{r, []byte(tt.request), tt.status, header, []byte(tt.answer)}, tt.refusalsMayDiffer)
			switch {
			case tt.wrong == "" && err != nil:
				t.Errorf("check: %v", err)
			case tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)):
				t.Errorf("check: %v, want an error with %q", err, tt.wrong)
			}
		})
	}
}

// verdicts is a test that only remembers what failed it.
type verdicts struct {
	testing.TB
	errors int
}

func (v *verdicts) Error(...any) { v.errors++ }
func (v *verdicts) Helper()      {}

func TestHandlerAndTransportFailTheTest(t *testing.T) {
	wrong := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"id":1}`))
	})
	before, behind := &verdicts{TB: t}, &verdicts{TB: t}
	web := httptest.NewServer(Handler(before, wrong))
	defer web.Close()
	base := &http.Transport{}
	defer base.CloseIdleConnections()
	client := &http.Client{Transport: Transport(behind, base)}
	for _, path := range []string{"/repos/a/b/check-runs/1", "/_fake/state"} {
		resp, err := client.Get(web.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
	}
	web.Close() // waits for the handler
	if before.errors != 1 || behind.errors != 1 {
		t.Errorf("%d and %d errors, want one each", before.errors, behind.errors)
	}
}
