package fakegithub_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-github/v62/github"

	"github.com/litci/litci/pkg/fakegithub"
)

func TestControlOfPulls(t *testing.T) {
	w := setup(t, nil)
	var opened struct {
		Number      int
		PullRequest fakegithub.Pull     `json:"pull_request"`
		Delivery    fakegithub.Delivery `json:"delivery"`
	}
	w.control(http.MethodPost, repoPath+"/pulls", `{"head":"feature","base":"main","author":"stranger","permission":"read","fork":true}`, &opened)
	if opened.Number != 1 || opened.PullRequest.Head.SHA != w.sha("feature") || opened.Delivery.StatusCode != http.StatusAccepted {
		t.Errorf("opened = %+v", opened)
	}
	got := w.last()
	if got.event() != "pull_request" || got.field(t, "action") != "opened" || got.field(t, "sender.login") != "stranger" ||
		got.field(t, "pull_request.head.sha") != w.sha("feature") || got.field(t, "pull_request.head.repo.id") == float64(repoID) {
		t.Errorf("webhook = %s", got.body)
	}
	unmoved := w.send(http.MethodPost, "/_fake"+repoPath+"/pulls/1/synchronize", "", nil)
	if unmoved.status != http.StatusUnprocessableEntity {
		t.Errorf("synchronize without a move: %d, want 422", unmoved.status)
	}
	before := w.sha("feature")
	git(t, w.dir, "checkout", "-q", "feature")
	write(t, w.dir, "more.txt", "more\n")
	after := commit(t, w.dir, "more")
	w.control(http.MethodPost, repoPath+"/pulls/1/synchronize", nil, nil)
	got = w.last()
	if got.field(t, "action") != "synchronize" || got.field(t, "before") != before || got.field(t, "after") != after || got.field(t, "pull_request.head.sha") != after {
		t.Errorf("webhook = %s", got.body)
	}
	w.control(http.MethodPost, repoPath+"/pulls/1/close", `{"merged":false}`, nil)
	if got = w.last(); got.field(t, "action") != "closed" || got.field(t, "pull_request.merged") != false || got.field(t, "pull_request.state") != "closed" {
		t.Errorf("webhook = %s", got.body)
	}
	if again := w.send(http.MethodPost, "/_fake"+repoPath+"/pulls/1/close", "", nil); again.status != http.StatusUnprocessableEntity {
		t.Errorf("closing twice: %d, want 422", again.status)
	}
	w.control(http.MethodPost, repoPath+"/pulls/1/reopen", nil, nil)
	if got = w.last(); got.field(t, "action") != "reopened" || got.field(t, "pull_request.state") != "open" || got.field(t, "pull_request.closed_at") != nil {
		t.Errorf("webhook = %s", got.body)
	}
	if again := w.send(http.MethodPost, "/_fake"+repoPath+"/pulls/1/reopen", "", nil); again.status != http.StatusUnprocessableEntity {
		t.Errorf("reopening an open one: %d, want 422", again.status)
	}
	silent := w.openPull(func(o *fakegithub.OpenPull) { o.Silent, o.Number = true, 42 })
	if silent != 42 || len(w.received()) != 4 {
		t.Errorf("a silent pull request: number %d, %d webhooks", silent, len(w.received()))
	}
}

