package fakegithub

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// suite holds the check runs of one App on one commit.
type suite struct {
	id        int64
	appID     int64
	headSHA   string
	createdAt time.Time
	reset     bool // somebody asked to run it again, and nothing has run since
}

// suiteOf returns an App's suite on a commit, made when missing. s.mu is held.
func (s *Server) suiteOf(r *repo, appID int64, sha string) *suite {
	for _, have := range r.suites {
		if have.appID == appID && have.headSHA == sha {
			return have
		}
	}
	made := &suite{id: s.id(), appID: appID, headSHA: sha, createdAt: s.now()}
	r.suites = append(r.suites, made)
	return made
}

// latest lists the newest run of each name in the suite.
func (r *repo) latest(of *suite) []*checkRun {
	var runs []*checkRun
	for _, run := range r.checkRuns {
		if run.suite == of {
			runs = append(runs, run)
		}
	}
	return checkFilter{}.apply(runs)
}

// verdict sums the latest runs up: the worst conclusion when all are complete.
func (r *repo) verdict(of *suite) (status, conclusion string) {
	runs := r.latest(of)
	if len(runs) == 0 || of.reset {
		return "queued", ""
	}
	worst := []string{"failure", "timed_out", "action_required", "cancelled", "success", "neutral", "skipped"}
	best := len(worst) - 1
	complete, started := true, false
	for _, run := range runs {
		complete = complete && run.status == "completed"
		started = started || run.status != "queued"
		if at := slices.Index(worst, run.conclusion); at >= 0 {
			best = min(best, at)
		}
	}
	switch {
	case complete:
		return "completed", worst[best]
	case started:
		return "in_progress", ""
	}
	return "queued", ""
}

