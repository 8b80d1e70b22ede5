package fakegithub_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-github/v62/github"

	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/pkg/fakegithub/fakegithubtest"
)

// newRun creates a queued check run on the head of feature.
func (w *world) newRun(c *github.Client, name string) *github.CheckRun {
	w.t.Helper()
	run, _, err := c.Checks.CreateCheckRun(w.t.Context(), owner, repoName, github.CreateCheckRunOptions{
		Name: name, HeadSHA: w.sha("feature"), ExternalID: github.String("job-1"), DetailsURL: github.String("http://localhost/report"),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return run
}

func TestCheckRunLife(t *testing.T) {
	w := setup(t, nil)
	c, ctx := w.client(), t.Context()
	n := w.openPull(nil)
	run := w.newRun(c, "ci.yml / test")
	if run.GetStatus() != "queued" || run.Conclusion != nil || run.GetApp().GetID() != appID || run.GetExternalID() != "job-1" {
		t.Errorf("new run = %v", run)
	}
	if len(run.PullRequests) != 1 || run.PullRequests[0].GetNumber() != n {
		t.Errorf("pull requests = %v", run.PullRequests)
	}
	update := func(o github.UpdateCheckRunOptions) *github.CheckRun {
		t.Helper()
		o.Name = "ci.yml / test"
		got, _, err := c.Checks.UpdateCheckRun(ctx, owner, repoName, run.GetID(), o)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := update(github.UpdateCheckRunOptions{Status: github.String("in_progress")}); got.GetStatus() != "in_progress" {
		t.Errorf("started = %v", got)
	}
	annotation := func(line int) *github.CheckRunAnnotation {
		return &github.CheckRunAnnotation{
			Path: github.String("src/app.py"), StartLine: &line, EndLine: &line, AnnotationLevel: github.String("failure"), Message: github.String("no"),
		}
	}
	output := &github.CheckRunOutput{Title: github.String("1 failed"), Summary: github.String("see"), Annotations: []*github.CheckRunAnnotation{annotation(1)}}
	update(github.UpdateCheckRunOptions{Status: github.String("in_progress"), Output: output})
	output.Annotations[0] = annotation(2)
	ended := update(github.UpdateCheckRunOptions{Conclusion: github.String("failure"), Output: output})
	if ended.GetStatus() != "completed" || ended.GetConclusion() != "failure" || !ended.GetCompletedAt().Equal(github.Timestamp{Time: w.clock.Now()}) {
		t.Errorf("a conclusion completes: %v", ended)
	}
	if ended.GetOutput().GetAnnotationsCount() != 2 {
		t.Errorf("annotations = %d, want both: updates append", ended.GetOutput().GetAnnotationsCount())
	}
	notes, resp, err := c.Checks.ListCheckRunAnnotations(ctx, owner, repoName, run.GetID(), &github.ListOptions{PerPage: 1})
	if err != nil || len(notes) != 1 || resp.LastPage != 2 {
		t.Errorf("annotations = %v, %v, %v", notes, resp, err)
	}
	got, _, err := c.Checks.GetCheckRun(ctx, owner, repoName, run.GetID())
	if err != nil || got.GetConclusion() != "failure" {
		t.Errorf("run = %v, %v", got, err)
	}
	if reopened := update(github.UpdateCheckRunOptions{Status: github.String("queued")}); reopened.Conclusion != nil || reopened.CompletedAt != nil {
		t.Errorf("reopened = %v", reopened)
	}
}

func TestForkRunsNameNoPullRequest(t *testing.T) {
	w := setup(t, nil)
	w.openPull(func(o *fakegithub.OpenPull) { o.Fork, o.Author = true, "stranger" })
	if run := w.newRun(w.client(), "litci"); len(run.PullRequests) != 0 {
		t.Errorf("pull requests = %v, want none", run.PullRequests)
	}
}

func TestListCheckRuns(t *testing.T) {
	w := setup(t, nil)
	c, ctx := w.client(), t.Context()
	old, latest := w.newRun(c, "a"), w.newRun(c, "a")
	w.newRun(c, "b")
	if _, err := w.server.AddForeignCheckRun(owner, repoName, w.sha("feature"), "a", 99); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		options github.ListCheckRunsOptions
		want    int
	}{
		{"the latest of each name and app", github.ListCheckRunsOptions{}, 3},
		{"all", github.ListCheckRunsOptions{Filter: github.String("all")}, 4},
		{"by app", github.ListCheckRunsOptions{AppID: github.Int64(appID)}, 2},
		{"by name", github.ListCheckRunsOptions{CheckName: github.String("b")}, 1},
		{"by status", github.ListCheckRunsOptions{Status: github.String("completed")}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, _, err := c.Checks.ListCheckRunsForRef(ctx, owner, repoName, "feature", &tt.options)
			if err != nil || got.GetTotal() != tt.want || len(got.CheckRuns) != tt.want {
				t.Errorf("got %d runs, %v; want %d", got.GetTotal(), err, tt.want)
			}
			for _, run := range got.CheckRuns {
				if run.GetID() == old.GetID() && tt.options.Filter == nil {
					t.Error("a superseded run is listed")
				}
			}
		})
	}
	page, resp, err := c.Checks.ListCheckRunsForRef(ctx, owner, repoName, "feature", &github.ListCheckRunsOptions{
		Filter: github.String("all"), ListOptions: github.ListOptions{PerPage: 3},
	})
	if err != nil || len(page.CheckRuns) != 3 || page.GetTotal() != 4 || resp.NextPage != 2 {
		t.Errorf("page = %v, %v, %v", page, resp, err)
	}
	suite, _, err := c.Checks.GetCheckSuite(ctx, owner, repoName, latest.GetCheckSuite().GetID())
	if err != nil || suite.GetHeadSHA() != w.sha("feature") || suite.GetStatus() != "queued" || suite.GetHeadCommit().GetMessage() != "move" {
		t.Errorf("suite = %v, %v", suite, err)
	}
	inSuite, _, err := c.Checks.ListCheckRunsCheckSuite(ctx, owner, repoName, suite.GetID(), nil)
	if err != nil || inSuite.GetTotal() != 2 {
		t.Errorf("runs of the suite = %v, %v", inSuite, err)
	}
	suites, _, err := c.Checks.ListCheckSuitesForRef(ctx, owner, repoName, "feature", &github.ListCheckSuiteOptions{AppID: github.Int(appID)})
	if err != nil || suites.GetTotal() != 1 {
		t.Errorf("suites = %v, %v", suites, err)
	}
}

func TestCheckSuites(t *testing.T) {
	w := setup(t, nil)
	c, ctx := w.client(), t.Context()
	made, resp, err := c.Checks.CreateCheckSuite(ctx, owner, repoName, github.CreateCheckSuiteOptions{HeadSHA: w.sha("main")})
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("suite = %v, %v", made, err)
	}
	again, resp, err := c.Checks.CreateCheckSuite(ctx, owner, repoName, github.CreateCheckSuiteOptions{HeadSHA: w.sha("main")})
	if err != nil || resp.StatusCode != http.StatusOK || again.GetID() != made.GetID() {
		t.Errorf("again = %v, %v", again, err)
	}
	if _, err := c.Checks.ReRequestCheckSuite(ctx, owner, repoName, made.GetID()); err != nil {
		t.Fatal(err)
	}
	if got := w.last(); got.event() != "check_suite" || got.field(t, "action") != "rerequested" || got.field(t, "check_suite.head_commit.id") != w.sha("main") {
		t.Errorf("webhook = %s %s", got.event(), got.body)
	}
	prefs, _, err := c.Checks.SetCheckSuitePreferences(ctx, owner, repoName, github.CheckSuitePreferenceOptions{
		AutoTriggerChecks: []*github.AutoTriggerCheck{{AppID: github.Int64(appID), Setting: github.Bool(false)}},
	})
	if err != nil || prefs.GetPreferences() == nil {
		t.Errorf("preferences = %v, %v", prefs, err)
	}
}

