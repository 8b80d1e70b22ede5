// Package fakekubernetes is a strict double of the part of Kubernetes that runs jobs:
// the API's endpoints for Jobs, Pods, their logs, Secrets and Events with their real
// errors, the job controller, and a kubelet that runs the containers' commands as
// processes of this machine.
//
// A container's file system is this machine's. In a container's command, paths of
// volumes and of the termination message are replaced by folders of the pod's own.
//
// An image named "fake:NAME" makes the pod live through the scenario of that name.
package fakekubernetes

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options say what a cluster is like.
type Options struct {
	// Dir is where pods have their folders.
	Dir string
	// Namespace is the only one; empty means "ci".
	Namespace string
	// Token is the bearer token; empty means "fake-token".
	Token string
	// Rules are what the token may do; nil means everything that the double knows.
	Rules []Rule
	// Restricted refuses pods that are not of the restricted profile.
	Restricted bool
	// LogFile is the size at which a node begins a container's log anew, in bytes; zero
	// means 10 MiB. What was before is not served any more.
	LogFile int
	// Page bounds the objects of one page of a list; zero means no bound of its own.
	Page int
	// Path is the PATH of containers; empty means the usual one.
	Path string
}

// Rule allows verbs on resources, as a Role does.
type Rule struct {
	Groups    []string `yaml:"apiGroups"`
	Resources []string `yaml:"resources"`
	Verbs     []string `yaml:"verbs"`
}

// Request is one that was made.
type Request struct {
	Method, Path, Query, Body string
}

// Server is a cluster.
type Server struct {
	options Options
	running sync.WaitGroup

	mu         sync.Mutex
	changed    chan struct{} // closed when anything changes
	closed     bool
	version    int
	jobs       map[string]*jobState
	pods       map[string]*podState
	secrets    map[string]*secret
	events     []event
	pages      map[string]int
	faults     []*Fault
	released   map[string]bool
	requests   []Request
	violations []string
}

// New returns an empty cluster.
func New(options Options) *Server {
	if options.Namespace == "" {
		options.Namespace = "ci"
	}
	if options.Token == "" {
		options.Token = "fake-token"
	}
	if options.LogFile == 0 {
		options.LogFile = 10 << 20
	}
	if options.Path == "" {
		options.Path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	return &Server{
		options: options, changed: make(chan struct{}), jobs: map[string]*jobState{}, pods: map[string]*podState{},
		secrets: map[string]*secret{}, pages: map[string]int{}, released: map[string]bool{},
	}
}

// Options are the cluster's, with what was empty filled in.
func (s *Server) Options() Options { return s.options }

// Close ends all containers and waits for them.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for _, j := range s.jobs {
		j.quiet()
	}
	for _, p := range s.pods {
		p.vanish()
	}
	s.touch()
	s.mu.Unlock()
	s.running.Wait()
}

// Violations are requests that a client must not make.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}

// Requests are all that were made.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Secrets are the names of the Secrets that are there.
func (s *Server) Secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name := range s.secrets {
		names = append(names, name)
	}
	return names
}

// Pods is how many pods there are.
func (s *Server) Pods() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pods)
}

// touch tells everybody that something has changed. The lock is held.
func (s *Server) touch() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Server) nextVersion() string {
	s.version++
	return strconv.Itoa(s.version)
}

// newUID is one that nobody else has, in other clusters of this machine neither.
func newUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func now() time.Time { return time.Now().UTC().Truncate(time.Second) }

// apiError is an answer other than 2xx.
type apiError struct {
	code            int
	reason, message string
}

func (e *apiError) Error() string { return e.message }

func fail(code int, reason, format string, args ...any) error {
	return &apiError{code, reason, fmt.Sprintf(format, args...)}
}

func notFound(kind, name string) error {
	return fail(http.StatusNotFound, "NotFound", "%s %q not found", kind, name)
}

func invalid(kind, name, field, problem string) error {
	return fail(http.StatusUnprocessableEntity, "Invalid", "%s %q is invalid: %s: %s", kind, name, field, problem)
}

// call is a request that was taken apart.
type call struct {
	group, resource, name, sub string
	verb                       string
	request                    *http.Request
	body                       []byte
}

