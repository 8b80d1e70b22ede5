package ghapp

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/litci/litci/pkg/tracing"
)

const (
	userAgent  = "litci"
	apiVersion = "2022-11-28"
	apiAccept  = "application/vnd.github+json"
)

// wire sets what GitHub demands of every request, ghinstallation's own included,
// and counts them.
type wire struct {
	next    http.RoundTripper
	home    *url.URL
	metrics *metrics
}

// RoundTrip sends the request as it is but for the headers.
func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("User-Agent", userAgent)
	operation := req.Method + " archive"
	if strings.HasPrefix(req.URL.Path, w.home.Path) && sameOrigin(req.URL, w.home) {
		operation = req.Method + " " + template(strings.TrimPrefix(req.URL.Path, w.home.Path))
		req.Header.Set("X-GitHub-Api-Version", apiVersion)
		// ghinstallation adds its own, older media type behind what is there.
		if accept := req.Header.Values("Accept"); len(accept) == 0 || strings.Contains(accept[len(accept)-1], "github.v3+json") {
			req.Header.Set("Accept", apiAccept)
		}
	}
	resp, err := w.traced(req, operation)
	if err != nil {
		w.metrics.requests.WithLabelValues(operation, "error").Inc()
		return nil, err
	}
	w.metrics.requests.WithLabelValues(operation, strconv.Itoa(resp.StatusCode)).Inc()
	return resp, nil
}

// traced sends the request within a span of its own. GitHub is not told of it.
func (w *wire) traced(req *http.Request, operation string) (*http.Response, error) {
	if !tracing.On(req.Context()) {
		return w.next.RoundTrip(req)
	}
	method, path, _ := strings.Cut(operation, " ")
	ctx, span := tracing.Start(req.Context(), "GitHub "+operation, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		semconv.HTTPRequestMethodKey.String(method), semconv.URLTemplate(path), semconv.ServerAddress(req.URL.Hostname()),
	))
	resp, err := w.next.RoundTrip(req.WithContext(ctx))
	if err == nil {
		span.SetAttributes(semconv.HTTPResponseStatusCode(resp.StatusCode))
	}
	failed := err
	if err == nil && resp.StatusCode >= http.StatusBadRequest {
		failed = errors.New(resp.Status)
	}
	tracing.End(span, failed)
	return resp, err
}

// CloseIdleConnections is what http.Client calls by this name.
func (w *wire) CloseIdleConnections() {
	if closer, ok := w.next.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}

// words are the fixed parts of the paths that litci asks for; everything else in a
// path is a value, so the number of templates is bounded.
const words = " access_tokens annotations app attempts blobs branches check-runs check-suites collaborators comments commits compare config contents deliveries files git hook installation installations issues members orgs permission pulls rate_limit reactions refs repos repositories requested_reviewers reviews statuses tarball trees user users "

// openEnded are the words behind which the rest of the path is one value.
const openEnded = " branches compare contents refs tarball trees "

// template is a path with its values left out: repos/{}/{}/pulls/{}.
func template(path string) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		value := !strings.Contains(words, " "+part+" ") || part == "" || (i <= 2 && i > 0 && parts[0] == "repos")
		if value {
			parts[i] = "{}"
			continue
		}
		if strings.Contains(openEnded, " "+part+" ") && i+1 < len(parts) {
			return "/" + strings.Join(append(parts[:i+1], "{}"), "/")
		}
	}
	if len(parts) > 8 {
		parts = append(parts[:8], "{}")
	}
	return "/" + strings.Join(parts, "/")
}
