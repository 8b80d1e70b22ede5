package fakegithub_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-github/v62/github"

	"github.com/litci/litci/pkg/fakegithub"
)

func TestApp(t *testing.T) {
	w := setup(t, nil)
	ctx := t.Context()
	app, _, err := w.app().Apps.Get(ctx, "")
	if err != nil || app.GetID() != appID || app.GetSlug() != "litci" || app.Permissions.GetChecks() != "write" {
		t.Fatalf("app = %v, %v", app, err)
	}
	all, _, err := w.app().Apps.ListInstallations(ctx, nil)
	if err != nil || len(all) != 1 || all[0].GetAccount().GetLogin() != owner {
		t.Fatalf("installations = %v, %v", all, err)
	}
	one, _, err := w.app().Apps.GetInstallation(ctx, all[0].GetID())
	if err != nil || one.GetAppID() != appID {
		t.Fatalf("installation = %v, %v", one, err)
	}
	byOrg, _, err := w.app().Apps.FindOrganizationInstallation(ctx, owner)
	if err != nil || byOrg.GetID() != one.GetID() {
		t.Fatalf("installation of %s = %v, %v", owner, byOrg, err)
	}
	byUser, _, err := w.app().Apps.FindUserInstallation(ctx, owner)
	if err != nil || byUser.GetID() != one.GetID() {
		t.Fatalf("installation of %s = %v, %v", owner, byUser, err)
	}
}

func TestTokenIsScoped(t *testing.T) {
	w := setup(t, nil)
	ctx := t.Context()
	if err := w.server.AddRepo(fakegithub.Repo{Owner: owner, Name: "other", Dir: w.dir, Private: true}); err != nil {
		t.Fatal(err)
	}
	made, _, err := w.app().Apps.CreateInstallationToken(ctx, w.installation(), &github.InstallationTokenOptions{
		RepositoryIDs: []int64{repoID}, Permissions: &github.InstallationPermissions{Contents: github.String("read")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := made.GetExpiresAt().Sub(w.clock.Now()); got != time.Hour {
		t.Errorf("expires in %v, want an hour", got)
	}
	if len(made.Repositories) != 1 || made.Repositories[0].GetID() != repoID || made.Permissions.Checks != nil {
		t.Errorf("token = %v", made)
	}
	c := w.github(made.GetToken)
	repos, _, err := c.Apps.ListRepos(ctx, nil)
	if err != nil || repos.GetTotalCount() != 1 {
		t.Errorf("repositories = %v, %v", repos, err)
	}
	if _, resp, err := c.Repositories.Get(ctx, owner, "other"); err == nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("repository out of scope: %v, want 404", err)
	}
	_, resp, err := c.Checks.CreateCheckRun(ctx, owner, repoName, github.CreateCheckRunOptions{Name: "x", HeadSHA: w.sha("main")})
	if err == nil || resp.StatusCode != http.StatusForbidden || resp.Header.Get("X-Accepted-GitHub-Permissions") != "checks=write" {
		t.Errorf("without permission: %v, %v", err, resp.Header)
	}
	w.clock.Advance(time.Hour)
	if _, resp, err := c.Repositories.Get(ctx, owner, repoName); err == nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("with an expired token: %v, want 401", err)
	}
}

func TestTokenRefusals(t *testing.T) {
	w := setup(t, nil)
	ctx := t.Context()
	for name, options := range map[string]*github.InstallationTokenOptions{
		"a permission that was not granted": {Permissions: &github.InstallationPermissions{Actions: github.String("read")}},
		"more of one than was granted":      {Permissions: &github.InstallationPermissions{Contents: github.String("write")}},
		"a repository that is not there":    {RepositoryIDs: []int64{repoID, 1}},
		"a name that is not there":          {Repositories: []string{"nowhere"}},
	} {
		_, resp, err := w.app().Apps.CreateInstallationToken(ctx, w.installation(), options)
		if err == nil || resp.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("%s: %v, want 422", name, err)
		}
	}
	if _, resp, err := w.app().Apps.CreateInstallationToken(ctx, 1, &github.InstallationTokenOptions{}); err == nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("unknown installation: %v, want 404", err)
	}
	c := w.client()
	if err := w.server.Suspend(w.installation(), true); err != nil {
		t.Fatal(err)
	}
	if _, resp, err := w.app().Apps.CreateInstallationToken(ctx, w.installation(), &github.InstallationTokenOptions{}); err == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("suspended installation: %v, want 403", err)
	}
	if _, resp, err := c.Repositories.Get(ctx, owner, repoName); err == nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("token of a suspended installation: %v, want 401", err)
	}
}

func TestRevokedTokenIsRefused(t *testing.T) {
	w := setup(t, nil)
	c := w.client()
	if _, err := c.Apps.RevokeInstallationToken(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, resp, err := c.Repositories.Get(t.Context(), owner, repoName); err == nil || resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("after revoking: %v, want 401", err)
	}
}

