package reporter

import (
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/litci/litci/pkg/flow"
)

// metrics count what the jobs of all pools came to. Each attempt is counted once,
// by the reporter that learns of it first.
type metrics struct {
	attempts *prometheus.CounterVec
	outcomes *prometheus.CounterVec
	begin    prometheus.Histogram
	verdict  prometheus.Histogram
}

// latencies are from the webhook on, in seconds.
var latencies = []float64{.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200}

// causeRerun is why somebody's wish raises an attempt.
const causeRerun = "rerun"

func newMetrics() *metrics {
	m := &metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "litci_attempts_raised_total", Help: "Attempts behind a job's first, by why: what the one before failed of, or rerun where somebody asked.",
		}, []string{"cause"}),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "litci_outcomes_total", Help: "Verdicts of attempts, by conclusion and cause.",
		}, []string{"conclusion", "cause"}),
		begin: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "litci_begin_seconds", Help: "Time from the webhook to the beginning of a job's script, of first attempts.", Buckets: latencies,
		}),
		verdict: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "litci_verdict_seconds", Help: "Time from the webhook to a commit's verdict on GitHub, of runs that nobody asked for again.", Buckets: latencies,
		}),
	}
	for _, cause := range []flow.Cause{causeRerun, flow.CausePreempted, flow.CauseInfrastructure, flow.CauseExit} {
		m.attempts.WithLabelValues(string(cause)) // shown as 0 before the first
	}
	return m
}

// Measure registers the service's own metrics.
func (r *Reporter) Measure(registry prometheus.Registerer) error {
	for _, c := range []prometheus.Collector{r.metrics.attempts, r.metrics.outcomes, r.metrics.begin, r.metrics.verdict} {
		if err := registry.Register(c); err != nil {
			return fmt.Errorf("reporter metrics: %w", err)
		}
	}
	r.registry = registry
	return nil
}

// raised counts an attempt that followed another.
func (m *metrics) raised(earlier []flow.Earlier) {
	if len(earlier) == 0 {
		return
	}
	cause := string(knownCause(earlier[len(earlier)-1].Cause))
	if earlier[len(earlier)-1].Rerun {
		cause = causeRerun
	}
	m.attempts.WithLabelValues(cause).Inc()
}

// ended counts an attempt's verdict.
func (m *metrics) ended(j jobState) {
	m.outcomes.WithLabelValues(string(j.Conclusion), string(knownCause(j.Cause))).Inc()
	if j.Attempt == 1 && !j.ReceivedAt.IsZero() && !j.began().IsZero() {
		m.begin.Observe(max(j.began().Sub(j.ReceivedAt).Seconds(), 0))
	}
}

// decided counts the verdict on a commit, once GitHub has it.
func (m *metrics) decided(j jobState, now time.Time) {
	asked := slices.ContainsFunc(j.Earlier, func(e flow.Earlier) bool { return e.Rerun })
	if !asked && !j.ReceivedAt.IsZero() {
		m.verdict.Observe(max(now.Sub(j.ReceivedAt).Seconds(), 0))
	}
}

// knownCause bounds the label's values: a cause comes from a pool's machine.
func knownCause(c flow.Cause) flow.Cause {
	switch c {
	case flow.CauseExit, flow.CauseDeadline, flow.CauseStopped, flow.CauseMemory, flow.CausePreempted, flow.CauseInfrastructure,
		flow.CauseNoCapacity, flow.CauseRefused, flow.CauseNeeds, flow.CauseGivenUp:
		return c
	}
	return "other"
}