func TestControlOfPushes(t *testing.T) {
	w := setup(t, nil)
	push := func(ref string) received {
		t.Helper()
		w.control(http.MethodPost, repoPath+"/push", map[string]string{"ref": ref}, nil)
		return w.last()
	}
	zero := strings.Repeat("0", 40)
	before := w.sha("main")
	write(t, w.dir, "README.md", "pushed\n")
	write(t, w.dir, "new.txt", "new\n")
	after := commit(t, w.dir, "pushed")
	got := push("refs/heads/main")
	if got.event() != "push" || got.field(t, "ref") != "refs/heads/main" || got.field(t, "before") != before || got.field(t, "after") != after {
		t.Errorf("webhook = %s", got.body)
	}
	head := got.field(t, "head_commit").(map[string]any)
	if head["id"] != after || fmt.Sprint(head["added"], head["modified"]) != "[new.txt] [README.md]" || len(got.field(t, "commits").([]any)) != 1 {
		t.Errorf("head commit = %v", head)
	}
	if _, isNumber := got.field(t, "repository.created_at").(float64); !isNumber || got.field(t, "forced") != false {
		t.Errorf("repository = %v", got.field(t, "repository"))
	}
	if unmoved := w.send(http.MethodPost, "/_fake"+repoPath+"/push", "", `{"ref":"main"}`); unmoved.status != http.StatusUnprocessableEntity {
		t.Errorf("push without a move: %d, want 422", unmoved.status)
	}
	if author := head["author"].(map[string]any); author["username"] != nil || author["name"] != "Ada" {
		t.Errorf("author = %v; an address that is not GitHub's names no user", author)
	}
	git(t, w.dir, "reset", "-q", "--hard", before)
	if got = push("main"); got.field(t, "forced") != true || got.field(t, "after") != before || len(got.field(t, "commits").([]any)) != 0 {
		t.Errorf("forced: %s", got.body)
	}
	git(t, w.dir, "branch", "fresh", "feature")
	if got = push("fresh"); got.field(t, "created") != true || got.field(t, "before") != zero || len(got.field(t, "commits").([]any)) != 0 {
		t.Errorf("a new branch on known commits: %s", got.body)
	}
	git(t, w.dir, "branch", "-q", "-D", "fresh")
	if got = push("fresh"); got.field(t, "deleted") != true || got.field(t, "after") != zero || got.field(t, "head_commit") != nil {
		t.Errorf("deleted: %s", got.body)
	}
	write(t, w.dir, "known.txt", "by a user\n")
	git(t, w.dir, "add", "-A")
	git(t, w.dir, "commit", "-q", "-m", "known", "--author", "Ada <7+ada@users.noreply.github.com>")
	if got = push("main"); got.field(t, "head_commit.author.username") != "ada" {
		t.Errorf("author = %v, want ada", got.field(t, "head_commit.author"))
	}
	git(t, w.dir, "tag", "-a", "v2", "-m", "two")
	if got = push("refs/tags/v2"); got.field(t, "after") != w.sha("v2") || got.field(t, "head_commit.id") != w.sha("v2^{commit}") {
		t.Errorf("annotated tag: %s", got.body)
	}
	if bad := w.send(http.MethodPost, "/_fake"+repoPath+"/push", "", `{"ref":"a..b"}`); bad.status != http.StatusUnprocessableEntity {
		t.Errorf("a bad name: %d, want 422", bad.status)
	}
}