func TestCheckRunRefusals(t *testing.T) {
	w := setup(t, nil, fakegithubtest.RefusalsMayDiffer())
	c, token := w.client(), w.token(nil)
	run := w.newRun(c, "mine")
	foreign, err := w.server.AddForeignCheckRun(owner, repoName, w.sha("main"), "theirs", 99)
	if err != nil {
		t.Fatal(err)
	}
	type object = map[string]any
	ok := func(more object) object {
		body := object{"name": "x", "head_sha": w.sha("main")}
		for name, value := range more {
			body[name] = value
		}
		return body
	}
	output := func(more object) object {
		body := object{"title": "t", "summary": "s"}
		for name, value := range more {
			body[name] = value
		}
		return ok(object{"output": body})
	}
	note := func(more object) object {
		body := object{"path": "a", "start_line": 1, "end_line": 1, "annotation_level": "notice", "message": "m"}
		for name, value := range more {
			body[name] = value
		}
		return output(object{"annotations": []object{body}})
	}
	many := make([]object, 51)
	for i := range many {
		many[i] = object{"path": "a", "start_line": 1, "end_line": 1, "annotation_level": "notice", "message": "m"}
	}
	action := object{"label": "l", "description": "d", "identifier": "i"}
	long := strings.Repeat("é", 32768) // 65,536 bytes in 32,768 characters
	tests := []struct {
		name  string
		body  any
		field string // that the errors name; "" for bodies of another shape
	}{
		{"no name", object{"head_sha": w.sha("main")}, "name"},
		{"no sha", object{"name": "x"}, "head_sha"},
		{"a sha that is not there", ok(object{"head_sha": strings.Repeat("1", 40)}), ""},
		{"a branch for a sha", ok(object{"head_sha": "main"}), ""},
		{"a status of GitHub Actions", ok(object{"status": "waiting"}), "status"},
		{"an unknown conclusion", ok(object{"conclusion": "great"}), "conclusion"},
		{"stale, which GitHub alone sets", ok(object{"conclusion": "stale"}), "conclusion"},
		{"completed without conclusion", ok(object{"status": "completed"}), "conclusion"},
		{"completed_at without conclusion", ok(object{"completed_at": "2025-01-01T00:00:00Z"}), "conclusion"},
		{"details_url of another scheme", ok(object{"details_url": "javascript:alert(1)"}), "details_url"},
		{"output without title", ok(object{"output": object{"summary": "s"}}), "title"},
		{"output without summary", ok(object{"output": object{"title": "t"}}), "summary"},
		{"a summary of too many bytes", output(object{"summary": long}), "summary"},
		{"a text of too many bytes", output(object{"text": long}), "text"},
		{"51 annotations", output(object{"annotations": many}), "annotations"},
		{"an unknown level", note(object{"annotation_level": "error"}), "annotation_level"},
		{"line 0", note(object{"start_line": 0}), "end_line"},
		{"an end before the start", note(object{"start_line": 2}), "end_line"},
		{"columns over several lines", note(object{"end_line": 2, "start_column": 1}), "start_column"},
		{"a long title", note(object{"title": strings.Repeat("x", 256)}), "title"},
		{"four actions", ok(object{"actions": []object{action, action, action, action}}), "actions"},
		{"a long label", ok(object{"actions": []object{{"label": strings.Repeat("x", 21), "description": "d", "identifier": "i"}}}), "label"},
		{"a long description", ok(object{"actions": []object{{"label": "l", "description": strings.Repeat("x", 41), "identifier": "i"}}}), "description"},
		{"a long identifier", ok(object{"actions": []object{{"label": "l", "description": "d", "identifier": strings.Repeat("x", 21)}}}), "identifier"},
		{"a name that is no text", ok(object{"name": 5}), ""},
		{"no body", nil, ""},
	}
	before := len(w.server.State().CheckRuns)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := w.send(http.MethodPost, repoPath+"/check-runs", token, tt.body)
			var body struct {
				Message          string
				DocumentationURL string `json:"documentation_url"`
				Errors           []struct{ Resource, Field, Code string }
			}
			if err := json.Unmarshal([]byte(got.body), &body); err != nil {
				t.Fatal(err)
			}
			if got.status != http.StatusUnprocessableEntity || body.Message == "" || body.DocumentationURL == "" {
				t.Fatalf("got %d %s", got.status, got.body)
			}
			if tt.field != "" && (len(body.Errors) == 0 || body.Errors[0].Field != tt.field || body.Errors[0].Resource != "CheckRun") {
				t.Errorf("errors = %+v, want field %s", body.Errors, tt.field)
			}
		})
	}
	if after := len(w.server.State().CheckRuns); after != before {
		t.Errorf("%d check runs were made by refused requests", after-before)
	}

	update := func(id int64, body any) int {
		return w.send(http.MethodPatch, fmt.Sprintf("%s/check-runs/%d", repoPath, id), token, body).status
	}
	if got := update(foreign, object{"status": "in_progress"}); got != http.StatusForbidden {
		t.Errorf("update of another App's run: %d, want 403", got)
	}
	if got := update(run.GetID(), object{"status": "in_progress", "output": object{"title": "t", "summary": long}}); got != http.StatusUnprocessableEntity {
		t.Errorf("update with a long summary: %d, want 422", got)
	}
	if st := w.server.State().CheckRuns[0]; st.Status != "queued" {
		t.Errorf("one field refused changes the rest: %v", st)
	}
	if got := update(run.GetID(), object{"output": object{"title": "t", "summary": long[2:]}, "conclusion": "success"}); got != http.StatusOK {
		t.Errorf("update with 65,534 bytes: %d, want 200", got)
	}
	if got := update(1, object{"status": "in_progress"}); got != http.StatusNotFound {
		t.Errorf("update of nothing: %d, want 404", got)
	}
	if got := w.send(http.MethodPost, repoPath+"/check-runs", token, "{"); got.status != http.StatusBadRequest {
		t.Errorf("half a body: %d, want 400", got.status)
	}
}

