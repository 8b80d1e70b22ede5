package planner

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"

	"github.com/google/go-github/v62/github"
	"golang.org/x/sync/errgroup"

	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/ghapp"
	"github.com/litci/litci/pkg/workflow"
)

// repository reads one repository on GitHub.
type repository struct {
	flow.Repo
	client *github.Client
}

const (
	perPage = 100
	// GitHub lists no more changed files than these.
	maxPullFiles    = 3000
	maxCompareFiles = 300
	parallel        = 6
	// modeLink is git's mode of a symbolic link.
	modeLink = "120000"
)

// pull asks how a pull request stands now.
func (r repository) pull(ctx context.Context, number int) (pull, error) {
	pr, _, err := r.client.PullRequests.Get(ctx, r.Owner, r.Name, number)
	if err != nil {
		return pull{}, fmt.Errorf("pull request %d: %w", number, err)
	}
	p := pull{
		open: pr.GetState() == "open", merged: pr.GetMerged(), draft: pr.GetDraft(), headSHA: pr.GetHead().GetSHA(),
		headRef: pr.GetHead().GetRef(), baseRef: pr.GetBase().GetRef(), author: pr.GetUser().GetLogin(), files: pr.GetChangedFiles(),
	}
	switch head := pr.GetHead().GetRepo(); {
	case head == nil:
		p.fork = "a deleted repository"
	case head.GetID() != r.ID:
		p.fork = head.GetFullName()
	}
	return p, nil
}

// hasOpenPull tells whether a branch of this repository has an open pull request.
func (r repository) hasOpenPull(ctx context.Context, branch string) (bool, error) {
	pulls, _, err := r.client.PullRequests.List(ctx, r.Owner, r.Name, &github.PullRequestListOptions{
		State: "open", Head: r.Owner + ":" + branch, ListOptions: github.ListOptions{PerPage: perPage},
	})
	if err != nil {
		return false, fmt.Errorf("pull requests of %s: %w", branch, err)
	}
	for _, pr := range pulls {
		// The owner may have forks of its own, and old servers ignore the filter.
		if pr.GetHead().GetRepo().GetID() == r.ID && pr.GetHead().GetRef() == branch {
			return true, nil
		}
	}
	return false, nil
}

// message is a commit's message.
func (r repository) message(ctx context.Context, sha string) (string, error) {
	commit, _, err := r.client.Git.GetCommit(ctx, r.Owner, r.Name, sha)
	if err != nil {
		return "", fmt.Errorf("commit: %w", err)
	}
	return commit.GetMessage(), nil
}

// mayWrite tells whether somebody has write permission. Where GitHub gives no
// answer, as for bots, nobody has.
func (r repository) mayWrite(ctx context.Context, login string) (bool, error) {
	level, _, err := r.client.Repositories.GetPermissionLevel(ctx, r.Owner, r.Name, login)
	if ghapp.IsNotFound(err) || ghapp.IsRefused(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("permission of %s: %w", login, err)
	}
	return level.GetPermission() == "write" || level.GetPermission() == "admin", nil
}

// pullFiles lists what a pull request changes; known is false where GitHub's list
// is cut.
func (r repository) pullFiles(ctx context.Context, number, want int) (files []string, known bool, err error) {
	seen := 0
	opt := &github.ListOptions{PerPage: perPage}
	for {
		page, resp, err := r.client.PullRequests.ListFiles(ctx, r.Owner, r.Name, number, opt)
		if err != nil {
			return nil, false, fmt.Errorf("files of pull request %d: %w", number, err)
		}
		seen += len(page)
		files = append(files, names(page)...)
		if resp.NextPage == 0 || seen >= maxPullFiles {
			return files, seen >= want && seen < maxPullFiles, nil
		}
		opt.Page = resp.NextPage
	}
}

// pushFiles lists what a push, or a merge group, changes. A new branch is
// compared to the default branch. known is false where GitHub cannot tell: the
// list is cut, the old commit is gone, or history was rewritten, since what the
// comparison leaves out is then unknown.
func (r repository) pushFiles(ctx context.Context, from, to string) (files []string, known bool, err error) {
	created := isZero(from)
	if created {
		if from = r.DefaultBranch; from == "" {
			return nil, false, nil
		}
	}
	// Files stand on the first page alone, however many commits it lists.
	compared, _, err := r.client.Repositories.CompareCommits(ctx, r.Owner, r.Name, from, to, &github.ListOptions{PerPage: 1})
	var answer *github.ErrorResponse
	if errors.As(err, &answer) {
		return nil, false, nil // large comparisons fail in many ways
	}
	if err != nil {
		return nil, false, fmt.Errorf("comparison with %s: %w", from, err)
	}
	status := compared.GetStatus()
	known = len(compared.Files) < maxCompareFiles && (status == "ahead" || created && status == "diverged")
	return names(compared.Files), known, nil
}

