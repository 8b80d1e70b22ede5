// Package fakelightning is an emulator of Lightning AI's job service, for tests and
// demonstrations. It is not the service: it answers as its REST API is known to, and
// where that is unknown it does what is hardest on a client.
//
// A job's command really runs, as a process of this machine with a folder of its own
// in the place of a container; image and machine are only names. The last word of the
// image's tag, or the variable FAKE_SCRIPT, names a script of states to play around
// the run (see Scripts); faults of the network and of the service are switched on for
// single requests.
package fakelightning

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options say what the account is like and what the service does. The zero value is a
// user in an organization with one teamspace, acme/ci.
type Options struct {
	// UserID, Username and APIKey are the account's.
	UserID, Username, APIKey string
	// Organization owns the Teamspace.
	Organization, Teamspace string
	// Dir holds the jobs' folders.
	Dir string
	// Path is where every image has its programs; empty means where this machine has
	// them.
	Path string

	// Scoped makes the key one of the teamspace, sent as a bearer.
	Scoped bool
	// Duplicate lists the teamspace twice, as a scoped key may see it.
	Duplicate bool
	// JobsDisabled switches the teamspace's jobs off.
	JobsDisabled bool
	// NoFind answers 501 to jobs/find.
	NoFind bool
	// NoEnv keeps the variables of jobs out of the answers to jobs/find and lists.
	NoEnv bool
	// NoLines keeps logs out of page-logs: only the saved file has them.
	NoLines bool
	// SavedAfter is how often a saved log is not there yet.
	SavedAfter int
	// KeepDeleted shows deleted jobs as "deleted" instead of 404.
	KeepDeleted bool
	// PageJobs and PageLines bound pages; zero means 2 jobs and 1000 lines.
	PageJobs, PageLines int
	// Skew is how far the service's clock is ahead.
	Skew time.Duration
}

// Server is the service.
type Server struct {
	options Options

	mu         sync.Mutex
	jobs       []*job
	faults     []*Fault
	requests   []Request
	violations []string
	saved      map[string]string
	running    sync.WaitGroup
}

// Request is one that was made, for assertions.
type Request struct {
	Method, Path, Query, Body string
	Status                    int
}

// New returns a Server. Close it, and what it runs ends.
func New(options Options) *Server {
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&options.UserID, "0f6f6dd4-user")
	set(&options.Username, "jane")
	set(&options.APIKey, "key-canary-5d1e9a")
	set(&options.Organization, "acme")
	set(&options.Teamspace, "ci")
	set(&options.Path, os.Getenv("PATH"))
	if options.PageJobs == 0 {
		options.PageJobs = 2
	}
	if options.PageLines == 0 {
		options.PageLines = 1000
	}
	return &Server{options: options, saved: map[string]string{}}
}

// Options returns what the server goes by.
func (s *Server) Options() Options { return s.options }

// Close ends every job's processes.
func (s *Server) Close() {
	s.mu.Lock()
	for _, j := range s.jobs {
		j.closed = true
		j.kill()
	}
	s.mu.Unlock()
	s.running.Wait()
}

// Requests returns what was asked so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Violations are the requests that no careful client makes.
func (s *Server) Violations() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}

const (
	projectID = "01kfakeproject"
	orgID     = "org-fake-1"
)

// failure is an error answer.
type failure struct {
	status, code int
	message      string
}

func (f *failure) Error() string { return f.message }

func fail(status int, format string, args ...any) error {
	codes := map[int]int{400: 3, 401: 16, 403: 7, 404: 5, 429: 8, 500: 13, 501: 12, 503: 14}
	return &failure{status, codes[status], fmt.Sprintf(format, args...)}
}

// call is a request with its body.
type call struct {
	*http.Request
	body []byte
}

// ServeHTTP answers a request, with the faults that are switched on.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 16<<20))
	if err != nil {
		http.Error(w, "body", http.StatusRequestEntityTooLarge)
		return
	}
	fault := s.take(r)
	if fault.before(w, r) {
		s.record(r, body, fault.status())
		return
	}
	status, answer := s.answer(call{r, body})
	s.record(r, body, status)
	fault.after(w, status, answer)
}

func (s *Server) record(r *http.Request, body []byte, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, Request{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, string(body), status})
}

// answer is status and body.
func (s *Server) answer(r call) (int, []byte) {
	if token, ok := strings.CutPrefix(r.URL.Path, "/_presigned/"); ok {
		return s.presigned(r, token)
	}
	var content any
	err := s.authenticate(r)
	if err == nil {
		s.mu.Lock()
		content, err = s.route(r)
		if err == nil {
			content, err = json.Marshal(content)
		}
		s.mu.Unlock()
	}
	if err != nil {
		f, ok := errors.AsType[*failure](err)
		if !ok {
			f = &failure{http.StatusInternalServerError, 13, err.Error()}
		}
		data, _ := json.Marshal(map[string]any{"code": f.code, "message": f.message, "details": []any{}})
		return f.status, data
	}
	return http.StatusOK, content.([]byte)
}

func (s *Server) authenticate(r call) error {
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(s.options.UserID+":"+s.options.APIKey))
	if s.options.Scoped {
		want = "Bearer " + s.options.APIKey
	}
	if r.URL.Path == "/v1/core/accelerators" || r.Header.Get("Authorization") == want {
		return nil
	}
	return fail(http.StatusUnauthorized, "invalid credentials")
}

// route finds who answers. The paths are matched whole: an unknown one is 404.
func (s *Server) route(r call) (any, error) {
	path, get := r.URL.Path, r.Method == http.MethodGet
	jobs := "/v1/projects/" + projectID + "/jobs"
	rest, within := strings.CutPrefix(path, jobs+"/")
	id, tail, _ := strings.Cut(rest, "/")
	switch {
	case within && get && rest == "find":
		if s.options.NoFind {
			return nil, fail(http.StatusNotImplemented, "method not implemented")
		}
		return s.named(r.URL.Query().Get("name"))
	case within && get && tail == "":
		return s.get(id)
	case within && get && tail == "download-logs":
		return s.download(r, id)
	case within && r.Method == http.MethodPut && tail == "":
		return s.put(r, id)
	case within && r.Method == http.MethodDelete && tail == "":
		return s.remove(id)
	case path == jobs && get:
		return s.list(r)
	case path == jobs && r.Method == http.MethodPost:
		return s.create(r)
	case get && strings.HasPrefix(path, "/v1/projects/-/-/jobs/"):
		if r.URL.Query().Get("projectId") != projectID {
			return nil, fail(http.StatusNotFound, "project not found")
		}
		return s.named(strings.TrimPrefix(path, "/v1/projects/-/-/jobs/"))
	case get && path == "/v1/projects/"+projectID+"/page-logs":
		return s.pageLogs(r)
	case get:
		return s.account(r)
	}
	return nil, fail(http.StatusNotFound, "not found: %s %s", r.Method, path)
}

// decode reads a body, strictly: a field that is not known is a mistake.
func decode(r call, into any) error {
	d := json.NewDecoder(bytes.NewReader(r.body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fail(http.StatusBadRequest, "body: %v", err)
	}
	return nil
}

// now is the service's time.
func (s *Server) now() time.Time {
	return time.Now().UTC().Add(s.options.Skew).Truncate(time.Microsecond)
}

// letters makes names that nobody expects.
func letters(n int) string {
	return strings.ToLower(strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return 'q'
		}
		return r
	}, rand.Text()))[:n]
}
