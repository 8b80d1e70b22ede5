package bus

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics measure every service alike; a service adds its own only for what its
// subject cannot show.
type metrics struct {
	messages  *prometheus.CounterVec
	seconds   *prometheus.HistogramVec
	inHand    *prometheus.GaugeVec
	published *prometheus.CounterVec
}

func newMetrics(registry prometheus.Registerer) *metrics {
	m := &metrics{
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "litci_messages_total", Help: "Messages handled, by subject and outcome (done, later, retry, dropped, returned).",
		}, []string{"subject", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "litci_message_seconds", Help: "Time from taking a message in hand to settling it.",
			Buckets: []float64{.001, .005, .025, .1, .5, 2, 10, 60, 600, 3600},
		}, []string{"subject"}),
		inHand: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "litci_messages_in_hand", Help: "Messages that a handler holds now.",
		}, []string{"subject"}),
		published: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "litci_published_total", Help: "Messages stored, by subject; duplicate=true is the sign of a recovered crash.",
		}, []string{"subject", "duplicate"}),
	}
	if registry != nil {
		registry.MustRegister(m.messages, m.seconds, m.inHand, m.published)
	}
	return m
}

// family is a subject without its variable last token, so that labels are bounded.
func family(subject string) string {
	for _, prefix := range []string{"jobs.plan", "jobs.log", "jobs.start", "jobs.status"} {
		if strings.HasPrefix(subject, prefix+".") {
			return prefix
		}
	}
	return subject
}