func TestManifestConversion(t *testing.T) {
	w := setup(t, nil)
	var made struct{ Code string }
	w.control(http.MethodPost, "/manifests", `{"name":"my ci","url":"https://example.com"}`, &made)
	anonymous := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	c, err := github.NewClient(anonymous).WithEnterpriseURLs(w.url, w.url)
	if err != nil {
		t.Fatal(err)
	}
	app, _, err := c.Apps.CompleteAppManifest(t.Context(), made.Code)
	if err != nil || app.GetID() != appID || app.GetName() != "my ci" || app.GetWebhookSecret() != secret {
		t.Fatalf("app = %v, %v", app, err)
	}
	key, err := fakegithub.ParseKey([]byte(app.GetPEM()))
	if err != nil || !key.Equal(w.key) {
		t.Errorf("key: %v", err)
	}
	if _, resp, err := c.Apps.CompleteAppManifest(t.Context(), made.Code); err == nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("second exchange: %v, want 404", err)
	}
}

func TestMetaAndUsers(t *testing.T) {
	w := setup(t, nil)
	c := w.client()
	meta, _, err := c.Meta.Get(t.Context())
	if err != nil || len(meta.Hooks) == 0 {
		t.Errorf("meta = %v, %v", meta, err)
	}
	if got := w.send(http.MethodGet, "/versions", "", nil); !strings.Contains(got.body, "2022-11-28") {
		t.Errorf("versions = %s", got.body)
	}
	if err := w.server.SetPermission(owner, repoName, "Ada", "maintain"); err != nil {
		t.Fatal(err)
	}
	u, _, err := c.Users.Get(t.Context(), "ada")
	if err != nil || u.GetLogin() != "Ada" || u.GetType() != "User" {
		t.Errorf("user = %v, %v", u, err)
	}
	level, _, err := c.Repositories.GetPermissionLevel(t.Context(), owner, repoName, "ada")
	if err != nil || level.GetPermission() != "write" || level.GetUser().GetRoleName() != "maintain" {
		t.Errorf("permission = %v, %v", level, err)
	}
	is, _, err := c.Repositories.IsCollaborator(t.Context(), owner, repoName, "ada")
	if err != nil || !is {
		t.Errorf("collaborator = %v, %v", is, err)
	}
	stranger, _, err := c.Repositories.IsCollaborator(t.Context(), owner, repoName, "nobody")
	if err != nil || stranger {
		t.Errorf("stranger collaborates = %v, %v", stranger, err)
	}
	if _, resp, err := c.Repositories.GetPermissionLevel(t.Context(), owner, repoName, "nobody"); err == nil || resp.StatusCode != 404 {
		t.Errorf("permission of nobody: %v, want 404", err)
	}
}

func TestKeysSurviveEncoding(t *testing.T) {
	t.Parallel()
	key, err := appKey()
	if err != nil {
		t.Fatal(err)
	}
	back, err := fakegithub.ParseKey(fakegithub.EncodeKey(key))
	if err != nil || !back.Equal(key) {
		t.Errorf("ParseKey(EncodeKey(key)): %v", err)
	}
	for _, bad := range []string{"", "no key", strings.Replace(string(fakegithub.EncodeKey(key)), "MII", "AAA", 1)} {
		if _, err := fakegithub.ParseKey([]byte(bad)); err == nil {
			t.Errorf("ParseKey(%.20q) succeeds", bad)
		}
	}
}

func TestNewRefusesWhatItCannotDo(t *testing.T) {
	t.Parallel()
	key, err := appKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]fakegithub.Config{"no key": {AppID: 1}, "no id": {PrivateKey: key}} {
		if _, err := fakegithub.New(cfg); err == nil {
			t.Errorf("%s: New succeeds", name)
		}
	}
	s, err := fakegithub.New(fakegithub.Config{AppID: 1, PrivateKey: key})
	if err != nil {
		t.Fatal(err)
	}
	dir := makeRepo(t)
	add := func(r fakegithub.Repo) error { return s.AddRepo(r) }
	if err := add(fakegithub.Repo{Owner: "a", Name: "b", Dir: dir, ID: 5}); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]fakegithub.Repo{
		"the same name": {Owner: "A", Name: "B", Dir: dir}, "the same id": {Owner: "a", Name: "c", Dir: dir, ID: 5},
		"no repository": {Owner: "a", Name: "d", Dir: t.TempDir()}, "a slash": {Owner: "a/b", Name: "e", Dir: dir},
	} {
		if err := add(r); err == nil {
			t.Errorf("%s: AddRepo succeeds", name)
		}
	}
	if _, err := s.Deliver(t.Context(), "ping", []byte("{}")); err == nil {
		t.Error("Deliver without an address succeeds")
	}
	if got := s.State(); slices.Contains([]bool{got.CheckRuns != nil, got.Pulls != nil, got.Comments != nil, got.Deliveries != nil}, false) {
		t.Errorf("an empty state has nulls: %+v", got)
	}
}
