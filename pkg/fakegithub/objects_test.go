package fakegithub_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-github/v62/github"

	"github.com/litci/litci/pkg/fakegithub"
)

func TestTreesAndBlobs(t *testing.T) {
	w := setup(t, nil)
	c, ctx := w.client(), t.Context()
	tree, _, err := c.Git.GetTree(ctx, owner, repoName, w.sha("main"), true)
	if err != nil || tree.GetTruncated() || tree.GetSHA() != w.sha("main^{tree}") {
		t.Fatalf("tree = %v, %v", tree, err)
	}
	var paths []string
	for _, e := range tree.Entries {
		paths = append(paths, e.GetPath())
		if e.GetPath() == ".lightning/workflows/ci.yml" {
			blob, _, err := c.Git.GetBlobRaw(ctx, owner, repoName, e.GetSHA())
			if err != nil || string(blob) != workflow {
				t.Errorf("raw blob = %q, %v", blob, err)
			}
			encoded, _, err := c.Git.GetBlob(ctx, owner, repoName, e.GetSHA())
			if err != nil || encoded.GetEncoding() != "base64" || encoded.GetSize() != len(workflow) || e.GetSize() != len(workflow) {
				t.Errorf("blob = %v, %v", encoded, err)
			}
		}
	}
	want := []string{".lightning", ".lightning/workflows", ".lightning/workflows/ci.yml", "LINK", "README.md", "src", "src/app.py"}
	if !slices.Equal(paths, want) {
		t.Errorf("paths = %q, want %q", paths, want)
	}
	for _, name := range []string{"feature", "v1", w.sha("main^{tree}")} {
		if _, _, err := c.Git.GetTree(ctx, owner, repoName, name, false); err != nil {
			t.Errorf("tree of %s: %v", name, err)
		}
	}
	for _, name := range []string{"nowhere", "--help", "main:src", "main^"} {
		if _, resp, err := c.Git.GetTree(ctx, owner, repoName, name, false); err == nil || resp.StatusCode != http.StatusNotFound {
			t.Errorf("tree of %s: %v, want 404", name, err)
		}
	}
	if _, resp, err := c.Git.GetBlob(ctx, owner, repoName, w.sha("main")); err == nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("blob of a commit: %v, want 404", err)
	}
}

func TestLongTreeIsTruncated(t *testing.T) {
	w := setup(t, func(c *fakegithub.Config) { c.Limits.TreeEntries = 3 })
	tree, _, err := w.client().Git.GetTree(t.Context(), owner, repoName, "main", true)
	if err != nil || !tree.GetTruncated() || len(tree.Entries) != 3 {
		t.Errorf("tree = %v, %v", tree, err)
	}
}

func TestEmptyRepositoryConflicts(t *testing.T) {
	w := setup(t, nil)
	dir := t.TempDir()
	git(t, dir, "init", "-q", "--bare", "-b", "trunk")
	if err := w.server.AddRepo(fakegithub.Repo{Owner: owner, Name: "empty", Dir: dir}); err != nil {
		t.Fatal(err)
	}
	c := w.client()
	r, _, err := c.Repositories.Get(t.Context(), owner, "empty")
	if err != nil || r.GetDefaultBranch() != "trunk" {
		t.Errorf("repository = %v, %v", r, err)
	}
	if _, resp, err := c.Git.GetTree(t.Context(), owner, "empty", "trunk", true); err == nil || resp.StatusCode != http.StatusConflict {
		t.Errorf("tree: %v, want 409", err)
	}
}

