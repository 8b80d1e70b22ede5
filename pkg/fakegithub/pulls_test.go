package fakegithub_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-github/v62/github"

	"github.com/litci/litci/pkg/fakegithub"
)

func TestPullRequest(t *testing.T) {
	w := setup(t, nil)
	c, ctx := w.client(), t.Context()
	n := w.openPull(nil)
	first, _, err := c.PullRequests.Get(ctx, owner, repoName, n)
	if err != nil || first.Mergeable != nil {
		t.Fatalf("first answer = %v, %v; mergeable is not computed before it is asked for", first, err)
	}
	pr, _, err := c.PullRequests.Get(ctx, owner, repoName, n)
	if err != nil || !pr.GetMergeable() || pr.GetTitle() != "move" || pr.GetCommits() != 2 || pr.GetChangedFiles() != 3 {
		t.Errorf("pull request = %v, %v", pr, err)
	}
	if pr.GetHead().GetSHA() != w.sha("feature") || pr.GetBase().GetSHA() != w.sha("main") || pr.GetHead().GetRepo().GetID() != repoID {
		t.Errorf("ends = %v, %v", pr.GetHead(), pr.GetBase())
	}
	merge, _, err := c.Git.GetCommit(ctx, owner, repoName, pr.GetMergeCommitSHA())
	if err != nil || len(merge.Parents) != 2 || merge.Parents[0].GetSHA() != w.sha("main") || merge.Parents[1].GetSHA() != w.sha("feature") {
		t.Errorf("test merge %s = %v, %v", pr.GetMergeCommitSHA(), merge, err)
	}
	files, _, err := c.PullRequests.ListFiles(ctx, owner, repoName, n, nil)
	if err != nil || len(files) != 3 || files[0].GetPatch() == "" || files[0].GetAdditions() != 1 {
		t.Errorf("files = %v, %v", files, err)
	}
	commits, _, err := c.PullRequests.ListCommits(ctx, owner, repoName, n, nil)
	if err != nil || len(commits) != 2 || commits[1].GetSHA() != w.sha("feature") {
		t.Errorf("commits = %v, %v", commits, err)
	}
	reviews, _, err := c.PullRequests.ListReviews(ctx, owner, repoName, n, nil)
	if err != nil || len(reviews) != 0 {
		t.Errorf("reviews = %v, %v", reviews, err)
	}
	holding, _, err := c.PullRequests.ListPullRequestsWithCommit(ctx, owner, repoName, w.sha("feature~1"), nil)
	if err != nil || len(holding) != 1 {
		t.Errorf("pull requests with a commit = %v, %v", holding, err)
	}
	onMain, _, err := c.PullRequests.ListPullRequestsWithCommit(ctx, owner, repoName, w.sha("main"), nil)
	if err != nil || len(onMain) != 0 {
		t.Errorf("pull requests with main = %v, %v", onMain, err)
	}
	head, _, err := c.Repositories.GetCommit(ctx, owner, repoName, fmt.Sprintf("refs/pull/%d/head", n), nil)
	if err != nil || head.GetSHA() != w.sha("feature") {
		t.Errorf("refs/pull/%d/head = %v, %v", n, head, err)
	}
	ref, _, err := c.Git.GetRef(ctx, owner, repoName, fmt.Sprintf("pull/%d/head", n))
	if err != nil || ref.GetObject().GetSHA() != w.sha("feature") {
		t.Errorf("ref = %v, %v", ref, err)
	}
	if _, resp, err := c.PullRequests.Get(ctx, owner, repoName, n+1); err == nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("next pull request: %v, want 404", err)
	}
}

