package fakegithub

import (
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"strings"
)

// Sizes beyond which GitHub does not hand out git objects, in bytes.
const (
	maxBlob      = 100 << 20
	maxTreeBytes = 7 << 20
)

// repoURL is the API address of the call's repository, with a tail.
func (c *call) repoURL(tail string) string { return c.urls.api + "/repos/" + c.repo.fullName() + tail }

// accepts reports whether the caller asks for one of GitHub's media types,
// such as "raw": application/vnd.github.raw+json in any of its spellings.
func (c *call) accepts(kind string) bool {
	for _, part := range strings.Split(c.r.Header.Get("Accept"), ",") {
		media, _, _ := strings.Cut(strings.TrimSpace(part), ";")
		media, _, _ = strings.Cut(media, "+")
		media = strings.Replace(media, ".v3", "", 1)
		if media == "application/vnd.github."+kind {
			return true
		}
	}
	return false
}

// missing is how to refuse what git does not have: a conflict when the
// repository has nothing at all.
func (c *call) missing(orElse error) error {
	refs, err := c.repo.git.refs(c.r.Context(), "refs/")
	if err != nil {
		return err
	}
	if len(refs) == 0 {
		return refuse(http.StatusConflict, "Git Repository is empty.")
	}
	return orElse
}

func (c *call) getBlob() (reply, error) {
	sha := c.params["file_sha"]
	if !isSHA(sha) {
		return reply{}, refuse(http.StatusUnprocessableEntity, "The sha parameter must be exactly 40 characters and contain only [0-9a-f].")
	}
	found, err := c.repo.git.lookup(c.r.Context(), sha)
	if errors.Is(err, errNoObject) || err == nil && found.kind != "blob" {
		return reply{}, notFound()
	}
	if err != nil {
		return reply{}, err
	}
	if found.size > maxBlob {
		return reply{}, invalid(fieldError{Resource: "Blob", Field: "data", Code: "too_large"})
	}
	_, body, err := c.repo.git.read(c.r.Context(), sha)
	if err != nil {
		return reply{}, err
	}
	if c.accepts("raw") {
		return reply{status: http.StatusOK, raw: body, contentType: "application/vnd.github.raw+json"}, nil
	}
	return ok(object{
		"sha": sha, "node_id": nodeID("B", found.size), "size": found.size, "url": c.repoURL("/git/blobs/" + sha),
		"content": base64Lines(body), "encoding": "base64",
	})
}

// base64Lines encodes as GitHub does: lines of 60 characters.
func base64Lines(body []byte) string {
	text := base64.StdEncoding.EncodeToString(body)
	var lines strings.Builder
	for piece := range slices.Chunk([]byte(text), 60) {
		lines.Write(piece)
		lines.WriteByte('\n')
	}
	return lines.String()
}

func (c *call) getTree() (reply, error) {
	found, err := c.s.resolve(c.r.Context(), c.repo, c.params["tree_sha"], "tree")
	if errors.Is(err, errNoObject) {
		return reply{}, c.missing(notFound())
	}
	if err != nil {
		return reply{}, err
	}
	// GitHub takes any value of recursive, "0" and "false" too, for yes.
	recursive := c.r.URL.Query().Has("recursive")
	entries, err := c.repo.git.tree(c.r.Context(), found.sha, recursive)
	if err != nil {
		return reply{}, err
	}
	shown := []object{}
	truncated, size := false, 0
	for _, e := range entries {
		size += len(e.path) + 200 // about what one entry takes in the answer
		if len(shown) >= c.s.cfg.Limits.TreeEntries || size > maxTreeBytes {
			truncated = true
			break
		}
		entry := object{"path": e.path, "mode": e.mode, "type": e.kind, "sha": e.sha}
		switch e.kind {
		case "blob":
			entry["size"], entry["url"] = e.size, c.repoURL("/git/blobs/"+e.sha)
		case "tree":
			entry["url"] = c.repoURL("/git/trees/" + e.sha)
		}
		shown = append(shown, entry)
	}
	return ok(object{"sha": found.sha, "url": c.repoURL("/git/trees/" + found.sha), "tree": shown, "truncated": truncated})
}

func (c *call) getGitCommit() (reply, error) {
	sha := c.params["commit_sha"]
	if !isSHA(sha) {
		return reply{}, notFound()
	}
	sha, err := c.commitOf(sha, notFound())
	if err != nil {
		return reply{}, err
	}
	cm, err := c.repo.git.commit(c.r.Context(), sha)
	if err != nil {
		return reply{}, err
	}
	return ok(c.urls.gitCommit(c.repo, cm))
}

func (c *call) getRef() (reply, error) {
	name := "refs/" + strings.TrimPrefix(c.params["ref"], "refs/")
	found, err := c.allRefs(name)
	if err != nil {
		return reply{}, err
	}
	for _, ref := range found {
		if ref.name == name {
			return ok(c.showRef(ref))
		}
	}
	return reply{}, notFound()
}

func (c *call) listMatchingRefs() (reply, error) {
	found, err := c.allRefs("refs/" + strings.TrimPrefix(c.params["ref"], "refs/"))
	if err != nil {
		return reply{}, err
	}
	shown := []object{}
	for _, ref := range found {
		shown = append(shown, c.showRef(ref))
	}
	return ok(shown)
}

// allRefs lists the references that begin with prefix, pull requests' too.
func (c *call) allRefs(prefix string) ([]gitRef, error) {
	found, err := c.repo.git.refs(c.r.Context(), prefix)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		if err := c.missing(nil); err != nil {
			return nil, err
		}
	}
	for _, ref := range c.s.pullRefs(c.repo) {
		if strings.HasPrefix(ref.name, prefix) {
			found = append(found, ref)
		}
	}
	return found, nil
}

func (c *call) showRef(ref gitRef) object {
	return object{
		"ref": ref.name, "node_id": "REF_" + base64.RawURLEncoding.EncodeToString([]byte(ref.name)), "url": c.repoURL("/git/" + ref.name),
		"object": object{"type": ref.object.kind, "sha": ref.object.sha, "url": c.repoURL("/git/" + ref.object.kind + "s/" + ref.object.sha)},
	}
}