func TestCommitsRefsBranches(t *testing.T) {
	w := setup(t, nil)
	c, ctx := w.client(), t.Context()
	head := w.sha("feature")
	for _, name := range []string{head, "feature", "heads/feature", "refs/heads/feature", head[:8]} {
		got, _, err := c.Repositories.GetCommit(ctx, owner, repoName, name, nil)
		if err != nil || got.GetSHA() != head || len(got.Files) != 2 || got.GetCommit().GetAuthor().GetName() != "Ada" {
			t.Errorf("commit %s = %v, %v", name, got, err)
		}
	}
	if got, _, err := c.Repositories.GetCommit(ctx, owner, repoName, "v1", nil); err != nil || got.GetSHA() != w.sha("main") {
		t.Errorf("annotated tag = %v, %v", got, err)
	}
	for _, name := range []string{"nowhere", strings.Repeat("0", 40)} {
		if _, resp, err := c.Repositories.GetCommit(ctx, owner, repoName, name, nil); err == nil || resp.StatusCode != http.StatusUnprocessableEntity {
			t.Errorf("commit %s: %v, want 422", name, err)
		}
	}
	sha, _, err := c.Repositories.GetCommitSHA1(ctx, owner, repoName, "main", "")
	if err != nil || sha != w.sha("main") {
		t.Errorf("sha of main = %s, %v", sha, err)
	}
	gc, _, err := c.Git.GetCommit(ctx, owner, repoName, head)
	if err != nil || gc.GetMessage() != "move" || len(gc.Parents) != 1 {
		t.Errorf("git commit = %v, %v", gc, err)
	}
	list, resp, err := c.Repositories.ListCommits(ctx, owner, repoName, &github.CommitsListOptions{SHA: "feature", ListOptions: github.ListOptions{PerPage: 2}})
	if err != nil || len(list) != 2 || resp.NextPage != 2 || list[0].GetSHA() != head {
		t.Errorf("commits = %v, %v, %v", list, resp, err)
	}
	byPath, _, err := c.Repositories.ListCommits(ctx, owner, repoName, &github.CommitsListOptions{SHA: "feature", Path: "README.md", Author: "Ada"})
	if err != nil || len(byPath) != 2 {
		t.Errorf("commits on README.md = %v, %v", byPath, err)
	}
	ref, _, err := c.Git.GetRef(ctx, owner, repoName, "heads/feature")
	if err != nil || ref.GetObject().GetSHA() != head {
		t.Errorf("ref = %v, %v", ref, err)
	}
	if _, resp, err := c.Git.GetRef(ctx, owner, repoName, "heads/feat"); err == nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("prefix of a ref: %v, want 404", err)
	}
	tags, _, err := c.Git.ListMatchingRefs(ctx, owner, repoName, &github.ReferenceListOptions{Ref: "tags/v"})
	if err != nil || len(tags) != 1 || tags[0].GetObject().GetType() != "tag" {
		t.Errorf("tags = %v, %v", tags, err)
	}
	branch, _, err := c.Repositories.GetBranch(ctx, owner, repoName, "feature", 0)
	if err != nil || branch.GetCommit().GetSHA() != head {
		t.Errorf("branch = %v, %v", branch, err)
	}
	if _, resp, err := c.Repositories.GetBranch(ctx, owner, repoName, "v1", 0); err == nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("tag as branch: %v, want 404", err)
	}
}

func TestCompareIsFromTheMergeBase(t *testing.T) {
	w := setup(t, nil)
	write(t, w.dir, "elsewhere.txt", "main moved on\n")
	commit(t, w.dir, "main moves on")
	c, ctx := w.client(), t.Context()
	got, _, err := c.Repositories.CompareCommits(ctx, owner, repoName, "main", "feature", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.GetStatus() != "diverged" || got.GetAheadBy() != 2 || got.GetBehindBy() != 1 || got.GetMergeBaseCommit().GetSHA() != w.sha("v1^{commit}") {
		t.Errorf("comparison = %v", got)
	}
	files := map[string]string{}
	for _, f := range got.Files {
		files[f.GetFilename()] = f.GetStatus() + " " + f.GetPreviousFilename()
	}
	if len(files) != 3 || files["src/main.py"] != "renamed src/app.py" || files["README.md"] != "modified " || files["src/new.py"] != "added " {
		t.Errorf("files = %v", files)
	}
	if len(got.Commits) != 2 || got.Commits[0].GetCommit().GetMessage() != "say more" {
		t.Errorf("commits = %v", got.Commits)
	}
	paged, _, err := c.Repositories.CompareCommits(ctx, owner, repoName, "main", "feature", &github.ListOptions{Page: 2, PerPage: 1})
	if err != nil || len(paged.Commits) != 1 || len(paged.Files) != 0 {
		t.Errorf("second page = %v, %v", paged, err)
	}
	if _, resp, err := c.Repositories.CompareCommits(ctx, owner, repoName, "main", "nowhere", nil); err == nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("comparison with nothing: %v, want 404", err)
	}
}

