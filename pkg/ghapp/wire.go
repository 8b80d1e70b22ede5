package ghapp

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
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
	resp, err := w.next.RoundTrip(req)
	if err != nil {
		w.metrics.requests.WithLabelValues(operation, "error").Inc()
		return nil, err
	}
	w.metrics.requests.WithLabelValues(operation, strconv.Itoa(resp.StatusCode)).Inc()
	if left, err := strconv.Atoi(resp.Header.Get("X-RateLimit-Remaining")); err == nil {
		w.metrics.budget.Set(float64(left))
	}
	return resp, nil
}

// CloseIdleConnections is what http.Client calls by this name.
func (w *wire) CloseIdleConnections() {
	if closer, ok := w.next.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}

type metrics struct {
	requests *prometheus.CounterVec
	budget   prometheus.Gauge
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "litci_github_requests_total", Help: "Requests to GitHub, by operation and status code.",
		}, []string{"operation", "code"}),
		budget: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "litci_github_budget_remaining", Help: "Requests left in the hour, as GitHub's latest answer tells.",
		}),
	}
	if registry == nil {
		return m, nil
	}
	var err error
	if m.requests, err = register(registry, m.requests); err != nil {
		return nil, err
	}
	m.budget, err = register(registry, m.budget)
	return m, err
}

// register returns the collector that a registry holds under the same name.
func register[T prometheus.Collector](registry prometheus.Registerer, collector T) (T, error) {
	err := registry.Register(collector)
	var before prometheus.AlreadyRegisteredError
	if errors.As(err, &before) {
		if same, ok := before.ExistingCollector.(T); ok {
			return same, nil
		}
	}
	if err != nil {
		return collector, fmt.Errorf("github metrics: %w", err)
	}
	return collector, nil
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
