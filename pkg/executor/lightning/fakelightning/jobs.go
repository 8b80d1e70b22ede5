package fakelightning

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// jobSpec is what a client may ask for.
type jobSpec struct {
	InstanceName                string   `json:"instanceName"`
	ClusterID                   string   `json:"clusterId"`
	CloudspaceID                string   `json:"cloudspaceId"`
	RunID                       string   `json:"runId"`
	Image                       string   `json:"image"`
	ImageSecretRef              string   `json:"imageSecretRef"`
	ImageClusterCredentials     bool     `json:"imageClusterCredentials"`
	Entrypoint                  string   `json:"entrypoint"`
	Command                     string   `json:"command"`
	Env                         []envVar `json:"env"`
	Spot                        bool     `json:"spot"`
	MaxRunAttempts              int      `json:"maxRunAttempts"`
	ShutdownTimeoutSeconds      int      `json:"shutdownTimeoutSeconds"`
	RequestedRunDurationSeconds string   `json:"requestedRunDurationSeconds"`
}

type envVar struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// job is a job as the service has it.
type job struct {
	server *Server
	script Script
	spec   jobSpec
	id     string
	name   string

	state     string
	steps     []Step
	created   time.Time
	started   time.Time
	logsBegan time.Time
	stopped   time.Time
	restarts  int
	notice    bool
	message   string
	fault     string
	deleted   bool

	machine *machine
	ran     bool // to its end
	code    int
	asked   bool // to stop
	closed  bool // with the server: nothing runs any more
	lines   []line
	unsaved int // how often the saved log is not there yet
}

// Job is a job as a test looks at it.
type Job struct {
	ID, Name, State, Command, Image, Instance string
	Env                                       map[string]string
	Spot, Asked                               bool
	MaxRunAttempts                            int
}

// Jobs returns the jobs that were not deleted.
func (s *Server) Jobs() []Job {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Job
	for _, j := range s.jobs {
		if j.deleted {
			continue
		}
		env := map[string]string{}
		for _, v := range j.spec.Env {
			env[v.Name] = v.Value
		}
		list = append(list, Job{
			j.id, j.name, j.state, j.spec.Command, j.spec.Image, j.spec.InstanceName, env,
			j.spec.Spot, j.asked, j.spec.MaxRunAttempts,
		})
	}
	return list
}

var notSlug = regexp.MustCompile(`[^a-z0-9]+`)

func slug(name string) string {
	return strings.Trim(notSlug.ReplaceAllString(strings.ToLower(name), "-"), "-")
}

// free is the name, or another one where it is taken: the service refuses none.
func (s *Server) free(name string, but *job) string {
	name = slug(name)
	if slices.ContainsFunc(s.jobs, func(j *job) bool { return j != but && !j.deleted && j.name == name }) {
		return name + "-" + letters(3)
	}
	return name
}

func (s *Server) create(r call) (any, error) {
	var body struct {
		Name string   `json:"name"`
		Spec *jobSpec `json:"spec"`
	}
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	spec := body.Spec
	switch {
	case spec == nil:
		return nil, fail(http.StatusBadRequest, "spec is required")
	case slug(body.Name) == "":
		return nil, fail(http.StatusBadRequest, "name is required")
	case spec.InstanceName == "" || strings.HasPrefix(spec.InstanceName, "no-such"):
		return nil, fail(http.StatusBadRequest, "accelerator %q not found in cluster", spec.InstanceName)
	case (spec.Image == "") == (spec.CloudspaceID == ""):
		return nil, fail(http.StatusBadRequest, "one of image and cloudspaceId is required")
	case spec.InstanceName == restricted:
		return nil, fail(http.StatusForbidden, "machine %s is not allowed on your plan", restricted)
	}
	script := scriptOf(*spec)
	j := &job{
		server: s, script: script, spec: *spec, id: "job_" + letters(12), name: s.free(body.Name, nil),
		state: "pending", steps: slices.Clone(script.Before), created: s.now(), unsaved: s.options.SavedAfter,
	}
	s.jobs = append(s.jobs, j)
	return j.view(true), nil
}

