// Package fakegithub is the part of GitHub that a CI App uses, emulated over
// local git repositories: the REST API with its authentication, permissions,
// limits and refusals, and the webhooks with their delivery log.
//
// It is as strict as GitHub: what GitHub refuses it refuses with GitHub's
// status and body, so that a client that passes here passes there. Its answers
// fit GitHub's OpenAPI description; package fakegithubtest checks that.
//
// Below /_fake lie the control paths, which do what people do on GitHub's
// pages: open pull requests, push, comment, click Re-run. They ask for no
// credential, so the server belongs on a loopback address.
//
// Git objects are read with the git command, never written.
package fakegithub

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Config is what a Server is made from.
type Config struct {
	AppID   int64
	AppSlug string // default "litci"; the App's user is AppSlug[bot]
	// PrivateKey is the App's key: its public half verifies the App's tokens.
	PrivateKey *rsa.PrivateKey
	// Permissions are what the installations granted, by GitHub's names, such
	// as "checks": "write". Default: what litci asks for in its manifest.
	Permissions map[string]string
	// WebhookURL receives the events. Without one no event is sent.
	WebhookURL    string
	WebhookSecret string // signs the deliveries; empty: they are not signed
	// BaseURL is how this server is reached, such as http://127.0.0.1:8090: it
	// stands before the addresses in webhooks and answers. Default: the host of
	// the latest request.
	BaseURL string
	Now     func() time.Time // default time.Now
	Limits  Limits
	Log     *zap.Logger // default: silent
}

// Server emulates GitHub for one App. It is an http.Handler that serves the
// API at / and, as GitHub Enterprise does, at /api/v3. All methods are safe
// for concurrent use.
type Server struct {
	cfg    Config
	log    *zap.Logger
	routes []endpoint
	hooks  *http.Client

	closing chan struct{}

	mu            sync.Mutex // guards what follows
	landed        *sync.Cond // a delivery ended
	inFlight      int        // deliveries under way
	closed        bool
	base          string
	hookURL       string
	hookSecret    string
	nextID        int64
	users         map[string]*user
	installations map[int64]*installation
	tokens        map[string]*token
	repos         map[string]*repo // by lower-case full name
	renamed       map[string]*repo // by former lower-case full name
	manifests     map[string]manifestCode
	downloads     map[string]download
	deliveries    []*Delivery
	faults        []*Fault
	budgets       map[string]*budget
	requests      map[string]int
}

// New returns a Server without repositories.
func New(cfg Config) (*Server, error) {
	if cfg.PrivateKey == nil {
		return nil, errors.New("fakegithub: the App has no private key")
	}
	if cfg.AppID <= 0 {
		return nil, fmt.Errorf("fakegithub: the App's id is %d, not positive", cfg.AppID)
	}
	if cfg.AppSlug == "" {
		cfg.AppSlug = "litci"
	}
	if cfg.Permissions = maps.Clone(cfg.Permissions); cfg.Permissions == nil {
		cfg.Permissions = defaultPermissions()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	cfg.Limits = cfg.Limits.withDefaults()
	s := &Server{
		cfg:  cfg,
		log:  cfg.Log,
		base: strings.TrimSuffix(cfg.BaseURL, "/"),
		hooks: &http.Client{
			Timeout:   deliveryTimeout,
			Transport: &http.Transport{Proxy: nil, MaxIdleConnsPerHost: 16},
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse // GitHub does not follow
			},
		},
		closing:       make(chan struct{}),
		hookURL:       cfg.WebhookURL,
		hookSecret:    cfg.WebhookSecret,
		nextID:        1000,
		users:         map[string]*user{},
		installations: map[int64]*installation{},
		tokens:        map[string]*token{},
		repos:         map[string]*repo{},
		renamed:       map[string]*repo{},
		manifests:     map[string]manifestCode{},
		downloads:     map[string]download{},
		budgets:       map[string]*budget{},
		requests:      map[string]int{},
	}
	s.landed = sync.NewCond(&s.mu)
	if s.base == "" {
		s.base = "http://localhost"
	}
	s.routes = routes()
	return s, nil
}