// headBranch names a branch of the repository whose pull request or tip is at
// the commit; "" for forks.
func (r *repo) headBranch(sha string) string {
	for _, p := range r.pulls {
		if p.headSHA == sha && p.headRepo == r {
			return p.headRef
		}
	}
	names := []string{}
	for ref, tip := range r.tips {
		if name, isBranch := strings.CutPrefix(ref, "refs/heads/"); isBranch && tip == sha {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names[:min(1, len(names))], "")
}

// suiteObject renders a suite but for its head commit, which is read from
// git. s.mu is held.
func (s *Server) suiteObject(l links, r *repo, of *suite) object {
	status, conclusion := r.verdict(of)
	url := fmt.Sprintf("%s/repos/%s/check-suites/%d", l.api, r.fullName(), of.id)
	return object{
		"id": of.id, "node_id": nodeID("CS", of.id), "head_branch": orNil(r.headBranch(of.headSHA)), "head_sha": of.headSHA,
		"status": status, "conclusion": orNil(conclusion), "url": url, "before": nil, "after": of.headSHA,
		"pull_requests": l.pullsAt(r, of.headSHA), "app": s.appOf(l, of.appID), "repository": l.repo(r),
		"created_at": of.createdAt, "updated_at": of.createdAt, "rerequestable": true, "runs_rerequestable": true,
		"latest_check_runs_count": len(r.latest(of)), "check_runs_url": url + "/check-runs",
	}
}

// withHead completes a suite with its head commit. s.mu is not held.
func (c *call) withHead(shown object) (object, error) {
	head, err := c.repo.git.commit(c.r.Context(), shown["head_sha"].(string))
	if err != nil {
		return nil, err
	}
	shown["head_commit"] = simpleCommit(head)
	return shown, nil
}

// simpleCommit renders a commit as suites and pushes carry it.
func simpleCommit(c commit) object {
	who := func(s signature) object { return object{"name": s.name, "email": s.email} }
	return object{
		"id": c.sha, "tree_id": c.tree, "message": c.message, "timestamp": c.committer.at,
		"author": who(c.author), "committer": who(c.committer),
	}
}

// suiteOfPath returns the suite that the path names. s.mu is held.
func (c *call) suiteOfPath() (*suite, error) {
	id, err := strconv.ParseInt(c.params["check_suite_id"], 10, 64)
	if err != nil {
		return nil, notFound()
	}
	for _, have := range c.repo.suites {
		if have.id == id {
			return have, nil
		}
	}
	return nil, notFound()
}

func (c *call) createCheckSuite() (reply, error) {
	var in struct {
		HeadSHA *string `json:"head_sha"`
	}
	if err := c.decode(&in); err != nil {
		return reply{}, err
	}
	f := &faultsOf{resource: "CheckSuite"}
	f.require("head_sha", in.HeadSHA)
	if err := f.err(); err != nil {
		return reply{}, err
	}
	held, err := c.s.holds(c.r.Context(), c.repo, *in.HeadSHA)
	if err != nil {
		return reply{}, err
	}
	if !held {
		return reply{}, noSuchCommit(*in.HeadSHA)
	}
	s := c.s
	s.mu.Lock()
	before := len(c.repo.suites)
	made := s.suiteOf(c.repo, s.cfg.AppID, *in.HeadSHA)
	status := http.StatusOK
	if len(c.repo.suites) > before {
		status = http.StatusCreated
	}
	shown := s.suiteObject(c.urls, c.repo, made)
	s.mu.Unlock()
	shown, err = c.withHead(shown)
	return reply{status: status, body: shown}, err
}

// setCheckSuitePreferences takes note of nothing: suites are made when a run
// needs one.
func (c *call) setCheckSuitePreferences() (reply, error) {
	var in struct {
		AutoTrigger []struct {
			AppID   int64 `json:"app_id"`
			Setting bool  `json:"setting"`
		} `json:"auto_trigger_checks"`
	}
	if err := c.decode(&in); err != nil {
		return reply{}, err
	}
	settings := []object{}
	for _, one := range in.AutoTrigger {
		settings = append(settings, object{"app_id": one.AppID, "setting": one.Setting})
	}
	return ok(object{"preferences": object{"auto_trigger_checks": settings}, "repository": c.urls.repo(c.repo)})
}

func (c *call) getCheckSuite() (reply, error) {
	c.s.mu.Lock()
	of, err := c.suiteOfPath()
	if err != nil {
		c.s.mu.Unlock()
		return reply{}, err
	}
	shown := c.s.suiteObject(c.urls, c.repo, of)
	c.s.mu.Unlock()
	shown, err = c.withHead(shown)
	if err != nil {
		return reply{}, err
	}
	return ok(shown)
}

func (c *call) listSuiteCheckRuns() (reply, error) {
	c.s.mu.Lock()
	of, err := c.suiteOfPath()
	c.s.mu.Unlock()
	if err != nil {
		return reply{}, err
	}
	return c.listCheckRuns(func(run *checkRun) bool { return run.suite == of })
}

func (c *call) listRefCheckSuites() (reply, error) {
	sha, err := c.commitOf(c.params["ref"], noSuchCommit(c.params["ref"]))
	if err != nil {
		return reply{}, err
	}
	q := c.r.URL.Query()
	c.s.mu.Lock()
	found := []object{}
	for _, of := range c.repo.suites {
		named := q.Get("check_name") == "" ||
			slices.ContainsFunc(c.repo.latest(of), func(run *checkRun) bool { return run.name == q.Get("check_name") })
		if of.headSHA == sha && named && (q.Get("app_id") == "" || q.Get("app_id") == strconv.FormatInt(of.appID, 10)) {
			found = append(found, c.s.suiteObject(c.urls, c.repo, of))
		}
	}
	c.s.mu.Unlock()
	for _, shown := range found {
		if _, err := c.withHead(shown); err != nil {
			return reply{}, err
		}
	}
	return listed(c, "check_suites", found, func(o object) any { return o })
}

// rerequestCheckSuite does as the button "Re-run all checks".
func (c *call) rerequestCheckSuite() (reply, error) {
	s := c.s
	s.mu.Lock()
	of, err := c.suiteOfPath()
	if err != nil {
		s.mu.Unlock()
		return reply{}, err
	}
	of.reset = true
	shown := s.suiteObject(s.linksHeld(""), c.repo, of)
	s.mu.Unlock()
	if shown, err = c.withHead(shown); err != nil {
		return reply{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if of.appID == s.cfg.AppID {
		payload := s.event(c.repo, "rerequested", s.bot())
		payload["check_suite"] = shown
		s.emit("check_suite", payload)
	}
	return created(object{})
}