func TestControlOfChecksAndComments(t *testing.T) {
	w := setup(t, nil)
	c := w.client()
	n := w.openPull(nil)
	w.control(http.MethodPost, fmt.Sprintf("%s/issues/%d/comments", repoPath, n), `{"author":"maintainer","permission":"write","body":"/retest"}`, nil)
	got := w.last()
	if got.event() != "issue_comment" || got.field(t, "comment.body") != "/retest" || got.field(t, "sender.login") != "maintainer" || got.field(t, "issue.pull_request.url") == nil {
		t.Errorf("webhook = %s", got.body)
	}
	level, _, err := c.Repositories.GetPermissionLevel(t.Context(), owner, repoName, "maintainer")
	if err != nil || level.GetPermission() != "write" {
		t.Errorf("permission = %v, %v", level, err)
	}
	run, _, err := c.Checks.CreateCheckRun(t.Context(), owner, repoName, github.CreateCheckRunOptions{
		Name: "litci", HeadSHA: w.sha("feature"), ExternalID: github.String("run-1-a1"),
		Actions: []*github.CheckRunAction{{Label: "Approve", Description: "Run this once", Identifier: "approve"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	click := fmt.Sprintf("/check-runs/%d", run.GetID())
	if early := w.send(http.MethodPost, "/_fake"+click+"/action", "", `{"identifier":"approve"}`); early.status != http.StatusUnprocessableEntity {
		t.Errorf("a button before completion: %d, want 422", early.status)
	}
	if _, _, err := c.Checks.UpdateCheckRun(t.Context(), owner, repoName, run.GetID(), github.UpdateCheckRunOptions{Name: "litci", Conclusion: github.String("action_required")}); err != nil {
		t.Fatal(err)
	}
	w.received() // let the events of the API calls land first
	w.control(http.MethodPost, click+"/action", `{"identifier":"approve","sender":"maintainer"}`, nil)
	got = w.last()
	if got.field(t, "action") != "requested_action" || got.field(t, "requested_action.identifier") != "approve" || got.field(t, "check_run.external_id") != "run-1-a1" {
		t.Errorf("webhook = %s", got.body)
	}
	if other := w.send(http.MethodPost, "/_fake"+click+"/action", "", `{"identifier":"other"}`); other.status != http.StatusUnprocessableEntity {
		t.Errorf("a button that is not there: %d, want 422", other.status)
	}
	w.control(http.MethodPost, click+"/rerequest", nil, nil)
	got = w.last()
	if got.field(t, "action") != "rerequested" || got.field(t, "check_run.check_suite.status") != "queued" || got.field(t, "check_run.status") != "completed" {
		t.Errorf("webhook = %s", got.body)
	}
}

func TestControlDeliversAnyPayload(t *testing.T) {
	w := setup(t, nil)
	var d fakegithub.Delivery
	w.control(http.MethodPost, "/deliver", "{\"event\":\"push\",\"payload\":{ \"ref\": \"x\" }}", &d)
	got := w.last()
	if got.event() != "push" || string(got.body) != `{"ref":"x"}` || got.header.Get("X-Hub-Signature-256") != signature(secret, got.body) || d.StatusCode != 202 {
		t.Errorf("webhook = %s %s, delivery %+v", got.event(), got.body, d)
	}
	for _, bad := range []string{"", "{", `{"event":"push"}`, `{"evnt":"push"}`} {
		if got := w.send(http.MethodPost, "/_fake/deliver", "", bad); got.status < 400 || got.status > 499 {
			t.Errorf("deliver %q: %d, want a refusal", bad, got.status)
		}
	}
	if got := w.send(http.MethodGet, "/_fake/nowhere", "", nil); got.status != http.StatusNotFound {
		t.Errorf("unknown control path: %d, want 404", got.status)
	}
}

func TestStateHasGitHubsNames(t *testing.T) {
	w := setup(t, nil)
	c := w.client()
	n := w.openPull(nil)
	w.newRun(c, "a")
	if _, _, err := c.Issues.CreateComment(t.Context(), owner, repoName, n, &github.IssueComment{Body: github.String("hi")}); err != nil {
		t.Fatal(err)
	}
	w.server.Wait()
	got := w.send(http.MethodGet, "/_fake/state", "", nil)
	var state struct {
		CheckRuns  []github.CheckRun     `json:"check_runs"`
		Comments   []github.IssueComment `json:"comments"`
		Pulls      []github.PullRequest  `json:"pulls"`
		Deliveries []github.HookDelivery `json:"deliveries"`
		Requests   map[string]int        `json:"requests"`
	}
	if err := json.Unmarshal([]byte(got.body), &state); err != nil {
		t.Fatal(err)
	}
	if len(state.CheckRuns) != 1 || state.CheckRuns[0].GetHeadSHA() != w.sha("feature") || len(state.Comments) != 1 || state.Comments[0].GetBody() != "hi" {
		t.Errorf("state = %s", got.body)
	}
	if len(state.Pulls) != 1 || state.Pulls[0].GetHead().GetSHA() != w.sha("feature") || len(state.Deliveries) != 3 || state.Deliveries[0].GetStatusCode() != 202 {
		t.Errorf("state = %s", got.body)
	}
	if strings.Contains(got.body, `"sender":{`) {
		t.Error("the payloads of webhooks are there unasked")
	}
	if whole := w.send(http.MethodGet, "/_fake/state?payloads=true", "", nil); !strings.Contains(whole.body, `"sender":{`) {
		t.Error("the payloads of webhooks are missing")
	}
	if state.Requests["POST /repos/{owner}/{repo}/check-runs"] != 1 || state.Requests["POST /repos/{owner}/{repo}/issues/{issue_number}/comments"] != 1 {
		t.Errorf("requests = %v", state.Requests)
	}
}
