package fakegithub

import (
	"net/http"

	"github.com/litci/litci/pkg/fakegithub/internal/route"
)

// access says which credential opens an endpoint.
type access int

const (
	accessAnyone       access = iota // a credential is not needed, but must be good
	accessApp                        // the App's JSON web token
	accessInstallation               // an installation's token
	accessDownload                   // the address itself is the credential
)

// endpoint is one operation of the API.
type endpoint struct {
	method   string
	template route.Template
	access   access
	// needs lists permissions of which one suffices, such as "checks=write".
	needs []string
	// creates marks what GitHub counts as creating content.
	creates bool
	handle  func(*call) (reply, error)
}

// multiSegment names the parameters that hold raw slashes where GitHub's
// description marks them x-multi-segment.
func multiSegment(param string) bool {
	switch param {
	case "path", "ref", "tree_sha", "commit_sha", "basehead", "branch", "sha":
		return true
	}
	return false
}

// match returns the endpoint for a path, nil when there is none.
func (s *Server) match(method, path string) (*endpoint, map[string]string) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	var best *endpoint
	var bestParams map[string]string
	for i := range s.routes {
		rt := &s.routes[i]
		if rt.method != method || best != nil && rt.template.Literals() <= best.template.Literals() {
			continue
		}
		if params, ok := rt.template.Match(path); ok {
			best, bestParams = rt, params
		}
	}
	return best, bestParams
}