// Config returns the configuration with its defaults filled in.
func (s *Server) Config() Config { return s.cfg }

// SetWebhookURL changes where events go; empty switches them off.
func (s *Server) SetWebhookURL(url string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hookURL = url
}

// Close refuses new deliveries, waits for those in flight, which end within
// their ten seconds, and returns nil.
func (s *Server) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	s.mu.Unlock()
	s.Wait()
	s.hooks.CloseIdleConnections()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.repos {
		r.git.merges.remove()
	}
	return nil
}

// ServeHTTP answers API requests, archive downloads and control requests.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	s.learnBase(r)
	if strings.HasPrefix(path, "/_fake/") {
		s.serveControl(w, r)
		return
	}
	prefix := ""
	if rest, isEnterprise := strings.CutPrefix(path, "/api/v3"); isEnterprise && (rest == "" || rest[0] == '/') {
		prefix, path = "/api/v3", rest
	}
	s.mu.Lock()
	path = s.pathOfID(path)
	s.mu.Unlock()
	rt, params := s.match(r.Method, path)
	s.count(rt, r.Method, path)
	fault := s.takeFault(r.Method, path, rt)
	if fault != nil && !fault.meets(s, w, r) {
		return
	}
	if fault != nil && fault.AfterEffect {
		s.api(discard{header: http.Header{}}, r, prefix, path, rt, params)
		fault.answer(w)
		return
	}
	s.api(w, r, prefix, path, rt, params)
}

