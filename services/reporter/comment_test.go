package reporter

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/pkg/flow"
)

func TestDeletedCommentComesBackWithAnotherVerdict(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	r := w.reporter(nil)
	plan, jobs := w.plan("a", w.shas[1], 1, epoch)
	hand(t, r, plan, endOf(jobs[0], flow.Success))
	w.deleteComments()

	// A new head, still open, and passed again: nobody wanted to read that.
	plan, jobs = w.plan("b", w.shas[2], 1, epoch.Add(time.Hour))
	hand(t, r, plan, running(jobs[0]), endOf(jobs[0], flow.Success))
	if s := w.hub.State(); len(s.Comments) != 0 {
		t.Errorf("the comment came back:\n%s", shown(s))
	}
	again := jobs[0]
	again.Attempt = 2
	hand(t, r, again, endOf(again, flow.Failure))
	if s := w.hub.State(); len(s.Comments) != 1 || !strings.Contains(s.Comments[0].Body, "1 failed") {
		t.Errorf("no comment about the failure:\n%s", shown(s))
	}
}

// deleteComments does as a person with write permission.
func (w *world) deleteComments() {
	w.t.Helper()
	own := &http.Transport{}
	w.t.Cleanup(own.CloseIdleConnections)
	r := w.reporter(own)
	client, err := r.comments.Client(installation, repoID)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range w.hub.State().Comments {
		if _, err := client.Issues.DeleteComment(w.t.Context(), "octo", "repo", c.ID); err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestForeignMarkerIsNotAdopted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	if _, _, err := w.hub.Comment(t.Context(), fakegithub.Remark{
		Owner: "octo", Repo: "repo", Number: w.pull, Author: "mallory", Body: marker(repoID, w.pull) + "\nmine",
	}); err != nil {
		t.Fatal(err)
	}
	r := w.reporter(nil)
	plan, _ := w.plan("a", w.shas[2], 1, epoch)
	hand(t, r, plan)
	if s := w.hub.State(); len(s.Comments) != 2 || s.Comments[0].Body != marker(repoID, w.pull)+"\nmine" {
		t.Errorf("%s", shown(s))
	}
}

// The comment of a new head is not overwritten by what comes late from an older one.
func TestOlderHeadDoesNotOverwriteTheComment(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	r := w.reporter(nil)
	older, olderJobs := w.plan("a", w.shas[1], 1, epoch)
	newer, newerJobs := w.plan("b", w.shas[2], 1, epoch.Add(time.Minute))
	hand(t, r, newer, endOf(newerJobs[0], flow.Success), older, endOf(olderJobs[0], flow.Failure))
	s := w.hub.State()
	if len(s.Comments) != 1 || !strings.Contains(s.Comments[0].Body, w.shas[2]) || strings.Contains(s.Comments[0].Body, w.shas[1]) {
		t.Errorf("%s", shown(s))
	}
	if concluded(w.only(w.shas[1], "litci")) != "failure" || concluded(w.only(w.shas[2], "litci")) != "success" {
		t.Errorf("%s", shown(s))
	}
}

// The comment is a courtesy: an installation that did not grant its permission
// refuses to mint a token with it, and the checks do not need one.
func TestChecksNeedNoPermissionToComment(t *testing.T) {
	t.Parallel()
	w := newWorldGranting(t, fakegithub.Limits{}, map[string]string{"checks": "write", "contents": "read", "metadata": "read"})
	r := w.reporter(nil)
	plan, jobs := w.plan("a", w.shas[2], 1, epoch)
	hand(t, r, plan, jobs[0], endOf(jobs[0], flow.Success))
	if c := w.only(w.shas[2], "litci"); concluded(c) != "success" {
		t.Errorf("%s", concluded(c))
	}
	if c := w.only(w.shas[2], "ci / unit (0)"); concluded(c) != "success" {
		t.Errorf("%s", concluded(c))
	}
	if s := w.hub.State(); len(s.Comments) != 0 {
		t.Errorf("a comment without permission:\n%s", shown(s))
	}
}
