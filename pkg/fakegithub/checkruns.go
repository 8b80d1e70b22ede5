package fakegithub

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// checkRun is one run of a check on a commit.
type checkRun struct {
	id          int64
	appID       int64
	name        string
	headSHA     string
	externalID  string
	detailsURL  string
	status      string
	conclusion  string
	startedAt   time.Time
	completedAt *time.Time
	title       *string
	summary     *string
	text        *string
	annotations []annotationInput
	actions     []actionInput
	suite       *suite
}

// CheckRun is a check run as GitHub shows it.
type CheckRun struct {
	ID           int64       `json:"id"`
	NodeID       string      `json:"node_id"`
	Name         string      `json:"name"`
	HeadSHA      string      `json:"head_sha"`
	ExternalID   string      `json:"external_id"`
	URL          string      `json:"url"`
	HTMLURL      string      `json:"html_url"`
	DetailsURL   string      `json:"details_url"`
	Status       string      `json:"status"`
	Conclusion   *string     `json:"conclusion"`
	StartedAt    time.Time   `json:"started_at"`
	CompletedAt  *time.Time  `json:"completed_at"`
	Output       CheckOutput `json:"output"`
	CheckSuite   object      `json:"check_suite"`
	App          object      `json:"app"`
	PullRequests []object    `json:"pull_requests"` // always empty for forks
}

// CheckOutput is what a check run says.
type CheckOutput struct {
	Title            *string `json:"title"`
	Summary          *string `json:"summary"`
	Text             *string `json:"text"`
	AnnotationsCount int     `json:"annotations_count"`
	AnnotationsURL   string  `json:"annotations_url"`
}

// checkRun renders a check run. s.mu is held.
func (s *Server) checkRun(l links, r *repo, run *checkRun) CheckRun {
	url := fmt.Sprintf("%s/repos/%s/check-runs/%d", l.api, r.fullName(), run.id)
	html := fmt.Sprintf("%s/%s/runs/%d", l.web, r.fullName(), run.id)
	details := run.detailsURL
	if details == "" {
		details = l.web // the App's homepage
	}
	return CheckRun{
		ID: run.id, NodeID: nodeID("CR", run.id), Name: run.name, HeadSHA: run.headSHA, ExternalID: run.externalID,
		URL: url, HTMLURL: html, DetailsURL: details, Status: run.status, Conclusion: orNil(run.conclusion),
		StartedAt: run.startedAt, CompletedAt: run.completedAt,
		Output: CheckOutput{
			Title: run.title, Summary: run.summary, Text: run.text,
			AnnotationsCount: len(run.annotations), AnnotationsURL: url + "/annotations",
		},
		CheckSuite: object{"id": run.suite.id}, App: s.appOf(l, run.appID), PullRequests: l.pullsAt(r, run.headSHA),
	}
}

// appOf renders the App that owns a check run: this one, or a foreign one.
func (s *Server) appOf(l links, id int64) object {
	shown := s.app(l)
	if id != s.cfg.AppID {
		slug := fmt.Sprintf("app-%d", id)
		shown["id"], shown["slug"], shown["name"], shown["node_id"] = id, slug, slug, nodeID("A", id)
		shown["html_url"], shown["client_id"] = l.web+"/apps/"+slug, "Iv23li"+slug
	}
	return shown
}

// pullsAt lists the open pull requests whose head is the commit on a branch
// of the repository itself: none from forks.
func (l links) pullsAt(r *repo, sha string) []object {
	shown := []object{}
	for _, p := range r.pulls {
		if p.closedAt != nil || p.headSHA != sha || p.headRepo != r {
			continue
		}
		where := object{"id": r.ID, "url": l.api + "/repos/" + r.fullName(), "name": *r.name.Load()}
		shown = append(shown, object{
			"id": p.id, "number": p.number, "url": fmt.Sprintf("%s/repos/%s/pulls/%d", l.api, r.fullName(), p.number),
			"head": object{"ref": p.headRef, "sha": p.headSHA, "repo": where},
			"base": object{"ref": p.baseRef, "sha": p.baseSHA, "repo": where},
		})
	}
	return shown
}

func (c *call) createCheckRun() (reply, error) {
	var in checkInput
	if err := c.decode(&in); err != nil {
		return reply{}, err
	}
	if err := in.validate(true); err != nil {
		return reply{}, err
	}
	s := c.s
	held, err := s.holds(c.r.Context(), c.repo, *in.HeadSHA)
	if err != nil {
		return reply{}, err
	}
	if !held {
		return reply{}, noSuchCommit(*in.HeadSHA)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	run := s.newCheckRun(c.repo, s.cfg.AppID, *in.HeadSHA, *in.Name)
	in.apply(run, s.now())
	shown := s.checkRun(c.urls, c.repo, run)
	s.emitCheckRun(c.repo, run, "created", nil)
	if run.status == "completed" {
		s.emitCheckRun(c.repo, run, "completed", nil)
	}
	return created(shown)
}

// newCheckRun adds a queued check run. s.mu is held.
func (s *Server) newCheckRun(r *repo, appID int64, sha, name string) *checkRun {
	run := &checkRun{
		id: s.id(), appID: appID, name: name, headSHA: sha, status: "queued", startedAt: s.now(), suite: s.suiteOf(r, appID, sha),
	}
	r.checkRuns = append(r.checkRuns, run)
	return run
}

// AddForeignCheckRun adds a queued check run of another App, which this one
// may see but not change, and returns its id.
func (s *Server) AddForeignCheckRun(owner, name, sha, checkName string, appID int64) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.find(owner, name)
	if err != nil {
		return 0, err
	}
	return s.newCheckRun(r, appID, sha, checkName).id, nil
}

