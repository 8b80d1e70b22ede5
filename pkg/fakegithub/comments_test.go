package fakegithub_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-github/v62/github"

	"github.com/litci/litci/pkg/fakegithub"
)

func TestComments(t *testing.T) {
	w := setup(t, nil)
	c, ctx := w.client(), t.Context()
	n := w.openPull(nil)
	made, _, err := c.Issues.CreateComment(ctx, owner, repoName, n, &github.IssueComment{Body: github.String("<!-- mark -->\nhello")})
	if err != nil || made.GetUser().GetLogin() != "litci[bot]" || made.GetUser().GetType() != "Bot" {
		t.Fatalf("comment = %v, %v", made, err)
	}
	w.clock.Advance(time.Minute)
	edited, _, err := c.Issues.EditComment(ctx, owner, repoName, made.GetID(), &github.IssueComment{Body: github.String("edited")})
	if err != nil || edited.GetBody() != "edited" || !edited.GetUpdatedAt().After(edited.GetCreatedAt().Time) {
		t.Errorf("edited = %v, %v", edited, err)
	}
	got, _, err := c.Issues.GetComment(ctx, owner, repoName, made.GetID())
	if err != nil || got.GetBody() != "edited" {
		t.Errorf("comment = %v, %v", got, err)
	}
	raw := w.send(http.MethodGet, strings.TrimPrefix(made.GetURL(), w.url), w.token(nil), nil)
	if !strings.Contains(raw.body, `"performed_via_github_app":{`) {
		t.Errorf("the comment does not name the App: %s", raw.body)
	}
	humanID, _, err := w.server.Comment(ctx, fakegithub.Remark{Owner: owner, Repo: repoName, Number: n, Author: "ada", Body: "/approve"})
	if err != nil {
		t.Fatal(err)
	}
	if _, resp, err := c.Issues.EditComment(ctx, owner, repoName, humanID, &github.IssueComment{Body: github.String("mine")}); err == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("editing a person's comment: %v, want 403", err)
	}
	if resp, err := c.Issues.DeleteComment(ctx, owner, repoName, humanID); err == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("deleting a person's comment: %v, want 403", err)
	}
	issue, _, err := c.Issues.Get(ctx, owner, repoName, n)
	if err != nil || !issue.IsPullRequest() || issue.GetComments() != 2 {
		t.Errorf("issue = %v, %v", issue, err)
	}
	if _, err := c.Issues.DeleteComment(ctx, owner, repoName, made.GetID()); err != nil {
		t.Error(err)
	}
	if _, resp, err := c.Issues.GetComment(ctx, owner, repoName, made.GetID()); err == nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("deleted comment: %v, want 404", err)
	}
	for name, body := range map[string]string{"blank": " \n", "long": strings.Repeat("x", 65537)} {
		_, resp, err := c.Issues.CreateComment(ctx, owner, repoName, n, &github.IssueComment{Body: &body})
		if err == nil || resp.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("%s comment: %v, want 422", name, err)
		}
	}
	most := strings.Repeat("é", 65536)
	if _, _, err := c.Issues.CreateComment(ctx, owner, repoName, n, &github.IssueComment{Body: &most}); err != nil {
		t.Errorf("65,536 characters: %v", err)
	}
	if _, resp, err := c.Issues.CreateComment(ctx, owner, repoName, 99, &github.IssueComment{Body: &most}); err == nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("comment on nothing: %v, want 404", err)
	}
}

func TestCommentPages(t *testing.T) {
	w := setup(t, nil)
	c, ctx := w.client(), t.Context()
	n := w.openPull(nil)
	for range 35 {
		if _, _, err := w.server.Comment(ctx, fakegithub.Remark{Owner: owner, Repo: repoName, Number: n, Body: "hm"}); err != nil {
			t.Fatal(err)
		}
		w.clock.Advance(time.Second)
	}
	seen := 0
	for page := 1; page != 0; {
		options := &github.IssueListCommentsOptions{ListOptions: github.ListOptions{Page: page}}
		got, resp, err := c.Issues.ListComments(ctx, owner, repoName, n, options)
		if err != nil {
			t.Fatal(err)
		}
		seen, page = seen+len(got), resp.NextPage
	}
	if seen != 35 {
		t.Errorf("saw %d comments, want 35", seen)
	}
	since := w.clock.Now().Add(-3 * time.Second)
	late, _, err := c.Issues.ListComments(ctx, owner, repoName, n, &github.IssueListCommentsOptions{Since: &since})
	if err != nil || len(late) != 3 {
		t.Errorf("since = %d comments, %v; want 3", len(late), err)
	}
	newest, _, err := c.Issues.ListComments(ctx, owner, repoName, 0, &github.IssueListCommentsOptions{
		Sort: github.String("created"), Direction: github.String("desc"), ListOptions: github.ListOptions{PerPage: 100},
	})
	if err != nil || len(newest) != 35 || newest[0].GetID() < newest[1].GetID() {
		t.Errorf("comments of the repository = %d, %v", len(newest), err)
	}
}

