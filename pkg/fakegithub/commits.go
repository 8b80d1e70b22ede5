package fakegithub

import (
	"errors"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// Bounds of a comparison's first page, and of a commit's files.
const (
	maxCompareFiles   = 300
	maxCompareCommits = 250
	maxCommitFiles    = 300
)

// commit renders a commit as the REST API does.
func (l links) commit(r *repo, c commit) object {
	url, html := l.api+"/repos/"+r.fullName()+"/commits/"+c.sha, l.web+"/"+r.fullName()+"/commit/"+c.sha
	return object{
		"sha": c.sha, "node_id": contentID("C", c.sha), "url": url, "html_url": html, "comments_url": url + "/comments",
		"author": nil, "committer": nil, "parents": l.parents(r, c),
		"commit": object{
			"url": l.api + "/repos/" + r.fullName() + "/git/commits/" + c.sha, "message": c.message, "comment_count": 0,
			"author": c.author.object(), "committer": c.committer.object(),
			"tree":         object{"sha": c.tree, "url": l.api + "/repos/" + r.fullName() + "/git/trees/" + c.tree},
			"verification": unsigned(),
		},
	}
}

// gitCommit renders a commit as the git database API does.
func (l links) gitCommit(r *repo, c commit) object {
	return object{
		"sha": c.sha, "node_id": contentID("C", c.sha), "url": l.api + "/repos/" + r.fullName() + "/git/commits/" + c.sha,
		"html_url": l.web + "/" + r.fullName() + "/commit/" + c.sha, "message": c.message,
		"author": c.author.object(), "committer": c.committer.object(), "parents": l.parents(r, c),
		"tree":         object{"sha": c.tree, "url": l.api + "/repos/" + r.fullName() + "/git/trees/" + c.tree},
		"verification": unsigned(),
	}
}

func (l links) parents(r *repo, c commit) []object {
	parents := []object{}
	for _, sha := range c.parents {
		parents = append(parents, object{
			"sha": sha, "url": l.api + "/repos/" + r.fullName() + "/commits/" + sha,
			"html_url": l.web + "/" + r.fullName() + "/commit/" + sha,
		})
	}
	return parents
}

func (s signature) object() object {
	return object{"name": s.name, "email": s.email, "date": s.at}
}

func unsigned() object {
	return object{"verified": false, "reason": "unsigned", "signature": nil, "payload": nil, "verified_at": nil}
}

// file renders a changed file: GitHub's diff-entry.
func (l links) file(r *repo, sha string, c change) object {
	shown := object{
		"sha": c.sha, "filename": c.path, "status": c.status, "additions": c.additions, "deletions": c.deletions,
		"changes": c.additions + c.deletions, "blob_url": l.blobURL(r, sha, c.path),
		"raw_url":      strings.Replace(l.blobURL(r, sha, c.path), "/blob/", "/raw/", 1),
		"contents_url": l.api + "/repos/" + r.fullName() + "/contents/" + (&url.URL{Path: c.path}).EscapedPath() + "?ref=" + sha,
	}
	if c.previous != "" {
		shown["previous_filename"] = c.previous
	}
	if c.patch != "" {
		shown["patch"] = c.patch
	}
	return shown
}

func (l links) files(r *repo, sha string, changes []change) []object {
	shown := []object{}
	for _, c := range changes {
		shown = append(shown, l.file(r, sha, c))
	}
	return shown
}

func (c *call) getCommit() (reply, error) {
	sha, err := c.commitOf(c.params["ref"], noSuchCommit(c.params["ref"]))
	if err != nil {
		return reply{}, err
	}
	if c.accepts("sha") {
		return reply{status: http.StatusOK, raw: []byte(sha), contentType: "application/vnd.github.sha; charset=utf-8"}, nil
	}
	cm, err := c.repo.git.commit(c.r.Context(), sha)
	if err != nil {
		return reply{}, err
	}
	from := emptyTree
	if len(cm.parents) > 0 {
		from = cm.parents[0]
	}
	changes, err := c.repo.git.diff(c.r.Context(), from, sha)
	if err != nil {
		return reply{}, err
	}
	shown := c.urls.commit(c.repo, cm)
	additions, deletions := 0, 0
	for _, f := range changes {
		additions, deletions = additions+f.additions, deletions+f.deletions
	}
	shown["stats"] = object{"total": additions + deletions, "additions": additions, "deletions": deletions}
	// Files are paged 300 at a time, whatever per_page says, up to 3,000.
	page, _ := c.page()
	changes = changes[:min(len(changes), maxPullFiles)]
	start := min((page-1)*maxCommitFiles, len(changes))
	shown["files"] = c.urls.files(c.repo, sha, changes[start:min(start+maxCommitFiles, len(changes))])
	last := max(1, (len(changes)+maxCommitFiles-1)/maxCommitFiles)
	return reply{status: http.StatusOK, body: shown, header: c.pageLinks(page, last)}, nil
}

func (c *call) listCommits() (reply, error) {
	q := c.r.URL.Query()
	start := q.Get("sha")
	if start == "" {
		start = c.repo.DefaultBranch
	}
	sha, err := c.commitOf(start, notFound())
	if err != nil {
		return reply{}, err
	}
	var options []string
	for name, option := range map[string]string{"since": "--since=", "until": "--until="} {
		if value := q.Get(name); value != "" {
			at, err := time.Parse(time.RFC3339, value)
			if err != nil {
				return reply{}, refuse(http.StatusUnprocessableEntity, "Invalid value for parameter '"+name+"'")
			}
			options = append(options, option+at.Format(time.RFC3339))
		}
	}
	for _, name := range []string{"author", "committer"} {
		if value := q.Get(name); value != "" {
			options = append(options, "--fixed-strings", "--"+name+"="+value)
		}
	}
	var paths []string
	if name := strings.Trim(path.Clean("/"+q.Get("path")), "/"); name != "" {
		paths = append(paths, name)
	}
	// One more than the page holds says whether there is a next.
	page, perPage := c.page()
	options = append(options, "--skip="+strconv.Itoa((page-1)*perPage), "--max-count="+strconv.Itoa(perPage+1))
	found, err := c.repo.git.commits(c.r.Context(), []string{sha}, options, paths...)
	if err != nil {
		return reply{}, err
	}
	last := page
	if len(found) > perPage {
		found, last = found[:perPage], page+1
	}
	shown := []object{}
	for _, cm := range found {
		shown = append(shown, c.urls.commit(c.repo, cm))
	}
	return reply{status: http.StatusOK, body: shown, header: c.pageLinks(page, last)}, nil
}

// compare answers what head has since it left base: three dots, from the
// merge base. Files stand on the first page only.
func (c *call) compare() (reply, error) {
	ctx := c.r.Context()
	baseName, headName, found := strings.Cut(c.params["basehead"], "...")
	if !found {
		return reply{}, notFound()
	}
	base, err := c.commitOf(c.ownBranch(baseName), notFound())
	if err != nil {
		return reply{}, err
	}
	head, err := c.commitOf(c.ownBranch(headName), notFound())
	if err != nil {
		return reply{}, err
	}
	git := c.repo.git
	mergeBase, err := git.mergeBase(ctx, base, head)
	if err != nil {
		return reply{}, err
	}
	if mergeBase == "" {
		return reply{}, refuse(http.StatusNotFound, "No common ancestor between "+baseName+" and "+headName+".")
	}
	ahead, behind, err := git.countBetween(ctx, base, head)
	if err != nil {
		return reply{}, err
	}
	ends, err := c.commitsByID(base, mergeBase)
	if err != nil {
		return reply{}, err
	}
	commits, err := git.commits(ctx, []string{head, "^" + base}, []string{"--reverse"})
	if err != nil {
		return reply{}, err
	}
	shownCommits := []object{}
	page, perPage := c.page()
	if !c.r.URL.Query().Has("page") && !c.r.URL.Query().Has("per_page") {
		perPage = maxCompareCommits
	}
	start := min((page-1)*perPage, len(commits))
	for _, cm := range commits[start:min(start+perPage, len(commits))] {
		shownCommits = append(shownCommits, c.urls.commit(c.repo, cm))
	}
	html := c.urls.web + "/" + c.repo.fullName() + "/compare/" + c.params["basehead"]
	shown := object{
		"url": c.repoURL("/compare/" + c.params["basehead"]), "html_url": html, "diff_url": html + ".diff", "patch_url": html + ".patch",
		"permalink_url": c.urls.web + "/" + c.repo.fullName() + "/compare/" + base + "..." + head,
		"base_commit":   c.urls.commit(c.repo, ends[0]), "merge_base_commit": c.urls.commit(c.repo, ends[1]),
		"status": comparison(ahead, behind), "ahead_by": ahead, "behind_by": behind, "total_commits": ahead, "commits": shownCommits,
	}
	if page == 1 {
		changes, err := git.diff(ctx, mergeBase, head)
		if err != nil {
			return reply{}, err
		}
		shown["files"] = c.urls.files(c.repo, head, changes[:min(len(changes), maxCompareFiles)])
	}
	last := max(1, (len(commits)+perPage-1)/perPage)
	return reply{status: http.StatusOK, body: shown, header: c.pageLinks(page, last)}, nil
}

// ownBranch cuts the owner off "owner:branch", which means this repository or
// a fork whose commits are in it.
func (c *call) ownBranch(name string) string {
	if _, branch, has := strings.Cut(name, ":"); has {
		return branch
	}
	return name
}

func (c *call) commitsByID(shas ...string) ([]commit, error) {
	var found []commit
	for _, sha := range shas {
		cm, err := c.repo.git.commit(c.r.Context(), sha)
		if errors.Is(err, errNoObject) {
			return nil, notFound()
		}
		if err != nil {
			return nil, err
		}
		found = append(found, cm)
	}
	return found, nil
}

func comparison(ahead, behind int) string {
	switch {
	case ahead > 0 && behind > 0:
		return "diverged"
	case ahead > 0:
		return "ahead"
	case behind > 0:
		return "behind"
	}
	return "identical"
}