func TestConflictIsNotMergeable(t *testing.T) {
	w := setup(t, nil)
	write(t, w.dir, "README.md", "hello\nmars\n")
	commit(t, w.dir, "conflict")
	before := git(t, w.dir, "count-objects", "-v")
	n := w.openPull(nil)
	c := w.client()
	for range 2 {
		pr, _, err := c.PullRequests.Get(t.Context(), owner, repoName, n)
		if err != nil {
			t.Fatal(err)
		}
		if pr.Mergeable != nil && (pr.GetMergeable() || pr.GetMergeableState() != "dirty") {
			t.Errorf("mergeable = %v, state %s", pr.GetMergeable(), pr.GetMergeableState())
		}
	}
	if after := git(t, w.dir, "count-objects", "-v"); after != before {
		t.Errorf("the repository's objects changed:\n%s\n%s", before, after)
	}
}

func TestListPulls(t *testing.T) {
	w := setup(t, nil)
	c, ctx := w.client(), t.Context()
	for range 3 {
		w.openPull(nil)
	}
	fork := w.openPull(func(o *fakegithub.OpenPull) { o.Author, o.Fork = "stranger", true })
	if _, err := w.server.ClosePull(ctx, owner, repoName, 1, true); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		options github.PullRequestListOptions
		want    []int
	}{
		{"open ones, newest first", github.PullRequestListOptions{}, []int{4, 3, 2}},
		{"closed ones", github.PullRequestListOptions{State: "closed"}, []int{1}},
		{"all, oldest first", github.PullRequestListOptions{State: "all", Sort: "created", Direction: "asc"}, []int{1, 2, 3, 4}},
		{"by head", github.PullRequestListOptions{Head: "stranger:feature"}, []int{fork}},
		{"a head without owner is ignored", github.PullRequestListOptions{Head: "nowhere"}, []int{4, 3, 2}},
		{"by base", github.PullRequestListOptions{Base: "feature"}, nil},
		{"a page", github.PullRequestListOptions{State: "all", ListOptions: github.ListOptions{PerPage: 3, Page: 2}}, []int{1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			found, _, err := c.PullRequests.List(ctx, owner, repoName, &tt.options)
			if err != nil {
				t.Fatal(err)
			}
			var got []int
			for _, p := range found {
				got = append(got, p.GetNumber())
			}
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
	pr, _, err := c.PullRequests.Get(ctx, owner, repoName, fork)
	if err != nil || pr.GetHead().GetRepo().GetID() == repoID || pr.GetHead().GetRepo().GetFullName() != "stranger/hello" || !pr.GetHead().GetRepo().GetFork() {
		t.Errorf("fork's head = %v, %v", pr.GetHead(), err)
	}
	level, _, err := c.Repositories.GetPermissionLevel(ctx, owner, repoName, "stranger")
	if err != nil || level.GetPermission() != "read" {
		t.Errorf("stranger's permission = %v, %v", level, err)
	}
	merged, _, err := c.PullRequests.Get(ctx, owner, repoName, 1)
	if err != nil || !merged.GetMerged() || merged.GetMergeCommitSHA() == "" {
		t.Errorf("merged = %v, %v", merged, err)
	}
}

func TestOpenPullRefusals(t *testing.T) {
	w := setup(t, nil)
	w.openPull(func(o *fakegithub.OpenPull) { o.Number = 7 })
	for name, open := range map[string]fakegithub.OpenPull{
		"unknown repository": {Owner: owner, Repo: "nowhere", Head: "feature"},
		"unknown head":       {Owner: owner, Repo: repoName, Head: "nowhere"},
		"unknown base":       {Owner: owner, Repo: repoName, Head: "feature", Base: "nowhere"},
		"an option as head":  {Owner: owner, Repo: repoName, Head: "--all"},
		"a number in use":    {Owner: owner, Repo: repoName, Head: "feature", Number: 7},
		"unknown permission": {Owner: owner, Repo: repoName, Head: "feature", Permission: "owner"},
	} {
		if _, err := w.server.OpenPull(t.Context(), open); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
	if n := w.openPull(nil); n != 8 {
		t.Errorf("the next number is %d, want 8", n)
	}
}