// view is the job as the service writes it.
func (j *job) view(env bool) map[string]any {
	stamp := func(t time.Time) string {
		if t.IsZero() {
			return "0001-01-01T00:00:00Z"
		}
		return t.Format(time.RFC3339Nano)
	}
	variables := j.spec.Env
	if !env {
		variables = nil
	}
	spec := map[string]any{
		"instanceName": j.spec.InstanceName, "image": j.spec.Image, "command": j.spec.Command, "entrypoint": j.spec.Entrypoint,
		"env": variables, "spot": j.spec.Spot, "maxRunAttempts": j.spec.MaxRunAttempts,
		"shutdownTimeoutSeconds": j.spec.ShutdownTimeoutSeconds, "requestedRunDurationSeconds": "0",
		"volumes": []any{}, "quantity": nil,
	}
	v := map[string]any{
		"id": j.id, "name": j.name, "projectId": projectID, "spec": spec, "state": j.state,
		"message": j.message, "serverError": j.fault, "createdAt": stamp(j.created), "updatedAt": stamp(j.created),
		"startedAt": stamp(j.started), "userLogsStartedAt": stamp(j.logsBegan), "stoppedAt": stamp(j.stopped),
		"restartCount": j.restarts, "interruptionNoticeReceived": j.notice, "totalCost": 0.0,
	}
	if j.stopped.IsZero() {
		delete(v, "stoppedAt")
	}
	return v
}

// find is the job of an id that a client may see.
func (s *Server) find(id string) (*job, error) {
	for _, j := range s.jobs {
		if j.id == id && (!j.deleted || s.options.KeepDeleted) {
			return j, nil
		}
	}
	return nil, fail(http.StatusNotFound, "job not found")
}

func (s *Server) get(id string) (any, error) {
	j, err := s.find(id)
	if err != nil {
		return nil, err
	}
	j.advance()
	if j.deleted && !s.options.KeepDeleted {
		return nil, fail(http.StatusNotFound, "job not found")
	}
	return j.view(true), nil
}

func (s *Server) named(name string) (any, error) {
	for _, j := range s.jobs {
		if j.name == name && !j.deleted {
			j.advance()
			return j.view(!s.options.NoEnv), nil
		}
	}
	return nil, fail(http.StatusNotFound, "job not found")
}

func (s *Server) list(r call) (any, error) {
	query := r.URL.Query()
	if query.Get("standalone") != "true" {
		return nil, fail(http.StatusBadRequest, "standalone is expected here")
	}
	limit := s.options.PageJobs
	if n, err := strconv.Atoi(query.Get("limit")); err == nil && n > 0 {
		limit = min(limit, n)
	}
	begin := 0
	if token := query.Get("pageToken"); token != "" {
		begin = slices.IndexFunc(s.jobs, func(j *job) bool { return "after-"+j.id == token }) + 1
		if begin == 0 {
			return nil, fail(http.StatusBadRequest, "pageToken is unknown")
		}
	}
	page, next := []any{}, ""
	for i := begin; i < len(s.jobs); i++ {
		j := s.jobs[i]
		if j.deleted {
			continue
		}
		if len(page) == limit {
			break
		}
		j.advance()
		page = append(page, j.view(!s.options.NoEnv))
		next = "after-" + j.id
		if i == len(s.jobs)-1 {
			next = ""
		}
	}
	return map[string]any{"jobs": page, "nextPageToken": next, "previousPageToken": ""}, nil
}

func terminal(state string) bool {
	return state == "completed" || state == "failed" || state == "stopped" || state == "deleted"
}