// routes is the table of all endpoints.
func routes() []endpoint {
	var table []endpoint
	add := func(method, path string, a access, handle func(*call) (reply, error), needs ...string) *endpoint {
		table = append(table, endpoint{
			method: method, template: route.Parse(path, multiSegment), access: a, handle: handle, needs: needs,
		})
		return &table[len(table)-1]
	}
	app := func(method, path string, handle func(*call) (reply, error)) { add(method, path, accessApp, handle) }
	anyone := func(method, path string, handle func(*call) (reply, error)) { add(method, path, accessAnyone, handle) }
	repo := func(method, path string, handle func(*call) (reply, error), needs ...string) *endpoint {
		return add(method, "/repos/{owner}/{repo}"+path, accessInstallation, handle, needs...)
	}
	const get, post, patch, put, del = http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodPut, http.MethodDelete

	app(get, "/app", (*call).getApp)
	app(get, "/app/hook/config", (*call).getHookConfig)
	app(patch, "/app/hook/config", (*call).updateHookConfig)
	app(get, "/app/hook/deliveries", (*call).listDeliveries)
	app(get, "/app/hook/deliveries/{delivery_id}", (*call).getDelivery)
	app(post, "/app/hook/deliveries/{delivery_id}/attempts", (*call).redeliver)
	app(get, "/app/installations", (*call).listInstallations)
	app(get, "/app/installations/{installation_id}", (*call).getInstallation)
	app(post, "/app/installations/{installation_id}/access_tokens", (*call).createToken)
	app(get, "/repos/{owner}/{repo}/installation", (*call).getRepoInstallation)
	app(get, "/orgs/{org}/installation", (*call).getOwnerInstallation)
	app(get, "/users/{username}/installation", (*call).getOwnerInstallation)
	anyone(post, "/app-manifests/{code}/conversions", (*call).convertManifest)
	anyone(get, "/meta", (*call).getMeta)
	anyone(get, "/rate_limit", (*call).getRateLimit)
	anyone(get, "/versions", (*call).getVersions)
	anyone(get, "/users/{username}", (*call).getUser)
	add(get, "/installation/repositories", accessInstallation, (*call).listInstallationRepos)
	add(del, "/installation/token", accessInstallation, (*call).revokeToken)
	add(get, "/_codeload/{ticket}", accessDownload, nil)

	repo(get, "", (*call).getRepo, "metadata=read")
	repo(get, "/branches/{branch}", (*call).getBranch, "contents=read")
	repo(get, "/contents", (*call).getContents, "contents=read")
	repo(get, "/contents/", (*call).getContents, "contents=read")
	repo(get, "/contents/{path}", (*call).getContents, "contents=read")
	repo(get, "/tarball/{ref}", (*call).getTarball, "contents=read")
	repo(get, "/zipball/{ref}", (*call).getZipball, "contents=read")
	repo(get, "/git/blobs/{file_sha}", (*call).getBlob, "contents=read")
	repo(get, "/git/trees/{tree_sha}", (*call).getTree, "contents=read")
	repo(get, "/git/commits/{commit_sha}", (*call).getGitCommit, "contents=read")
	repo(get, "/git/ref/{ref}", (*call).getRef, "contents=read")
	repo(get, "/git/matching-refs/{ref}", (*call).listMatchingRefs, "contents=read")
	repo(get, "/commits", (*call).listCommits, "contents=read")
	repo(get, "/commits/{ref}", (*call).getCommit, "contents=read")
	repo(get, "/compare/{basehead}", (*call).compare, "contents=read")

	repo(get, "/pulls", (*call).listPulls, "pull_requests=read")
	repo(get, "/pulls/{pull_number}", (*call).getPull, "pull_requests=read", "contents=read")
	repo(get, "/pulls/{pull_number}/commits", (*call).listPullCommits, "pull_requests=read")
	repo(get, "/pulls/{pull_number}/files", (*call).listPullFiles, "pull_requests=read")
	repo(get, "/pulls/{pull_number}/reviews", (*call).listReviews, "pull_requests=read")
	repo(get, "/commits/{commit_sha}/pulls", (*call).listCommitPulls, "pull_requests=read", "contents=read")

	repo(post, "/check-runs", (*call).createCheckRun, "checks=write").creates = true
	repo(get, "/check-runs/{check_run_id}", (*call).getCheckRun, "checks=read")
	repo(patch, "/check-runs/{check_run_id}", (*call).updateCheckRun, "checks=write")
	repo(get, "/check-runs/{check_run_id}/annotations", (*call).listAnnotations, "checks=read")
	repo(post, "/check-runs/{check_run_id}/rerequest", (*call).rerequestCheckRun, "checks=write")
	repo(post, "/check-suites", (*call).createCheckSuite, "checks=write")
	repo(patch, "/check-suites/preferences", (*call).setCheckSuitePreferences, "checks=write")
	repo(get, "/check-suites/{check_suite_id}", (*call).getCheckSuite, "checks=read")
	repo(get, "/check-suites/{check_suite_id}/check-runs", (*call).listSuiteCheckRuns, "checks=read")
	repo(post, "/check-suites/{check_suite_id}/rerequest", (*call).rerequestCheckSuite, "checks=write")
	repo(get, "/commits/{ref}/check-runs", (*call).listRefCheckRuns, "checks=read")
	repo(get, "/commits/{ref}/check-suites", (*call).listRefCheckSuites, "checks=read")
	repo(post, "/statuses/{sha}", (*call).createStatus, "statuses=write")
	repo(get, "/commits/{ref}/status", (*call).getCombinedStatus, "statuses=read")
	repo(get, "/commits/{ref}/statuses", (*call).listStatuses, "statuses=read")

	readIssue := []string{"issues=read", "pull_requests=read"}
	writeIssue := []string{"issues=write", "pull_requests=write"}
	repo(get, "/issues/{issue_number}", (*call).getIssue, readIssue...)
	repo(get, "/issues/{issue_number}/comments", (*call).listComments, readIssue...)
	repo(post, "/issues/{issue_number}/comments", (*call).createComment, writeIssue...).creates = true
	repo(get, "/issues/comments", (*call).listRepoComments, readIssue...)
	repo(get, "/issues/comments/{comment_id}", (*call).getComment, readIssue...)
	repo(patch, "/issues/comments/{comment_id}", (*call).updateComment, writeIssue...)
	repo(del, "/issues/comments/{comment_id}", (*call).deleteComment, writeIssue...)
	repo(get, "/issues/comments/{comment_id}/reactions", (*call).listCommentReactions, readIssue...)
	repo(post, "/issues/comments/{comment_id}/reactions", (*call).createCommentReaction, writeIssue...)
	repo(del, "/issues/comments/{comment_id}/reactions/{reaction_id}", (*call).deleteCommentReaction, writeIssue...)
	repo(get, "/issues/{issue_number}/reactions", (*call).listIssueReactions, readIssue...)
	repo(post, "/issues/{issue_number}/reactions", (*call).createIssueReaction, writeIssue...)
	repo(del, "/issues/{issue_number}/reactions/{reaction_id}", (*call).deleteIssueReaction, writeIssue...)
	repo(get, "/issues/{issue_number}/labels", (*call).listIssueLabels, readIssue...)
	repo(post, "/issues/{issue_number}/labels", (*call).addIssueLabels, writeIssue...)
	repo(put, "/issues/{issue_number}/labels", (*call).setIssueLabels, writeIssue...)
	repo(del, "/issues/{issue_number}/labels/{name}", (*call).removeIssueLabel, writeIssue...)
	repo(get, "/labels", (*call).listLabels, readIssue...)
	repo(post, "/labels", (*call).createLabel, writeIssue...)
	repo(get, "/labels/{name}", (*call).getLabel, readIssue...)
	repo(patch, "/labels/{name}", (*call).updateLabel, writeIssue...)
	repo(del, "/labels/{name}", (*call).deleteLabel, writeIssue...)
	repo(get, "/collaborators/{username}", (*call).checkCollaborator, "metadata=read")
	repo(get, "/collaborators/{username}/permission", (*call).getPermission, "metadata=read")
	return table
}
