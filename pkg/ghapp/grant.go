package ghapp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/bradleyfalzon/ghinstallation/v2"
	"github.com/google/go-github/v62/github"
)

// renewBefore is how long before its end a token is replaced, so that none expires
// under way.
const renewBefore = 5 * time.Minute

// grant is the token of one scope: minted when first needed, kept until shortly
// before it expires, one flight at a time.
type grant struct {
	mint func() *ghinstallation.Transport
	// turn holds the one place of whoever reads or mints.
	turn chan struct{}
	now  *ghinstallation.Transport
}

func (a *App) newGrant(key scope) *grant {
	options := &github.InstallationTokenOptions{RepositoryIDs: []int64{key.repo}, Permissions: a.permissions}
	if key.repo == 0 {
		options = &github.InstallationTokenOptions{Permissions: &github.InstallationPermissions{Metadata: github.String("read")}}
	}
	return &grant{turn: make(chan struct{}, 1), mint: func() *ghinstallation.Transport {
		// One AppsTransport each: ghinstallation writes to it without a lock.
		t := ghinstallation.NewFromAppsTransport(a.appTransport(), key.installation)
		t.BaseURL = strings.TrimSuffix(a.home.String(), "/")
		t.InstallationTokenOptions = options
		return t
	}}
}

// appTransport authenticates as the App, which has a budget of its own: minting
// spends it, not the installation's.
func (a *App) appTransport() *ghinstallation.AppsTransport {
	over := answered{a.gate(0)}
	t, err := ghinstallation.NewAppsTransportWithOptions(over, a.id, ghinstallation.WithSigner(a.signer))
	if err != nil {
		panic(err) // it asks for a signer alone
	}
	return t
}

// token returns a valid token, another than stale.
func (g *grant) token(ctx context.Context, stale string) (string, error) {
	select {
	case g.turn <- struct{}{}:
		defer func() { <-g.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if g.now == nil {
		g.now = g.mint()
	}
	// ghinstallation has no way to forget a token, so forgetting is a new transport.
	expires, _, err := g.now.Expiry()
	if err == nil && time.Until(expires) < renewBefore {
		g.now = g.mint()
	}
	token, err := g.now.Token(ctx)
	if err == nil && token == stale {
		g.now = g.mint()
		token, err = g.now.Token(ctx)
	}
	if err == nil && token == "" {
		err = errors.New("GitHub answers without a token")
	}
	if err != nil {
		g.now = nil
		return "", fmt.Errorf("installation token: %w", err)
	}
	return token, nil
}

// answered turns refusals into errors that keep GitHub's answer; ghinstallation
// alone would tell the status line and drop the message.
type answered struct{ next http.RoundTripper }

func (a answered) RoundTrip(req *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(req.URL.Path, "/access_tokens") {
		return a.next.RoundTrip(req)
	}
	resp, err := a.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if err := github.CheckResponse(resp); err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// bearer authenticates by a grant's token. A token that GitHub refuses is
// dropped, and the request repeated once with a new one.
type bearer struct {
	home  *url.URL
	inst  *installation
	grant *grant
	next  http.RoundTripper
}

// RoundTrip sends a request that goes to GitHub's API; a token goes nowhere else.
func (b *bearer) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer func() { _ = req.Body.Close() }()
	}
	if !sameOrigin(req.URL, b.home) {
		return nil, fmt.Errorf("%s is not GitHub's API at %s", redact(req.URL.String()), b.home)
	}
	if err := b.inst.paused(time.Now()); err != nil {
		return nil, err // and no token is minted for it
	}
	stale := ""
	for {
		token, err := b.grant.token(req.Context(), stale)
		if err != nil {
			return nil, err
		}
		again, err := replay(req)
		if err != nil {
			return nil, err
		}
		again.Header.Set("Authorization", "Bearer "+token)
		resp, err := b.next.RoundTrip(again)
		if err != nil || resp.StatusCode != http.StatusUnauthorized || stale != "" {
			return resp, err
		}
		discard(resp)
		stale = token
	}
}

// replay is a copy of a request with a body that nobody has read.
func replay(req *http.Request) (*http.Request, error) {
	again := req.Clone(req.Context())
	if req.Body == nil || req.Body == http.NoBody {
		return again, nil
	}
	if req.GetBody == nil {
		return nil, errors.New("request body cannot be read twice")
	}
	body, err := req.GetBody()
	if err != nil {
		return nil, fmt.Errorf("request body: %w", err)
	}
	again.Body = body
	return again, nil
}
