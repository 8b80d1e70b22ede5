package fakegithub

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"path"
	"strings"
)

// Bounds of the contents endpoint.
const (
	maxContentJSON   = 1 << 20 // bytes: beyond, only the raw media type carries content
	maxDirectoryList = 1000    // entries
)

// getContents answers with a file, a link, a submodule or a directory at a
// commit.
func (c *call) getContents() (reply, error) {
	ref := c.r.URL.Query().Get("ref")
	if ref == "" {
		ref = c.repo.DefaultBranch
	}
	commit, err := c.commitOf(ref, refuse(http.StatusNotFound, "No commit found for the ref "+ref))
	if err != nil {
		return reply{}, err
	}
	name := strings.Trim(path.Clean("/"+c.params["path"]), "/")
	if name == "" {
		return c.directory(commit, "", ref)
	}
	entries, err := c.repo.git.tree(c.r.Context(), commit, false, name)
	if err != nil {
		return reply{}, err
	}
	if len(entries) != 1 || entries[0].path != name {
		return reply{}, notFound()
	}
	entry := entries[0]
	switch {
	case entry.kind == "tree":
		return c.directory(entry.sha, name, ref)
	case entry.mode == "120000":
		return c.symlink(commit, entry, ref)
	case entry.kind == "commit":
		shown := c.content(entry, ref)
		from, err := c.repo.git.submoduleURL(c.r.Context(), commit, name)
		shown["type"], shown["submodule_git_url"] = "submodule", from
		return reply{status: http.StatusOK, body: shown}, err
	}
	return c.file(entry, ref)
}

// file answers with one file's content: base64 up to 1 MB, raw up to 100 MB.
func (c *call) file(entry treeEntry, ref string) (reply, error) {
	if entry.size > maxBlob {
		return reply{}, &refusal{
			status: http.StatusForbidden, message: "This API returns blobs up to 100 MB in size. The requested blob is too large to fetch via the API, but you can always clone the repository via Git in order to obtain it.",
			errors: []fieldError{{Resource: "Blob", Field: "data", Code: "too_large"}},
		}
	}
	_, body, err := c.repo.git.read(c.r.Context(), entry.sha)
	if err != nil {
		return reply{}, err
	}
	if c.accepts("raw") {
		return reply{status: http.StatusOK, raw: body, contentType: "application/vnd.github.raw+json; charset=utf-8"}, nil
	}
	shown := c.content(entry, ref)
	shown["encoding"], shown["content"] = "base64", base64Lines(body)
	if len(body) > maxContentJSON {
		shown["encoding"], shown["content"] = "none", ""
	}
	return ok(shown)
}

// symlink answers with the file that a link leads to inside the repository,
// else with the link.
func (c *call) symlink(commit string, entry treeEntry, ref string) (reply, error) {
	_, target, err := c.repo.git.read(c.r.Context(), entry.sha)
	if err != nil {
		return reply{}, err
	}
	to := path.Join(path.Dir(entry.path), string(target))
	if !path.IsAbs(string(target)) && to != ".." && !strings.HasPrefix(to, "../") {
		found, err := c.repo.git.tree(c.r.Context(), commit, false, to)
		if err != nil {
			return reply{}, err
		}
		if len(found) == 1 && found[0].kind == "blob" && found[0].mode != "120000" {
			return c.file(found[0], ref)
		}
	}
	shown := c.content(entry, ref)
	shown["type"], shown["target"] = "symlink", string(target)
	return ok(shown)
}

func (c *call) directory(tree, name, ref string) (reply, error) {
	entries, err := c.repo.git.tree(c.r.Context(), tree, false)
	if err != nil {
		return reply{}, err
	}
	shown := []object{}
	for _, entry := range entries[:min(len(entries), maxDirectoryList)] {
		entry.path = path.Join(name, entry.path)
		shown = append(shown, c.content(entry, ref))
	}
	if c.accepts("object") {
		found, err := c.repo.git.lookup(c.r.Context(), tree+"^{tree}")
		if err != nil {
			return reply{}, err
		}
		whole := c.content(treeEntry{mode: "040000", kind: "tree", path: name, sha: found.sha}, ref)
		whole["entries"] = shown
		text, err := json.Marshal(whole)
		return reply{status: http.StatusOK, raw: text, contentType: "application/vnd.github.object; charset=utf-8"}, err
	}
	return ok(shown)
}