func (s *Server) put(r call, id string) (any, error) {
	var body struct {
		State string `json:"state"`
		Name  string `json:"name"`
	}
	if err := decode(r, &body); err != nil {
		return nil, err
	}
	j, err := s.find(id)
	if err != nil {
		return nil, err
	}
	switch {
	case body.State == "" && slug(body.Name) == "":
		return nil, fail(http.StatusBadRequest, "nothing to change")
	case body.State == "" || body.State == "stop" && terminal(j.state) || body.State == "stopped" && j.state == "stopped":
	case body.State == "stop":
		j.stop()
	default:
		return nil, fail(http.StatusBadRequest, "state %q cannot be asked for", body.State)
	}
	if body.Name != "" {
		j.name = s.free(body.Name, j)
	}
	return j.view(true), nil
}

func (s *Server) remove(id string) (any, error) {
	j, err := s.find(id)
	if err != nil {
		return nil, err
	}
	if !terminal(j.state) {
		return nil, fail(http.StatusBadRequest, "job %s is running: stop it first", j.name)
	}
	j.deleted, j.state = true, "deleted"
	return map[string]any{}, nil
}

// stop begins the end, as the service does: by what was asked for, then by what is.
func (j *job) stop() {
	if j.asked {
		return
	}
	j.asked, j.state = true, "stop"
	j.steps = []Step{{"stop", 1}, {"stopping", 1}}
	if j.machine != nil {
		j.machine.terminate(time.Duration(j.spec.ShutdownTimeoutSeconds) * time.Second)
	}
}

// advance is called for each read: the job moves on by it, as far as its process lets.
func (j *job) advance() {
	if terminal(j.state) || j.closed {
		return
	}
	if j.script.Take && j.machine != nil && !j.asked && j.restarts == 0 && j.printed() {
		j.notice = j.script.Notice
		j.machine.kill()
	}
	if len(j.steps) > 0 {
		step := &j.steps[0]
		j.state = step.State
		if step.State == "creating" && j.started.IsZero() {
			j.started = j.server.now()
		}
		if step.Reads--; step.Reads <= 0 {
			j.steps = j.steps[1:]
		}
		return
	}
	switch {
	case j.machine != nil: // it runs
		if !j.asked {
			j.state = "running"
		}
	case j.asked:
		j.end("stopped")
	case !j.ran && !j.script.NoRun:
		j.begin()
	case j.script.Vanish:
		j.deleted, j.state = true, "deleted"
	case j.script.Final != "":
		j.end(j.script.Final)
	case j.code != 0:
		j.message = fmt.Sprintf("command failed with exit code %d", j.code)
		j.end("failed")
	default:
		j.end("completed")
	}
}

// begin runs the job.
func (j *job) begin() {
	j.state = "running"
	if j.started.IsZero() {
		j.started = j.server.now()
	}
	if err := j.boot(); err != nil {
		j.fault = err.Error()
		j.end("failed")
	}
}

// ended is called when the job's machine is gone.
func (j *job) ended(code int) {
	j.machine, j.code = nil, code
	switch {
	case j.asked:
	case j.script.Take && j.script.Restart && j.restarts == 0:
		j.restarts++
		j.steps = []Step{{"restarting", 2}}
		j.state = "restarting"
	default:
		j.ran = true
		j.steps = slices.Clone(j.script.After)
		if len(j.steps) == 0 && j.code == 0 {
			j.steps = []Step{{"complete", 1}}
		} else if len(j.steps) == 0 {
			j.steps = []Step{{"fail", 1}}
		}
		if j.script.Mute && len(j.lines) > 0 {
			j.lines = j.lines[:len(j.lines)-1]
		}
	}
}

func (j *job) end(state string) {
	j.state, j.stopped = state, j.server.now()
	if j.script.Message != "" && !j.asked {
		j.message = j.script.Message
	}
	if j.script.ServerError != "" {
		j.fault = j.script.ServerError
	}
}

func (j *job) kill() {
	if j.machine != nil {
		j.machine.kill()
	}
}