// names are the paths of changed files; a renamed file has two.
func names(files []*github.CommitFile) []string {
	paths := make([]string, 0, len(files))
	for _, f := range files {
		paths = append(paths, f.GetFilename())
		if before := f.GetPreviousFilename(); before != "" {
			paths = append(paths, before)
		}
	}
	return paths
}

// workflowFiles reads the workflow files of a commit: one tree, then their blobs.
func (r repository) workflowFiles(ctx context.Context, sha string) (files []workflow.File, notices []string, problems []flow.Problem, err error) {
	entries, err := r.tree(ctx, sha)
	if err != nil {
		return nil, nil, nil, err
	}
	byPath := map[string]*github.TreeEntry{}
	var paths []string
	for _, entry := range entries {
		if entry.GetType() != "tree" {
			byPath[entry.GetPath()] = entry
			paths = append(paths, entry.GetPath())
		}
	}
	selected, notices := workflow.Select(paths)
	problem := func(file, format string, args ...any) {
		problems = append(problems, flow.Problem{File: file, Severity: severityError, Message: fmt.Sprintf(format, args...)})
	}
	if len(selected) > workflow.MaxFiles { // said before as many requests are made
		return nil, notices, []flow.Problem{workflow.TooManyFiles(len(selected))}, nil
	}
	if byPath[workflow.Folder].GetMode() == modeLink {
		problem(workflow.Folder, "the folder is a symbolic link, which is not followed")
	}
	for _, name := range selected {
		switch entry := byPath[name]; {
		case entry.GetMode() == modeLink:
			problem(name, "the file is a symbolic link; a workflow file must be a plain file")
		case entry.GetType() != "blob":
			problem(name, "this is a submodule; a workflow file must be a plain file")
		case entry.GetSize() > workflow.MaxFile:
			problem(name, "the file has %d bytes; a workflow file may have at most %d", entry.GetSize(), workflow.MaxFile)
		default:
			files = append(files, workflow.File{Path: name})
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i := range files {
		group.Go(func() error {
			var err error
			files[i].Data, _, err = r.client.Git.GetBlobRaw(ctx, r.Owner, r.Name, byPath[files[i].Path].GetSHA())
			if err != nil {
				return fmt.Errorf("content of %s: %w", files[i].Path, err)
			}
			return nil
		})
	}
	return files, notices, problems, group.Wait()
}

// tree lists a commit's entries. Where the repository is too large for one
// answer, it lists those that can be workflow files.
func (r repository) tree(ctx context.Context, sha string) ([]*github.TreeEntry, error) {
	whole, err := r.list(ctx, sha, true)
	if err != nil || !whole.GetTruncated() {
		return whole.Entries, err
	}
	root, err := r.list(ctx, sha, false)
	if err != nil {
		return nil, err
	}
	entries := root.Entries
	folder, name := path.Split(workflow.Folder)
	for _, step := range []string{strings.TrimSuffix(folder, "/"), name} {
		at := entryNamed(root, step)
		if at == "" {
			return entries, nil
		}
		if root, err = r.list(ctx, at, false); err != nil {
			return nil, err
		}
	}
	for _, entry := range root.Entries {
		entry.Path = github.String(workflow.Folder + "/" + entry.GetPath())
		entries = append(entries, entry)
	}
	return entries, nil
}

func (r repository) list(ctx context.Context, sha string, recursive bool) (*github.Tree, error) {
	tree, resp, err := r.client.Git.GetTree(ctx, r.Owner, r.Name, sha, recursive)
	if err != nil {
		if resp != nil && resp.StatusCode == http.StatusConflict {
			return &github.Tree{}, nil // an empty repository
		}
		return &github.Tree{}, fmt.Errorf("tree %s: %w", sha, err)
	}
	return tree, nil
}

// entryNamed is the id of a folder in a tree, empty where there is none.
func entryNamed(tree *github.Tree, name string) string {
	for _, entry := range tree.Entries {
		if entry.GetPath() == name && entry.GetType() == "tree" {
			return entry.GetSHA()
		}
	}
	return ""
}