// learnBase remembers the host by which callers reach this server.
func (s *Server) learnBase(r *http.Request) {
	if s.cfg.BaseURL != "" || r.Host == "" {
		return
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	s.mu.Lock()
	s.base = scheme + "://" + r.Host
	s.mu.Unlock()
}

// call is one API request on its way through its handler.
type call struct {
	s      *Server
	r      *http.Request
	urls   links
	route  *endpoint
	params map[string]string
	who    identity
	repo   *repo // set for routes below /repos/{owner}/{repo}
	body   []byte
}

// maxRequestBody bounds what a caller may send, in bytes.
const maxRequestBody = 10 << 20

// api answers one request in GitHub's order of checks: headers, credential,
// limits, repository, permission, and only then the handler.
func (s *Server) api(w http.ResponseWriter, r *http.Request, prefix, path string, rt *endpoint, params map[string]string) {
	header := w.Header()
	header.Set("X-GitHub-Request-Id", requestID())
	header.Set("X-GitHub-Media-Type", "github.v3; format=json")
	header.Set("Server", "github.com")

	c := &call{s: s, r: r, route: rt, params: params, urls: s.links(prefix)}
	if rt != nil && rt.access == accessDownload {
		s.serveDownload(w, r, params)
		return
	}
	rep, err := s.admit(c, header)
	var charged *budget
	if err == nil {
		charged, err = s.charge(c, header)
	}
	if err == nil {
		rep, err = s.handle(c, path)
	}
	if err != nil {
		rep = s.replyTo(err)
	}
	s.send(w, r, rep, charged)
}

// admit checks what holds for every request, and who is calling.
func (s *Server) admit(c *call, header http.Header) (reply, error) {
	if c.r.Header.Get("User-Agent") == "" {
		return reply{}, refuse(http.StatusForbidden, "Request forbidden by administrative rules. Please make sure your request has a User-Agent header (https://docs.github.com/en/rest/overview/resources-in-the-rest-api#user-agent-required). Check https://developer.github.com for other possible causes.")
	}
	version := c.r.Header.Get("X-GitHub-Api-Version")
	if version == "" {
		version = apiVersions()[0]
	}
	if !known(version) {
		return reply{}, refuse(http.StatusBadRequest, "API version ("+version+") is not supported. Please use one of the supported versions: "+strings.Join(apiVersions(), ", ")+".")
	}
	header.Set("X-GitHub-Api-Version-Selected", version)
	if c.route == nil {
		return reply{}, notFound()
	}
	who, err := s.identify(c.r, c.route.access)
	c.who = who
	return reply{}, err
}

// handle finds the repository, checks the permission, and does the deed.
func (s *Server) handle(c *call, path string) (reply, error) {
	if owner, below := c.params["owner"]; below && strings.HasPrefix(c.route.template.String(), "/repos/") {
		if rep, err := s.enter(c, owner, c.params["repo"], path); err != nil || rep.status != 0 {
			return rep, err
		}
	}
	if err := c.permit(); err != nil {
		return reply{}, err
	}
	if c.repo != nil && c.repo.Archived && c.r.Method != http.MethodGet && c.r.Method != http.MethodHead {
		return reply{}, refuse(http.StatusForbidden, "Repository was archived so is read-only.")
	}
	body, err := io.ReadAll(io.LimitReader(c.r.Body, maxRequestBody+1))
	if err != nil {
		return reply{}, refuse(http.StatusBadRequest, "Problems reading the body")
	}
	if len(body) > maxRequestBody {
		return reply{}, refuse(http.StatusRequestEntityTooLarge, "Request body too large")
	}
	c.body = body
	return c.route.handle(c)
}

// enter sets the call's repository: 404 when the credential does not reach
// it, since GitHub does not confirm what one may not see; 301 after a rename.
func (s *Server) enter(c *call, owner, name, path string) (reply, error) {
	key := strings.ToLower(owner + "/" + name)
	s.mu.Lock()
	defer s.mu.Unlock()
	r, former := s.repos[key], s.renamed[key]
	if r == nil && former != nil && c.who.reaches(former) {
		parts := strings.SplitN(path, "/", 5) // "", repos, owner, name, rest
		location := fmt.Sprintf("%s/repositories/%d", c.urls.api, former.ID)
		if len(parts) == 5 {
			location += "/" + parts[4]
		}
		if q := c.r.URL.RawQuery; q != "" {
			location += "?" + q
		}
		return reply{
			status: http.StatusMovedPermanently,
			body:   object{"message": "Moved Permanently", "url": location, "documentation_url": docsURL},
			header: http.Header{"Location": {location}},
		}, nil
	}
	if r == nil || !c.who.reaches(r) {
		return reply{}, notFound()
	}
	c.repo = r
	return reply{}, nil
}

// replyTo turns an error into an answer: refusals as they are, all else 500,
// which is this server's own failure and is logged.
func (s *Server) replyTo(err error) reply {
	var no *refusal
	if errors.As(err, &no) {
		return no.reply()
	}
	s.log.Error("request", errorField(err))
	return reply{status: http.StatusInternalServerError, body: object{"message": "Server Error", "documentation_url": docsURL}}
}

func errorField(err error) zap.Field { return zap.Error(err) }

// id returns the next of the ids that all objects share. s.mu is held.
func (s *Server) id() int64 {
	s.nextID++
	return s.nextID
}

// now is the server's clock in UTC and whole seconds, GitHub's resolution.
func (s *Server) now() time.Time { return s.cfg.Now().UTC().Truncate(time.Second) }

// count keeps the tally of State.Requests.
func (s *Server) count(rt *endpoint, method, path string) {
	key := "unknown " + method + " " + path
	if rt != nil {
		key = method + " " + rt.template.String()
	}
	s.mu.Lock()
	s.requests[key]++
	s.mu.Unlock()
}

// apiVersions are the REST API's versions; the first is the default.
func apiVersions() []string { return []string{"2022-11-28", "2026-03-10"} }

func known(version string) bool {
	for _, v := range apiVersions() {
		if v == version {
			return true
		}
	}
	return false
}