// ServeHTTP answers as an API server does.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 4<<20))
	if err != nil {
		return
	}
	s.mu.Lock()
	s.requests = append(s.requests, Request{r.Method, r.URL.Path, r.URL.RawQuery, string(body)})
	fault := s.fault(r)
	s.mu.Unlock()
	switch {
	case fault == nil:
		s.serve(w, r, body)
	case fault.Hang:
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	case fault.Expire:
		s.serve(w, r, body)
		s.mu.Lock()
		clear(s.pages)
		s.mu.Unlock()
	case fault.Lost:
		s.serve(httptest.NewRecorder(), r, body)
		panic(http.ErrAbortHandler)
	case fault.Status == 0:
		panic(http.ErrAbortHandler)
	default:
		writeError(w, fail(fault.Status, "Fault", "%s", fault.message(r, string(body))))
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, body []byte) {
	if r.Header.Get("Authorization") != "Bearer "+s.options.Token {
		writeError(w, fail(http.StatusUnauthorized, "Unauthorized", "Unauthorized"))
		return
	}
	if r.Method == http.MethodPost && r.URL.Path == reviewPath {
		answer, err := s.review(body)
		if err != nil {
			s.violate(r, err)
			writeError(w, err)
			return
		}
		writeJSON(w, http.StatusCreated, answer)
		return
	}
	c, err := s.parse(r, body)
	if err == nil {
		err = s.authorize(c)
	}
	if err != nil {
		s.violate(r, err)
		writeError(w, err)
		return
	}
	if c.sub == "log" {
		s.serveLog(w, c)
		return
	}
	answer, code, err := s.answer(c)
	if err != nil {
		if e, ok := errors.AsType[*apiError](err); ok && (e.code == http.StatusBadRequest || e.code == http.StatusUnsupportedMediaType) {
			s.violate(r, err)
		}
		writeError(w, err)
		return
	}
	writeJSON(w, code, answer)
}

func (s *Server) violate(r *http.Request, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.violations = append(s.violations, r.Method+" "+r.URL.Path+": "+err.Error())
}