func TestContents(t *testing.T) {
	w := setup(t, nil)
	big := strings.Repeat("x", 1<<20+1)
	write(t, w.dir, "big.txt", big)
	commit(t, w.dir, "big")
	c, ctx := w.client(), t.Context()
	at := &github.RepositoryContentGetOptions{Ref: w.sha("main")}
	file, _, _, err := c.Repositories.GetContents(ctx, owner, repoName, ".lightning/workflows/ci.yml", at)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := file.GetContent(); err != nil || text != workflow {
		t.Errorf("content = %q, %v", text, err)
	}
	_, dir, _, err := c.Repositories.GetContents(ctx, owner, repoName, "", at)
	if err != nil || len(dir) != 5 {
		t.Errorf("root = %v, %v", dir, err)
	}
	_, dir, _, err = c.Repositories.GetContents(ctx, owner, repoName, "src", at)
	if err != nil || len(dir) != 1 || dir[0].GetPath() != "src/app.py" {
		t.Errorf("src = %v, %v", dir, err)
	}
	link, _, _, err := c.Repositories.GetContents(ctx, owner, repoName, "LINK", at)
	if err != nil || link.GetPath() != "README.md" {
		t.Errorf("link = %v, %v", link, err)
	}
	large, _, _, err := c.Repositories.GetContents(ctx, owner, repoName, "big.txt", at)
	if err != nil || large.GetEncoding() != "none" {
		t.Errorf("large file = %v, %v", large, err)
	}
	raw := w.send(http.MethodGet, repoPath+"/contents/big.txt", w.token(nil), nil, "Accept", "application/vnd.github.raw+json")
	if raw.status != http.StatusOK || raw.body != big {
		t.Errorf("raw large file: %d, %d bytes", raw.status, len(raw.body))
	}
	whole := w.send(http.MethodGet, repoPath+"/contents/src", w.token(nil), nil, "Accept", "application/vnd.github.object+json")
	if !strings.Contains(whole.body, `"entries":[`) {
		t.Errorf("directory as object = %.200s", whole.body)
	}
	for _, name := range []string{"nowhere", "README.md/x", "..", "*.md"} {
		if got := w.send(http.MethodGet, repoPath+"/contents/"+name, w.token(nil), nil); name != ".." && got.status != http.StatusNotFound {
			t.Errorf("contents of %s: %d, want 404", name, got.status)
		}
	}
}

