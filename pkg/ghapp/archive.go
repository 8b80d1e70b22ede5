package ghapp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/google/go-github/v62/github"
)

// idleTimeout ends a download that brings nothing for this long.
const idleTimeout = 30 * time.Second

// Archive opens a commit's source as a gzipped tar with one top folder. GitHub
// answers with a short-lived address on another host; the token does not go
// there. ctx bounds the reading too. The caller closes it.
func (a *App) Archive(ctx context.Context, installation, repo int64, owner, name, sha string) (io.ReadCloser, error) {
	c, err := a.client(installation, repo)
	if err != nil {
		return nil, err
	}
	path := fmt.Sprintf("repos/%s/%s/tarball/%s", url.PathEscape(owner), url.PathEscape(name), url.PathEscape(sha))
	req, err := c.api.NewRequest(http.MethodGet, path, nil)
	if err != nil {
		return nil, fmt.Errorf("archive of %s/%s at %s: %w", owner, name, sha, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	idle := time.AfterFunc(idleTimeout, func() { cancel(errIdle) })
	body, err := a.open(req.WithContext(ctx), c.bearer)
	if err != nil {
		idle.Stop()
		if cause := context.Cause(ctx); errors.Is(cause, errIdle) {
			err = cause
		}
		cancel(nil)
		return nil, fmt.Errorf("archive of %s/%s at %s: %w", owner, name, sha, err)
	}
	return &download{body: body, cause: func() error { return context.Cause(ctx) }, cancel: cancel, idle: idle}, nil
}

// errIdle counts as a network that does not answer.
var errIdle = fmt.Errorf("nothing came for %s: %w", idleTimeout, context.DeadlineExceeded)

// open asks for the archive and follows where GitHub points. The clients have no
// timeout of their own, since a large archive may take long.
func (a *App) open(req *http.Request, b *bearer) (io.ReadCloser, error) {
	resp, err := (&http.Client{Transport: b, CheckRedirect: stay}).Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusFound {
		if err := github.CheckResponse(resp); err != nil {
			_ = resp.Body.Close()
			return nil, err
		}
		return resp.Body, nil
	}
	discard(resp)
	location, err := resp.Location()
	if err != nil {
		return nil, err
	}
	link, err := http.NewRequestWithContext(req.Context(), http.MethodGet, location.String(), nil)
	if err != nil {
		return nil, withoutQuery(err)
	}
	resp, err = (&http.Client{Transport: a.wire}).Do(link)
	if err != nil {
		return nil, withoutQuery(err)
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("%s answers %s", redact(location.String()), resp.Status)
	}
	return resp.Body, nil
}

// withoutQuery takes the query out of an error's address: it is a credential.
func withoutQuery(err error) error {
	var request *url.Error
	if errors.As(err, &request) {
		return &url.Error{Op: request.Op, URL: redact(request.URL), Err: request.Err}
	}
	return err
}

// download is an archive under way.
type download struct {
	body   io.ReadCloser
	cause  func() error
	cancel context.CancelCauseFunc
	idle   *time.Timer
}

// Read reads on and starts the idle time anew.
func (d *download) Read(p []byte) (int, error) {
	n, err := d.body.Read(p)
	if n > 0 {
		d.idle.Reset(idleTimeout)
	}
	if err != nil && !errors.Is(err, io.EOF) && errors.Is(d.cause(), errIdle) {
		err = errIdle
	}
	return n, err
}

// Close ends the download.
func (d *download) Close() error {
	d.idle.Stop()
	d.cancel(nil)
	return d.body.Close()
}