func writeJSON(w http.ResponseWriter, code int, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		code, data = http.StatusInternalServerError, []byte(`{}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(data) // who does not listen misses nothing else
}

func writeError(w http.ResponseWriter, err error) {
	e, ok := errors.AsType[*apiError](err)
	if !ok {
		e = &apiError{http.StatusInternalServerError, "InternalError", err.Error()}
	}
	writeJSON(w, e.code, map[string]any{
		"kind": "Status", "apiVersion": "v1", "metadata": map[string]any{}, "status": "Failure",
		"message": e.message, "reason": e.reason, "code": e.code,
	})
}

// parse finds out what a request is about.
func (s *Server) parse(r *http.Request, body []byte) (call, error) {
	c := call{request: r, body: body}
	path, ok := strings.CutPrefix(r.URL.Path, "/apis/batch/v1/namespaces/"+s.options.Namespace+"/")
	if ok {
		c.group = "batch"
	} else if path, ok = strings.CutPrefix(r.URL.Path, "/api/v1/namespaces/"+s.options.Namespace+"/"); !ok {
		return c, fail(http.StatusNotFound, "NotFound", "the server could not find the requested resource")
	}
	parts := strings.Split(path, "/")
	c.resource = parts[0]
	if len(parts) > 1 {
		c.name = parts[1]
	}
	if len(parts) > 2 {
		c.sub = parts[2]
	}
	known := c.group == "batch" && c.resource == "jobs" || c.group == "" && slices.Contains([]string{"pods", "secrets", "events"}, c.resource)
	if !known || len(parts) > 3 || c.sub != "" && (c.resource != "pods" || c.sub != "log") {
		return c, fail(http.StatusNotFound, "NotFound", "the server could not find the requested resource")
	}
	switch {
	case r.Method == http.MethodGet && c.name == "":
		c.verb = "list"
	case r.Method == http.MethodGet:
		c.verb = "get"
	case r.Method == http.MethodPost && c.name == "":
		c.verb = "create"
	case r.Method == http.MethodPatch && c.name != "":
		c.verb = "patch"
	case r.Method == http.MethodDelete && c.name != "":
		c.verb = "delete"
	default:
		return c, fail(http.StatusMethodNotAllowed, "MethodNotAllowed", "the server does not allow this method on the requested resource")
	}
	return c, nil
}

// authorize compares a request with the Role.
func (s *Server) authorize(c call) error {
	if s.options.Rules == nil {
		return nil
	}
	resource := c.resource
	if c.sub != "" {
		resource += "/" + c.sub
	}
	for _, rule := range s.options.Rules {
		if slices.Contains(rule.Groups, c.group) && slices.Contains(rule.Resources, resource) && slices.Contains(rule.Verbs, c.verb) {
			return nil
		}
	}
	return fail(http.StatusForbidden, "Forbidden", "%s is forbidden: User %q cannot %s resource %q in API group %q in the namespace %q",
		c.resource, "system:serviceaccount:ci:litci", c.verb, resource, c.group, s.options.Namespace)
}

const reviewPath = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

// accessReview is the question whether the token may do something, with its answer.
type accessReview struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Spec       struct {
		Resource struct {
			Namespace   string `json:"namespace"`
			Verb        string `json:"verb"`
			Group       string `json:"group"`
			Resource    string `json:"resource"`
			Subresource string `json:"subresource"`
		} `json:"resourceAttributes"`
	} `json:"spec"`
	Status struct {
		Allowed bool `json:"allowed"`
	} `json:"status"`
}

// review answers anybody who has signed in, as clusters do by default.
func (s *Server) review(body []byte) (any, error) {
	var r accessReview
	if err := strict(body, &r); err != nil {
		return nil, err
	}
	if r.APIVersion != "authorization.k8s.io/v1" || r.Kind != "SelfSubjectAccessReview" || r.Spec.Resource.Verb == "" {
		return nil, fail(http.StatusBadRequest, "BadRequest", "the object provided is unrecognized (must be of type SelfSubjectAccessReview)")
	}
	of := r.Spec.Resource
	r.Status.Allowed = of.Namespace == s.options.Namespace && s.authorize(call{group: of.Group, resource: of.Resource, sub: of.Subresource, verb: of.Verb}) == nil
	return r, nil
}

// answer is written out under the lock: objects go on changing.
func (s *Server) answer(c call) (json.RawMessage, int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	value, code, err := s.handle(c)
	if err != nil {
		return nil, 0, err
	}
	data, err := json.Marshal(value)
	return data, code, err
}

func (s *Server) handle(c call) (any, int, error) {
	switch c.resource + " " + c.verb {
	case "jobs list":
		return page(s, c, "batch/v1", "JobList", s.jobs, func(j *jobState) *job { return &j.job }, func(j *job) *meta { return &j.Metadata })
	case "pods list":
		return page(s, c, "v1", "PodList", s.pods, func(p *podState) *pod { return &p.pod }, func(p *pod) *meta { return &p.Metadata })
	case "events list":
		return s.listEvents(c)
	case "jobs get":
		if j := s.jobs[c.name]; j != nil {
			return &j.job, http.StatusOK, nil
		}
	case "pods get":
		if p := s.pods[c.name]; p != nil {
			return &p.pod, http.StatusOK, nil
		}
	case "jobs create":
		return s.createJob(c)
	case "secrets create":
		return s.createSecret(c)
	case "jobs patch":
		return s.patchJob(c)
	case "pods patch":
		return s.patchPod(c)
	case "jobs delete":
		return s.deleteJob(c)
	case "pods delete":
		return s.deletePod(c)
	case "secrets delete":
		if s.secrets[c.name] != nil {
			delete(s.secrets, c.name)
			s.touch()
			return map[string]string{"kind": "Status", "apiVersion": "v1", "status": "Success"}, http.StatusOK, nil
		}
	default:
		return nil, 0, fail(http.StatusMethodNotAllowed, "MethodNotAllowed", "the double does not %s %s", c.verb, c.resource)
	}
	return nil, 0, notFound(c.resource, c.name)
}

// page lists what a selector matches, in the order of names.
func page[S, T any](s *Server, c call, version, kind string, all map[string]*S, object func(*S) *T, metadata func(*T) *meta) (any, int, error) {
	matches, err := selector(c.request.URL.Query().Get("labelSelector"))
	if err != nil {
		return nil, 0, err
	}
	var names []string
	for name, one := range all {
		if matches(metadata(object(one)).Labels) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	query := c.request.URL.Query()
	limit, _ := strconv.Atoi(query.Get("limit")) // none is no limit
	if s.options.Page > 0 && (limit == 0 || limit > s.options.Page) {
		limit = s.options.Page
	}
	begin := 0
	if token := query.Get("continue"); token != "" {
		at, known := s.pages[token]
		if !known {
			return nil, 0, fail(http.StatusGone, "Expired", "The provided continue parameter is too old to display a consistent list result.")
		}
		begin = min(at, len(names))
	}
	names = names[begin:]
	listed := map[string]any{"resourceVersion": strconv.Itoa(s.version)}
	if limit > 0 && len(names) > limit {
		names = names[:limit]
		token := "page-" + s.nextVersion()
		s.pages[token] = begin + limit
		listed["continue"] = token
	}
	items := make([]*T, len(names))
	for i, name := range names {
		items[i] = object(all[name])
	}
	return map[string]any{"apiVersion": version, "kind": kind, "metadata": listed, "items": items}, http.StatusOK, nil
}

// selector reads "a=b,c=d".
func selector(text string) (func(map[string]string) bool, error) {
	wanted := map[string]string{}
	for part := range strings.SplitSeq(text, ",") {
		if part == "" {
			continue
		}
		key, value, ok := strings.Cut(part, "=")
		if !ok {
			return nil, fail(http.StatusBadRequest, "BadRequest", "unable to parse requirement %q", part)
		}
		wanted[key] = value
	}
	return func(labels map[string]string) bool {
		for key, value := range wanted {
			if got, there := labels[key]; !there || got != value {
				return false
			}
		}
		return true
	}, nil
}

func (s *Server) listEvents(c call) (any, int, error) {
	field := c.request.URL.Query().Get("fieldSelector")
	uid, ok := strings.CutPrefix(field, "involvedObject.uid=")
	if !ok && field != "" {
		return nil, 0, fail(http.StatusBadRequest, "BadRequest", "field label not supported: %s", field)
	}
	items := []event{}
	for _, one := range s.events {
		if field == "" || one.Involved.UID == uid {
			items = append(items, one)
		}
	}
	return map[string]any{"apiVersion": "v1", "kind": "EventList", "metadata": map[string]any{}, "items": items}, http.StatusOK, nil
}

// strict decodes an object and refuses fields that it does not have.
func strict(data []byte, out any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(out); err != nil {
		return fail(http.StatusBadRequest, "BadRequest", "strict decoding error: %v", err)
	}
	return nil
}

// merge applies a merge patch (RFC 7386).
func merge(target, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	object, ok := target.(map[string]any)
	if !ok {
		object = map[string]any{}
	}
	for name, value := range changes {
		if value == nil {
			delete(object, name)
			continue
		}
		object[name] = merge(object[name], value)
	}
	return object
}

// patched is an object after a merge patch. Its uid and version are preconditions.
func patched[T any](c call, kind string, before *T, metadata func(*T) *meta) (*T, error) {
	if got := c.request.Header.Get("Content-Type"); got != "application/merge-patch+json" {
		return nil, fail(http.StatusUnsupportedMediaType, "UnsupportedMediaType", "the body of the request was in an unknown format - %s", got)
	}
	data, err := json.Marshal(before)
	if err != nil {
		return nil, err
	}
	var target, patch any
	if err := errors.Join(json.Unmarshal(data, &target), json.Unmarshal(c.body, &patch)); err != nil {
		return nil, fail(http.StatusBadRequest, "BadRequest", "%v", err)
	}
	if data, err = json.Marshal(merge(target, patch)); err != nil {
		return nil, err
	}
	after := new(T)
	if err := strict(data, after); err != nil {
		return nil, err
	}
	was, is := metadata(before), metadata(after)
	if was.UID != is.UID {
		return nil, fail(http.StatusConflict, "Conflict", "Operation cannot be fulfilled on %s %q: Precondition failed: UID in precondition: %s, UID in object meta: %s", kind, was.Name, is.UID, was.UID)
	}
	if was.ResourceVersion != is.ResourceVersion {
		return nil, fail(http.StatusConflict, "Conflict", "Operation cannot be fulfilled on %s %q: the object has been modified; please apply your changes to the latest version and try again", kind, was.Name)
	}
	return after, nil
}

// deletionOf reads the options of a deletion and checks its preconditions.
func deletionOf(c call, kind string, of *meta) (deleteOptions, error) {
	var o deleteOptions
	if len(c.body) > 0 {
		if err := strict(c.body, &o); err != nil {
			return o, err
		}
	}
	if o.Preconditions != nil && o.Preconditions.UID != of.UID {
		return o, fail(http.StatusConflict, "Conflict", "Operation cannot be fulfilled on %s %q: Precondition failed: UID in precondition: %s, UID in object meta: %s", kind, of.Name, o.Preconditions.UID, of.UID)
	}
	return o, nil
}