// content renders what all kinds of content have in common.
func (c *call) content(entry treeEntry, ref string) object {
	kind, gitURL := "file", any(c.repoURL("/git/blobs/"+entry.sha))
	html := any(c.urls.web + "/" + c.repo.fullName() + "/blob/" + ref + "/" + entry.path)
	download := any(c.urls.web + "/" + c.repo.fullName() + "/raw/" + ref + "/" + entry.path)
	switch {
	case entry.kind == "tree":
		kind, gitURL, download = "dir", c.repoURL("/git/trees/"+entry.sha), nil
	case entry.kind == "commit":
		// A listing says "file" of a submodule, for old callers' sake.
		gitURL, html, download = nil, nil, nil
	case entry.mode == "120000":
		kind = "symlink"
	}
	self := c.repoURL("/contents/" + (&url.URL{Path: entry.path}).EscapedPath() + "?ref=" + url.QueryEscape(ref))
	return object{
		"type": kind, "size": entry.size, "name": path.Base("/" + entry.path), "path": entry.path, "sha": entry.sha,
		"url": self, "git_url": gitURL, "html_url": html, "download_url": download,
		"_links": object{"self": self, "git": gitURL, "html": html},
	}
}

// download is an archive that somebody may fetch by its address for a while.
type download struct {
	repo    *repo
	sha     string
	format  string // tar.gz or zip, as git archive knows them
	expires int64  // epoch seconds
}

// downloadLife is how long such an address works, in seconds: five minutes
// for private repositories on GitHub, and here for all.
const downloadLife = 300

func (c *call) getTarball() (reply, error) { return c.archive("tar.gz") }
func (c *call) getZipball() (reply, error) { return c.archive("zip") }

// archive redirects to an address from which the source at a commit is read
// without a credential.
func (c *call) archive(format string) (reply, error) {
	ref := c.params["ref"]
	sha, err := c.commitOf(ref, notFound())
	if err != nil {
		return reply{}, err
	}
	ticket := secret(24)
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now().Unix()
	for old, d := range s.downloads {
		if d.expires <= now {
			delete(s.downloads, old)
		}
	}
	s.downloads[ticket] = download{repo: c.repo, sha: sha, format: format, expires: now + downloadLife}
	return reply{status: http.StatusFound, header: http.Header{"Location": {c.urls.web + "/_codeload/" + ticket}}}, nil
}

// serveDownload streams an archive with one top folder, owner-repo-sha7.
func (s *Server) serveDownload(w http.ResponseWriter, r *http.Request, params map[string]string) {
	s.mu.Lock()
	d, found := s.downloads[params["ticket"]]
	if !found || d.expires <= s.cfg.Now().Unix() {
		s.mu.Unlock()
		http.Error(w, "404: Not Found", http.StatusNotFound)
		return
	}
	top := strings.Replace(d.repo.fullName(), "/", "-", 1) + "-" + d.sha[:7]
	s.mu.Unlock()
	contentType := "application/x-gzip"
	if d.format == "zip" {
		contentType = "application/zip"
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Disposition", "attachment; filename="+top+"."+d.format)
	cmd := d.repo.git.command(r.Context(), "archive", "--format="+d.format, "--prefix="+top+"/", d.sha)
	cmd.Stdout = w
	if err := cmd.Run(); err != nil {
		s.log.Error("archive", errorField(err))
		panic(http.ErrAbortHandler) // the caller must not take half an archive for whole
	}
}

// blobURL is where a person sees a file at a commit.
func (l links) blobURL(r *repo, sha, name string) string {
	return l.web + "/" + r.fullName() + "/blob/" + sha + "/" + (&url.URL{Path: name}).EscapedPath()
}

// contentID is an opaque id of a thing that git names.
func contentID(kind, sha string) string {
	return kind + "_" + base64.RawURLEncoding.EncodeToString([]byte(sha))
}
