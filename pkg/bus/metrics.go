package bus

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
)

// metrics measure every service alike; a service adds its own only for what its
// subject cannot show. docs/metrics.md has them all.
type metrics struct {
	messages    *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	hop         *prometheus.HistogramVec
	inHand      *prometheus.GaugeVec
	redelivered *prometheus.CounterVec
	dropped     *prometheus.CounterVec
	published   *prometheus.CounterVec
	unpublished *prometheus.CounterVec

	// Of each durable, as the server tells: see measure.
	unread, unreadSeconds, unacked, unackedLimit *prometheus.GaugeVec

	letters    prometheus.Gauge
	reconnects prometheus.Counter
}

// Why a message is dropped.
const (
	droppedRefused = "refused"  // the service says that no retry helps
	droppedGivenUp = "given_up" // it kept failing until it was too old
	droppedPoison  = "poison"   // it takes the process down
)

func newMetrics() *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: []float64{.001, .005, .025, .1, .5, 2, 10, 60, 600, 3600},
		}, []string{"subject", "service"})
	}
	return &metrics{
		messages:    counter("litci_messages_total", "Messages handled, by outcome (done, later, retry, dropped, returned).", "subject", "service", "outcome"),
		seconds:     histogram("litci_message_seconds", "Time from taking a message in hand to settling it."),
		hop:         histogram("litci_hop_seconds", "Time from the stream's storing a message to its first handler's beginning."),
		inHand:      gauge("litci_messages_in_hand", "Messages that a handler holds now.", "subject", "service"),
		redelivered: counter("litci_messages_redelivered_total", "Deliveries of messages that had been delivered before.", "subject", "service"),
		dropped:     counter("litci_messages_dropped_total", "Messages that became dead letters, by why (refused, given_up, poison).", "subject", "service", "reason"),
		published:   counter("litci_published_total", "Messages stored; duplicate=true is the sign of a recovered crash.", "subject", "duplicate"),
		unpublished: counter("litci_publish_failures_total", "Publishes that the stream did not confirm.", "subject"),

		unread:        gauge("litci_consumer_unread_messages", "Messages that were not delivered to the consumer yet.", "stream", "consumer"),
		unreadSeconds: gauge("litci_consumer_unread_seconds", "How long the oldest unread message has waited, at most; 0 where there is none.", "stream", "consumer"),
		unacked:       gauge("litci_consumer_unacked_messages", "Messages that were delivered to the consumer and not settled.", "stream", "consumer"),
		unackedLimit:  gauge("litci_consumer_unacked_limit", "Unacked messages at which the server delivers no more.", "stream", "consumer"),

		letters:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "litci_dead_letters", Help: "Dead letters of all services that nobody has replayed or dropped."}),
		reconnects: prometheus.NewCounter(prometheus.CounterOpts{Name: "litci_nats_reconnects_total", Help: "Times that the connection to NATS was lost and came back."}),
	}
}

// register adds the metrics of a connection, once it is made.
func (m *metrics) register(registry prometheus.Registerer, nc *nats.Conn) {
	if registry == nil {
		return
	}
	connected := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "litci_nats_connected", Help: "1 while there is a connection to NATS, else 0.",
	}, func() float64 {
		if nc.IsConnected() {
			return 1
		}
		return 0
	})
	registry.MustRegister(m.messages, m.seconds, m.hop, m.inHand, m.redelivered, m.dropped, m.published, m.unpublished,
		m.unread, m.unreadSeconds, m.unacked, m.unackedLimit, m.reconnects, connected)
}

// zero shows what a consumer counts as 0 before the first.
func (m *metrics) zero(subject, service string) {
	for _, outcome := range []string{"done", "later", "retry", "dropped", "returned"} {
		m.messages.WithLabelValues(subject, service, outcome)
	}
	for _, reason := range []string{droppedRefused, droppedGivenUp, droppedPoison} {
		m.dropped.WithLabelValues(subject, service, reason)
	}
	m.redelivered.WithLabelValues(subject, service)
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

// measureEvery is how often the server is asked how a consumer is.
const measureEvery = 10 * time.Second

// backlog knows for how long the oldest unread message has waited, without reading
// it: it is younger than the newest that was read, and than the last time that none
// was unread.
type backlog struct {
	mu     sync.Mutex
	newest time.Time // stored then
	empty  time.Time
}

// read notes a first delivery.
func (b *backlog) read(stored time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if stored.After(b.newest) {
		b.newest = stored
	}
}

// age is how long the oldest of the unread messages has waited at most, as far as
// this process knows.
func (b *backlog) age(unread uint64, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if unread == 0 || b.empty.IsZero() {
		b.empty = now
	}
	if unread == 0 {
		return 0
	}
	since := b.empty
	if b.newest.After(since) {
		since = b.newest
	}
	return max(now.Sub(since), 0)
}

// measure keeps the consumer's gauges until stopped is closed.
func (c *consumer) measure(stopped <-chan struct{}) {
	tick := time.NewTicker(c.bus.measureEvery)
	defer tick.Stop()
	for {
		if err := c.measureOnce(); err != nil {
			c.log.Debug("consumer is not measured", zap.String("subject", c.subject), zap.Error(err))
		}
		select {
		case <-stopped:
			return
		case <-tick.C:
		}
	}
}

func (c *consumer) measureOnce() error {
	ctx, cancel := context.WithTimeout(context.Background(), c.bus.patience)
	defer cancel()
	info, err := c.pull.Info(ctx)
	if err != nil {
		return err
	}
	m := c.bus.metrics
	m.unread.WithLabelValues(info.Stream, info.Name).Set(float64(info.NumPending))
	m.unreadSeconds.WithLabelValues(info.Stream, info.Name).Set(c.backlog.age(info.NumPending, time.Now()).Seconds())
	m.unacked.WithLabelValues(info.Stream, info.Name).Set(float64(info.NumAckPending))
	m.unackedLimit.WithLabelValues(info.Stream, info.Name).Set(float64(info.Config.MaxAckPending))
	return nil
}

// MeasureLetters measures how many dead letters there are, for as long as ctx lasts. It
// is for one service: all would count the same.
func (b *Bus) MeasureLetters(ctx context.Context, registry prometheus.Registerer) error {
	if err := registry.Register(b.metrics.letters); err != nil {
		return err
	}
	tick := time.NewTicker(b.measureEvery)
	defer tick.Stop()
	for {
		asking, cancel := context.WithTimeout(ctx, b.patience)
		n, err := b.CountLetters(asking)
		cancel()
		if err == nil {
			b.metrics.letters.Set(float64(n))
		} else if ctx.Err() == nil {
			b.log.Debug("dead letters are not counted", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
