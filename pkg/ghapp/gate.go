package ghapp

import (
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxRedirects bounds how often a moved repository is followed.
const maxRedirects = 5

// gate lets the requests of one installation through: none while it is paused or
// its pace is used up, few at a time. It repeats what may be repeated and turns
// GitHub's limits into a pause.
type gate struct {
	home    *url.URL
	inst    *installation
	wire    http.RoundTripper
	metrics *metrics
}

// RoundTrip sends an authenticated request to GitHub's API.
func (g *gate) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer func() { _ = req.Body.Close() }()
	}
	select {
	case g.inst.places <- struct{}{}:
		defer func() { <-g.inst.places }()
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	resp, err := g.follow(req)
	if err == nil && unavailable(resp) && repeatable(req.Method) {
		discard(resp)
		select {
		case <-time.After(200*time.Millisecond + rand.N(800*time.Millisecond)):
		case <-req.Context().Done():
			return nil, req.Context().Err()
		}
		resp, err = g.follow(req)
	}
	if err != nil {
		return nil, err
	}
	resp, kind, err := g.inst.admit(resp, time.Now())
	if kind != "" {
		g.metrics.limited.WithLabelValues(kind).Inc()
	}
	return resp, err
}

// send sends a request that the budget has room for.
func (g *gate) send(req *http.Request) (*http.Response, error) {
	cost, err := g.inst.charge(time.Now(), req)
	if err != nil {
		if limit := (*LimitError)(nil); errors.As(err, &limit) && limit.own {
			g.metrics.limited.WithLabelValues(limitedOwn).Inc()
		}
		return nil, err
	}
	resp, err := g.wire.RoundTrip(req)
	g.inst.settle(time.Now(), cost, resp)
	return resp, err
}

// follow sends a request to where its repository moved, method and body kept. Go's
// client would turn a POST into a GET. A redirect to another host is the caller's:
// the credential must not go there.
func (g *gate) follow(req *http.Request) (*http.Response, error) {
	target := req.URL
	for hop := 0; ; hop++ {
		again, err := replay(req)
		if err != nil {
			return nil, err
		}
		if again.URL = target; target != req.URL {
			again.Host = ""
		}
		resp, err := g.send(again)
		if err != nil {
			return nil, err
		}
		switch resp.StatusCode {
		case http.StatusMovedPermanently, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		default:
			return resp, nil
		}
		next, err := target.Parse(resp.Header.Get("Location"))
		if err != nil || resp.Header.Get("Location") == "" || !sameOrigin(next, g.home) || hop == maxRedirects {
			return resp, nil
		}
		discard(resp)
		target = next
	}
}

func unavailable(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// repeatable tells whether doing it twice is doing it once. A POST that was
// answered with 502 may have worked; so may a PATCH, and one of a check run adds
// its annotations again.
func repeatable(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodDelete:
		return true
	}
	return false
}

// weigh is what GitHub books for a request.
func weigh(req *http.Request) share {
	switch req.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return share{points: readPoints, requests: 1}
	case http.MethodPost:
		if creates(req.URL.Path) {
			return share{points: writePoints, content: 1, requests: 1}
		}
	}
	return share{points: writePoints, requests: 1}
}

// creates tells whether a POST to a path creates what GitHub counts as content.
func creates(path string) bool {
	switch path[strings.LastIndexByte(path, '/')+1:] {
	case "check-runs", "comments", "issues", "pulls", "reviews":
		return true
	}
	return false
}

// discard gives a response's connection back.
func discard(resp *http.Response) {
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	_ = resp.Body.Close()
}