func TestContentsThatAreNoFiles(t *testing.T) {
	w := setup(t, nil)
	if err := os.Symlink("../outside", filepath.Join(w.dir, "OUT")); err != nil {
		t.Fatal(err)
	}
	write(t, w.dir, ".gitmodules", "[submodule \"m\"]\n\tpath = module\n\turl = https://example.com/m.git\n")
	git(t, w.dir, "add", "OUT", ".gitmodules")
	git(t, w.dir, "update-index", "--add", "--cacheinfo", "160000,"+w.sha("feature")+",module")
	git(t, w.dir, "commit", "-q", "-m", "no files")
	c, ctx := w.client(), t.Context()
	out, _, _, err := c.Repositories.GetContents(ctx, owner, repoName, "OUT", nil)
	if err != nil || out.GetType() != "symlink" || out.GetTarget() != "../outside" {
		t.Errorf("a link that leads out = %v, %v", out, err)
	}
	module, _, _, err := c.Repositories.GetContents(ctx, owner, repoName, "module", nil)
	if err != nil || module.GetType() != "submodule" || module.GetSHA() != w.sha("feature") || module.GetSubmoduleGitURL() != "https://example.com/m.git" {
		t.Errorf("submodule = %v, %v", module, err)
	}
	_, root, _, err := c.Repositories.GetContents(ctx, owner, repoName, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range root {
		if entry.GetName() == "module" && entry.GetType() != "file" {
			t.Errorf("a listing says %s of a submodule, want file", entry.GetType())
		}
	}
	tree, _, err := c.Git.GetTree(ctx, owner, repoName, "main", false)
	if err != nil || !slices.ContainsFunc(tree.Entries, func(e *github.TreeEntry) bool { return e.GetType() == "commit" && e.GetMode() == "160000" }) {
		t.Errorf("tree = %v, %v", tree, err)
	}
}

func TestComparisonStatus(t *testing.T) {
	w := setup(t, nil)
	for basehead, want := range map[string]string{"main...feature": "ahead", "feature...main": "behind", "main...octo:main": "identical"} {
		base, head, _ := strings.Cut(basehead, "...")
		got, _, err := w.client().Repositories.CompareCommits(t.Context(), owner, repoName, base, head, nil)
		if err != nil || got.GetStatus() != want {
			t.Errorf("%s: %s, %v; want %s", basehead, got.GetStatus(), err, want)
		}
	}
}

func TestArchives(t *testing.T) {
	w := setup(t, nil)
	c, ctx := w.client(), t.Context()
	head := w.sha("main")
	top := "octo-hello-" + head[:7] + "/"
	plain := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	fetch := func(url string) []byte {
		t.Helper()
		resp, err := plain.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("archive: %d, %v", resp.StatusCode, err)
		}
		return body
	}
	link, _, err := c.Repositories.GetArchiveLink(ctx, owner, repoName, github.Tarball, &github.RepositoryContentGetOptions{Ref: head}, 0)
	if err != nil {
		t.Fatal(err)
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(fetch(link.String())))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for files := tar.NewReader(unzipped); ; {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names[h.Name] = true
		if h.Typeflag != tar.TypeXGlobalHeader && !strings.HasPrefix(h.Name, top) {
			t.Errorf("%s is not below %s", h.Name, top)
		}
	}
	if !names[top+"README.md"] || names[top+".git/"] {
		t.Errorf("names = %v", names)
	}
	zipLink, _, err := c.Repositories.GetArchiveLink(ctx, owner, repoName, github.Zipball, &github.RepositoryContentGetOptions{Ref: "main"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	body := fetch(zipLink.String())
	files, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil || len(files.File) == 0 || files.File[0].Name != top {
		t.Errorf("zip: %v", err)
	}
	w.clock.Advance(6 * 60e9)
	resp, err := plain.Get(link.String())
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("address after six minutes: %d, want 404", resp.StatusCode)
	}
}

func TestRenamedRepositoryRedirects(t *testing.T) {
	w := setup(t, nil)
	token := w.token(nil)
	if err := w.server.RenameRepo(owner, repoName, "renamed"); err != nil {
		t.Fatal(err)
	}
	got := w.send(http.MethodGet, repoPath+"/commits/main", token, nil)
	if got.status != http.StatusMovedPermanently || !strings.HasSuffix(got.header.Get("Location"), "/repositories/77/commits/main") {
		t.Fatalf("%d, Location %s", got.status, got.header.Get("Location"))
	}
	if followed := w.send(http.MethodGet, strings.TrimPrefix(got.header.Get("Location"), w.url), token, nil); followed.status != http.StatusOK {
		t.Errorf("followed: %d %s", followed.status, followed.body)
	}
}
