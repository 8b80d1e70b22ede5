package ghapp

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The kinds of limits that were met.
const (
	limitedPrimary   = "primary"   // the hour's requests
	limitedSecondary = "secondary" // all other limits of GitHub
	limitedOwn       = "own"       // our own pace, before GitHub's was met
)

type metrics struct {
	requests    *prometheus.CounterVec
	limited     *prometheus.CounterVec
	notModified prometheus.Counter
}

func newMetrics(registry prometheus.Registerer, budgets *Budgets) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "litci_github_requests_total", Help: "Requests to GitHub, by operation and status code.",
		}, []string{"operation", "code"}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "litci_github_limited_total",
			Help: "Calls that a limit stopped: GitHub's primary or secondary, met; or our own pace, which put off a call or a reservation.",
		}, []string{"kind"}),
		notModified: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "litci_github_not_modified_total", Help: "Answers of GitHub that came from the store, since nothing had changed.",
		}),
	}
	if registry != nil {
		gauges := newGauges()
		if err := errors.Join(register(registry, &m.requests), register(registry, &m.limited),
			register(registry, &m.notModified), register(registry, &gauges)); err != nil {
			return nil, fmt.Errorf("github metrics: %w", err)
		}
		gauges.add(budgets)
	}
	for _, kind := range []string{limitedPrimary, limitedSecondary, limitedOwn} {
		m.limited.WithLabelValues(kind) // shown as 0 before the first
	}
	return m, nil
}

// register puts a collector into a registry, or takes the one that it holds under
// the same name.
func register[T prometheus.Collector](registry prometheus.Registerer, collector *T) error {
	err := registry.Register(*collector)
	var before prometheus.AlreadyRegisteredError
	if errors.As(err, &before) {
		if same, ok := before.ExistingCollector.(T); ok {
			*collector = same
			return nil
		}
	}
	return err
}

// gauges tells how all the Budgets of a process stand.
type gauges struct {
	remaining, paused *prometheus.Desc

	mu      sync.Mutex
	budgets []*Budgets
}

func newGauges() *gauges {
	return &gauges{
		remaining: prometheus.NewDesc("litci_github_budget_remaining",
			"Requests left in the hour, of the installation that has fewest; absent until GitHub tells.", nil, nil),
		paused: prometheus.NewDesc("litci_github_paused_installations",
			"Installations that GitHub told to wait and that are not called.", nil, nil),
	}
}

func (g *gauges) add(b *Budgets) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !slices.Contains(g.budgets, b) {
		g.budgets = append(g.budgets, b)
	}
}

// Describe sends what Collect may send.
func (g *gauges) Describe(out chan<- *prometheus.Desc) {
	out <- g.remaining
	out <- g.paused
}

// Collect reads all installations.
func (g *gauges) Collect(out chan<- prometheus.Metric) {
	g.mu.Lock()
	budgets := slices.Clone(g.budgets)
	g.mu.Unlock()
	now, paused, lowest := time.Now(), 0, unknown
	for _, b := range budgets {
		for _, inst := range b.all() {
			left, waits := inst.state(now)
			lowest = min(lowest, left)
			if waits {
				paused++
			}
		}
	}
	out <- prometheus.MustNewConstMetric(g.paused, prometheus.GaugeValue, float64(paused))
	if lowest != unknown {
		out <- prometheus.MustNewConstMetric(g.remaining, prometheus.GaugeValue, float64(lowest))
	}
}