func TestStatuses(t *testing.T) {
	w := setup(t, nil)
	c, ctx := w.client(), t.Context()
	sha := w.sha("main")
	for _, state := range []string{"pending", "success"} {
		_, _, err := c.Repositories.CreateStatus(ctx, owner, repoName, sha, &github.RepoStatus{
			State: github.String(state), Context: github.String("ci"), Description: github.String("d"),
		})
		if err != nil {
			t.Fatal(err)
		}
		w.clock.Advance(time.Second)
	}
	combined, _, err := c.Repositories.GetCombinedStatus(ctx, owner, repoName, "main", nil)
	if err != nil || combined.GetState() != "success" || combined.GetTotalCount() != 1 {
		t.Errorf("combined = %v, %v", combined, err)
	}
	all, _, err := c.Repositories.ListStatuses(ctx, owner, repoName, "main", nil)
	if err != nil || len(all) != 2 || all[0].GetState() != "success" || all[0].GetCreator().GetLogin() != "litci[bot]" {
		t.Errorf("statuses = %v, %v", all, err)
	}
	none, _, err := c.Repositories.GetCombinedStatus(ctx, owner, repoName, "feature", nil)
	if err != nil || none.GetState() != "pending" {
		t.Errorf("without statuses = %v, %v", none, err)
	}
	_, resp, err := c.Repositories.CreateStatus(ctx, owner, repoName, strings.Repeat("2", 40), &github.RepoStatus{State: github.String("success")})
	if err == nil || resp.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("status of nothing: %v, want 422", err)
	}
	_, resp, err = c.Repositories.CreateStatus(ctx, owner, repoName, sha, &github.RepoStatus{
		State: github.String("success"), Description: github.String(strings.Repeat("x", 141)),
	})
	if err == nil || resp.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("long description: %v, want 422", err)
	}
}