func TestReactionsAndLabels(t *testing.T) {
	w := setup(t, nil)
	c, ctx := w.client(), t.Context()
	n := w.openPull(nil)
	id, _, err := w.server.Comment(ctx, fakegithub.Remark{Owner: owner, Repo: repoName, Number: n, Body: "/retest"})
	if err != nil {
		t.Fatal(err)
	}
	first, resp, err := c.Reactions.CreateIssueCommentReaction(ctx, owner, repoName, id, "eyes")
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("reaction = %v, %v", first, err)
	}
	second, resp, err := c.Reactions.CreateIssueCommentReaction(ctx, owner, repoName, id, "eyes")
	if err != nil || resp.StatusCode != http.StatusOK || second.GetID() != first.GetID() {
		t.Errorf("the same again = %v, %v", second, err)
	}
	all, _, err := c.Reactions.ListIssueCommentReactions(ctx, owner, repoName, id, nil)
	if err != nil || len(all) != 1 {
		t.Errorf("reactions = %v, %v", all, err)
	}
	if _, err := c.Reactions.DeleteIssueCommentReaction(ctx, owner, repoName, id, first.GetID()); err != nil {
		t.Error(err)
	}
	if _, _, err := c.Reactions.CreateIssueReaction(ctx, owner, repoName, n, "rocket"); err != nil {
		t.Error(err)
	}
	onPull, _, err := c.Reactions.ListIssueReactions(ctx, owner, repoName, n, nil)
	if err != nil || len(onPull) != 1 || onPull[0].GetContent() != "rocket" {
		t.Errorf("reactions = %v, %v", onPull, err)
	}

	label, _, err := c.Issues.CreateLabel(ctx, owner, repoName, &github.Label{Name: github.String("ok to test"), Color: github.String("00FF00")})
	if err != nil || label.GetColor() != "00ff00" {
		t.Fatalf("label = %v, %v", label, err)
	}
	if _, resp, err := c.Issues.CreateLabel(ctx, owner, repoName, &github.Label{Name: github.String("OK to test")}); err == nil || resp.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("the same label: %v, want 422", err)
	}
	// go-github sends the bare list, which the description does not know.
	token := w.token(nil)
	for _, method := range []string{http.MethodPost, http.MethodPut} {
		got := w.send(method, repoPath+"/issues/1/labels", token, map[string]any{"labels": []string{"ok to test", "new"}})
		if got.status != http.StatusOK {
			t.Errorf("%s labels: %d %s", method, got.status, got.body)
		}
	}
	if _, err := c.Issues.RemoveLabelForIssue(ctx, owner, repoName, n, "ok to test"); err != nil {
		t.Error(err)
	}
	labelled := map[string]int{}
	for _, got := range w.received() {
		labelled[got.field(t, "action").(string)]++
	}
	if labelled["labeled"] != 2 || labelled["unlabeled"] != 1 {
		t.Errorf("webhooks = %v, want labeled twice and unlabeled once", labelled)
	}
	left, _, err := c.Issues.ListLabelsByIssue(ctx, owner, repoName, n, nil)
	if err != nil || len(left) != 1 || left[0].GetName() != "new" {
		t.Errorf("labels = %v, %v", left, err)
	}
	got, _, err := c.Issues.GetLabel(ctx, owner, repoName, "ok to test")
	if err != nil || got.GetID() != label.GetID() {
		t.Errorf("label = %v, %v", got, err)
	}
	if got := w.send(http.MethodPatch, repoPath+"/labels/new", token, map[string]any{"new_name": "newer"}); got.status != http.StatusOK {
		t.Errorf("changed label: %d %s", got.status, got.body)
	}
	if _, err := c.Issues.DeleteLabel(ctx, owner, repoName, "newer"); err != nil {
		t.Error(err)
	}
	all2, _, err := c.Issues.ListLabels(ctx, owner, repoName, nil)
	if err != nil || len(all2) != 1 {
		t.Errorf("labels = %v, %v", all2, err)
	}
}
