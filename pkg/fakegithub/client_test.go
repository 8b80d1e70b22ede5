package fakegithub_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"testing"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/golang-jwt/jwt/v4"
	"github.com/google/go-github/v62/github"

	"github.com/litci/litci/pkg/fakegithub"
)

// appSigner signs ghinstallation's claims at the world's time.
type appSigner struct{ w *world }

func (s appSigner) Sign(jwt.Claims) (string, error) { return s.w.jwt(nil), nil }

func TestGHInstallationLogsIn(t *testing.T) {
	w := setup(t, nil)
	base := &http.Transport{}
	t.Cleanup(base.CloseIdleConnections)
	apps, err := ghinstallation.NewAppsTransportWithOptions(base, appID, ghinstallation.WithSigner(appSigner{w}))
	if err != nil {
		t.Fatal(err)
	}
	apps.BaseURL = w.url + "/api/v3"
	c, err := github.NewClient(&http.Client{Transport: ghinstallation.NewFromAppsTransport(apps, w.installation())}).WithEnterpriseURLs(w.url, w.url)
	if err != nil {
		t.Fatal(err)
	}
	r, _, err := c.Repositories.Get(t.Context(), owner, repoName)
	if err != nil || r.GetID() != repoID {
		t.Errorf("repository = %v, %v", r, err)
	}
}

func TestRepositoriesOfAllKinds(t *testing.T) {
	w := setup(t, nil)
	dir := t.TempDir()
	bare, linked := filepath.Join(dir, "bare.git"), filepath.Join(dir, "linked")
	git(t, dir, "clone", "-q", "--bare", w.dir, bare)
	git(t, w.dir, "worktree", "add", "-q", linked, "feature")
	for name, at := range map[string]string{"bare": bare, "linked": linked} {
		if err := w.server.AddRepo(fakegithub.Repo{Owner: owner, Name: name, Dir: at}); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		sha, _, err := w.client().Repositories.GetCommitSHA1(t.Context(), owner, name, "feature", "")
		if err != nil || sha != w.sha("feature") {
			t.Errorf("%s: feature = %s, %v", name, sha, err)
		}
	}
	sub := filepath.Join(w.dir, "src")
	if err := w.server.AddRepo(fakegithub.Repo{Owner: owner, Name: "part", Dir: sub}); err == nil {
		t.Error("a directory inside a repository was taken for one")
	}
}

func TestManyCallersAtOnce(t *testing.T) {
	w := setup(t, func(c *fakegithub.Config) { c.Limits.Off = true })
	c, n, head := w.client(), w.openPull(nil), w.sha("feature")
	const callers = 8
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			ctx := t.Context()
			run, _, err := c.Checks.CreateCheckRun(ctx, owner, repoName, github.CreateCheckRunOptions{Name: fmt.Sprint(i), HeadSHA: head})
			if err != nil {
				t.Error(err)
				return
			}
			if _, _, err := c.Checks.UpdateCheckRun(ctx, owner, repoName, run.GetID(), github.UpdateCheckRunOptions{Name: fmt.Sprint(i), Conclusion: github.String("success")}); err != nil {
				t.Error(err)
			}
			if _, _, err := c.Issues.CreateComment(ctx, owner, repoName, n, &github.IssueComment{Body: github.String("hi")}); err != nil {
				t.Error(err)
			}
			if _, _, err := c.PullRequests.Get(ctx, owner, repoName, n); err != nil {
				t.Error(err)
			}
			w.server.State()
		})
	}
	all.Wait()
	w.server.Wait()
	st := w.server.State()
	ids := map[int64]bool{}
	for _, d := range st.Deliveries {
		ids[d.ID] = true
	}
	if len(st.CheckRuns) != callers || len(st.Comments) != callers || len(ids) != 1+3*callers {
		t.Errorf("%d check runs, %d comments, %d deliveries", len(st.CheckRuns), len(st.Comments), len(ids))
	}
}
