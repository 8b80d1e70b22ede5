// Package ghapp is GitHub as this App: clients that authenticate, keep to
// GitHub's limits and survive its hiccups. It is the only package that imports
// ghinstallation.
//
// A client's token is scoped to one repository and to the permissions of the
// service that asks. Nothing here sleeps through a limit: the whole installation
// is paused, calls return a *LimitError at once, and the caller puts its message
// back for as long as Pause says. An account of what was spent keeps GitHub's
// limits from being met; Reserve takes a part of it for work that must not stop in
// the middle. What is read again is asked for by its ETag.
package ghapp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/google/go-github/v62/github"
	"github.com/prometheus/client_golang/prometheus"
)

// Config is what an App is made from.
type Config struct {
	// BaseURL is where GitHub is: empty for github.com, https://ghe.example for a
	// GitHub Enterprise Server, whose API lies below /api/v3.
	BaseURL string
	AppID   int64
	// PrivateKey is the App's key in PEM, PKCS #1 or PKCS #8.
	PrivateKey []byte
	// Permissions bound every token, by GitHub's names: "contents": "read". Empty
	// takes all that the installation granted.
	Permissions map[string]string
	// Transport carries the requests; default a transport of the App's own.
	Transport http.RoundTripper
	// Budgets are what the installations may spend; Apps of one App id share them.
	// Default: the App's own, with default Limits.
	Budgets *Budgets
	// Metrics registers the App's metrics; nil measures nothing. Several Apps of one
	// process share them.
	Metrics prometheus.Registerer
}

// App makes clients. It is safe for concurrent use.
type App struct {
	id          int64
	home        *url.URL // the API's root, with a trailing slash
	signer      signer
	permissions *github.InstallationPermissions
	wire        http.RoundTripper
	budgets     *Budgets
	answers     *store
	metrics     *metrics
	asApp       *github.Client

	mu      sync.Mutex
	clients map[scope]*client
	slug    string
}

// scope is what a token reaches: a repository, or, where repo is 0, the list of an
// installation's repositories.
type scope struct{ installation, repo int64 }

// client is a go-github client with what it authenticates by.
type client struct {
	api    *github.Client
	bearer *bearer
}

// requestTimeout bounds a call with all its retries; GitHub gives itself 10 s.
const requestTimeout = 30 * time.Second

// New returns an App. It checks the configuration and calls nobody.
func New(cfg Config) (*App, error) {
	if cfg.AppID <= 0 {
		return nil, fmt.Errorf("github app id is %d; it must be the positive number on the App's settings page", cfg.AppID)
	}
	home, err := apiRoot(cfg.BaseURL)
	if err != nil {
		return nil, err
	}
	key, err := ParseKey(cfg.PrivateKey)
	if err != nil {
		return nil, err
	}
	permissions, err := parsePermissions(cfg.Permissions)
	if err != nil {
		return nil, err
	}
	if cfg.Budgets == nil {
		cfg.Budgets = NewBudgets(Limits{})
	}
	metrics, err := newMetrics(cfg.Metrics, cfg.Budgets)
	if err != nil {
		return nil, err
	}
	if cfg.Transport == nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		own.MaxIdleConnsPerHost = 16
		cfg.Transport = own
	}
	a := &App{
		id: cfg.AppID, home: home, signer: newSigner(key), permissions: permissions,
		wire:    &wire{next: cfg.Transport, home: home, metrics: metrics},
		budgets: cfg.Budgets, answers: newStore(storedBytes), metrics: metrics,
		clients: map[scope]*client{},
	}
	a.asApp = a.api(scope{}, a.appTransport())
	return a, nil
}

// ID is the App's id.
func (a *App) ID() int64 { return a.id }

// Client returns a client for one repository of an installation, by its id. The
// client may be kept and shared; its token is cached and renewed.
func (a *App) Client(installation, repo int64) (*github.Client, error) {
	c, err := a.client(installation, repo)
	if err != nil {
		return nil, err
	}
	return c.api, nil
}

// Installation returns a client for what belongs to an installation as a whole: the
// list of its repositories. Its token may read metadata and nothing else.
func (a *App) Installation(installation int64) (*github.Client, error) {
	if installation <= 0 {
		return nil, fmt.Errorf("client for installation %d: the id must be positive", installation)
	}
	return a.scoped(scope{installation: installation}).api, nil
}

func (a *App) client(installation, repo int64) (*client, error) {
	if installation <= 0 || repo <= 0 {
		return nil, fmt.Errorf("client for repository %d of installation %d: both ids must be positive", repo, installation)
	}
	return a.scoped(scope{installation, repo}), nil
}

// scoped returns the one client of a scope.
func (a *App) scoped(key scope) *client {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.clients[key]; c != nil {
		return c
	}
	g := a.gate(key.installation)
	b := &bearer{home: a.home, inst: g.inst, grant: a.newGrant(key), next: g}
	c := &client{api: a.api(key, b), bearer: b}
	a.clients[key] = c
	return c
}

// AsApp returns the client that speaks for the App itself: its installations and
// its webhook deliveries. It reaches no repository.
func (a *App) AsApp() *github.Client { return a.asApp }

// Login is the name under which the App comments: "slug[bot]".
func (a *App) Login(ctx context.Context) (string, error) {
	a.mu.Lock()
	slug := a.slug
	a.mu.Unlock()
	if slug == "" {
		app, _, err := a.asApp.Apps.Get(ctx, "")
		if err != nil {
			return "", fmt.Errorf("github app %d: %w", a.id, err)
		}
		slug = app.GetSlug()
		if slug == "" {
			return "", fmt.Errorf("github app %d: GitHub names no slug", a.id)
		}
		a.mu.Lock()
		a.slug = slug
		a.mu.Unlock()
	}
	return slug + "[bot]", nil
}

// Check asks GitHub whether it knows the App by this key. Its error tells an
// operator what to correct.
func (a *App) Check(ctx context.Context) error {
	_, err := a.Login(ctx)
	var answer *github.ErrorResponse
	if !errors.As(err, &answer) {
		return err
	}
	switch answer.Response.StatusCode {
	case http.StatusUnauthorized:
		return fmt.Errorf("github app %d: GitHub refuses the private key (%s): is it this App's key, and is this machine's clock right?", a.id, answer.Message)
	case http.StatusNotFound:
		return fmt.Errorf("github app %d does not exist at %s (%s): check the App's id and the GitHub address", a.id, a.home, answer.Message)
	}
	return err
}

// Close gives up idle connections.
func (a *App) Close() {
	(&http.Client{Transport: a.wire}).CloseIdleConnections()
}

// api is a go-github client over a transport that authenticates for a scope. The
// gate follows the redirects that may be followed; all others end here, so no
// request leaves GitHub's API.
func (a *App) api(key scope, over http.RoundTripper) *github.Client {
	over = &conditional{next: over, scope: key, store: a.answers, metrics: a.metrics}
	api := github.NewClient(&http.Client{Transport: bounded{over, requestTimeout}, CheckRedirect: stay})
	api.BaseURL = a.home
	return api
}

func (a *App) gate(installation int64) *gate {
	return &gate{home: a.home, inst: a.budgets.installation(installation), wire: a.wire, metrics: a.metrics}
}

func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
