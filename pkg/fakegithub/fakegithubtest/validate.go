package fakegithubtest

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
)

// Option changes what a validator lets pass.
type Option func(*validator)

// RefusalsMayDiffer lets requests that the server refuses be what GitHub's
// description forbids, for tests of refusals.
func RefusalsMayDiffer() Option { return func(v *validator) { v.refusalsMayDiffer = true } }

// validator reports to a test what does not fit GitHub's description.
type validator struct {
	t                 testing.TB
	api               *api
	refusalsMayDiffer bool
}

func newValidator(t testing.TB, options []Option) *validator {
	t.Helper()
	a, err := description()
	if err != nil {
		t.Fatal(err)
	}
	v := &validator{t: t, api: a}
	for _, option := range options {
		option(v)
	}
	return v
}

// Handler returns next with a validator before it: every API request and its
// answer must fit GitHub's description, else the test fails. Control paths and
// archive downloads pass unseen, and so does what a client hung up on: tests kill
// processes at any moment. The server must be closed before the test ends.
func Handler(t testing.TB, next http.Handler, options ...Option) http.Handler {
	t.Helper()
	v := newValidator(t, options)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if skipped(r) {
			next.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // whoever was killed while it asked, asked for nothing
		}
		inner := r.Clone(r.Context())
		inner.Body = io.NopCloser(bytes.NewReader(body))
		rec := &recorder{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(rec, inner)
		if r.Context().Err() == nil { // else nobody hears an answer, which may be cut short
			v.report(exchange{r, body, rec.status, rec.Header(), rec.body.Bytes()})
		}
	})
}

// Transport returns base (http.DefaultTransport when nil) with a validator
// behind it, for clients of a server that the test does not start itself.
func Transport(t testing.TB, base http.RoundTripper, options ...Option) http.RoundTripper {
	t.Helper()
	if base == nil {
		base = http.DefaultTransport
	}
	return &transport{base: base, v: newValidator(t, options)}
}

type transport struct {
	base http.RoundTripper
	v    *validator
}

// RoundTrip sends the request and checks the exchange.
func (tr *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if skipped(r) {
		return tr.base.RoundTrip(r)
	}
	var sent []byte
	if r.Body != nil {
		var err error
		if sent, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		if err := r.Body.Close(); err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(sent))
	}
	resp, err := tr.base.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	if closeErr := resp.Body.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	tr.v.report(exchange{r, sent, resp.StatusCode, resp.Header, body})
	return resp, nil
}

func (v *validator) report(x exchange) {
	if err := v.api.check(x, v.refusalsMayDiffer); err != nil {
		v.t.Error(err)
	}
}

// skipped are the paths that GitHub's description does not know.
func skipped(r *http.Request) bool {
	path := strings.TrimPrefix(r.URL.Path, "/api/v3")
	return strings.HasPrefix(path, "/_fake/") || strings.HasPrefix(path, "/_codeload/") || strings.HasPrefix(path, "/repositories/")
}

// recorder keeps a copy of what it lets through.
type recorder struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	r.body.Write(p)
	return r.ResponseWriter.Write(p)
}