// checkRunOf returns the check run that the path names. s.mu is held.
func (c *call) checkRunOf() (*checkRun, error) {
	id, err := strconv.ParseInt(c.params["check_run_id"], 10, 64)
	if err != nil {
		return nil, notFound()
	}
	for _, run := range c.repo.checkRuns {
		if run.id == id {
			return run, nil
		}
	}
	return nil, notFound()
}

func (c *call) getCheckRun() (reply, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	run, err := c.checkRunOf()
	if err != nil {
		return reply{}, err
	}
	return ok(c.s.checkRun(c.urls, c.repo, run))
}

func (c *call) updateCheckRun() (reply, error) {
	var in checkInput
	if err := c.decode(&in); err != nil {
		return reply{}, err
	}
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	run, err := c.checkRunOf()
	if err != nil {
		return reply{}, err
	}
	if run.appID != s.cfg.AppID {
		return reply{}, refuse(http.StatusForbidden, fmt.Sprintf("Invalid app_id `%d` - check run can only be modified by the GitHub App that created it.", s.cfg.AppID))
	}
	if err := in.validate(false); err != nil {
		return reply{}, err
	}
	before := run.status
	in.apply(run, s.now())
	if run.status == "completed" && before != "completed" {
		s.emitCheckRun(c.repo, run, "completed", nil)
	}
	return ok(s.checkRun(c.urls, c.repo, run))
}

func (c *call) listAnnotations() (reply, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	run, err := c.checkRunOf()
	if err != nil {
		return reply{}, err
	}
	shown := []object{}
	for _, a := range run.annotations {
		shown = append(shown, object{
			"path": a.Path, "start_line": a.StartLine, "end_line": a.EndLine, "start_column": a.StartColumn, "end_column": a.EndColumn,
			"annotation_level": a.Level, "title": a.Title, "message": a.Message, "raw_details": a.RawDetails,
			"blob_href": c.repoURL("/contents/" + *a.Path + "?ref=" + run.headSHA),
		})
	}
	return list(c, shown)
}

// rerequestCheckRun does as the button "Re-run": it resets the suite, not the
// run, and tells the App.
func (c *call) rerequestCheckRun() (reply, error) {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	run, err := c.checkRunOf()
	if err != nil {
		return reply{}, err
	}
	if run.appID != s.cfg.AppID {
		return reply{}, refuse(http.StatusForbidden, "This check run is not owned by the authenticated app")
	}
	run.suite.reset = true
	s.emitCheckRun(c.repo, run, "rerequested", nil)
	return created(object{})
}

// emitCheckRun sends a check_run event to the App, if it owns the run. s.mu
// is held.
func (s *Server) emitCheckRun(r *repo, run *checkRun, action string, sender *user) {
	if run.appID == s.cfg.AppID {
		s.emit("check_run", s.checkRunEvent(r, run, action, sender))
	}
}

// checkRunEvent is the payload of a check_run event; the sender is the App's
// bot where nobody is named. s.mu is held.
func (s *Server) checkRunEvent(r *repo, run *checkRun, action string, sender *user) object {
	if sender == nil {
		sender = s.bot()
	}
	l := s.linksHeld("")
	shown := s.checkRun(l, r, run)
	shown.CheckSuite = s.suiteObject(l, r, run.suite)
	payload := s.event(r, action, sender)
	payload["check_run"] = shown
	return payload
}

// checkFilter is what a list of check runs is narrowed by.
type checkFilter struct {
	name, status, filter, appID string
}

// filterOf reads a list's parameters; by default only the latest run of each
// name and App counts.
func (c *call) filterOf() (checkFilter, error) {
	q := c.r.URL.Query()
	f := checkFilter{name: q.Get("check_name"), status: q.Get("status"), filter: q.Get("filter"), appID: q.Get("app_id")}
	if f.filter != "" && f.filter != "latest" && f.filter != "all" {
		return f, schemaError("%q is not a filter: latest or all", f.filter)
	}
	if f.status != "" && !slices.Contains([]string{"queued", "in_progress", "completed"}, f.status) {
		return f, schemaError("%q is not a status: queued, in_progress or completed", f.status)
	}
	if _, err := strconv.ParseInt(f.appID, 10, 64); f.appID != "" && err != nil {
		return f, schemaError("%q is not an app_id", f.appID)
	}
	return f, nil
}

// apply lists the runs that pass, newest first.
func (f checkFilter) apply(runs []*checkRun) []*checkRun {
	type key struct {
		appID int64
		name  string
	}
	seen := map[key]bool{}
	found := []*checkRun{}
	for _, run := range slices.Backward(runs) {
		k := key{run.appID, run.name}
		superseded := seen[k]
		seen[k] = true
		if superseded && f.filter != "all" || f.name != "" && run.name != f.name || f.status != "" && run.status != f.status {
			continue
		}
		if f.appID != "" && strconv.FormatInt(run.appID, 10) != f.appID {
			continue
		}
		found = append(found, run)
	}
	return found
}

func (c *call) listRefCheckRuns() (reply, error) {
	sha, err := c.commitOf(c.params["ref"], noSuchCommit(c.params["ref"]))
	if err != nil {
		return reply{}, err
	}
	return c.listCheckRuns(func(run *checkRun) bool { return run.headSHA == sha })
}

// listCheckRuns answers with the runs that belong and pass the filter.
func (c *call) listCheckRuns(belongs func(*checkRun) bool) (reply, error) {
	filter, err := c.filterOf()
	if err != nil {
		return reply{}, err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	var runs []*checkRun
	for _, run := range c.repo.checkRuns {
		if belongs(run) {
			runs = append(runs, run)
		}
	}
	return listed(c, "check_runs", filter.apply(runs), func(run *checkRun) any { return c.s.checkRun(c.urls, c.repo, run) })
}
