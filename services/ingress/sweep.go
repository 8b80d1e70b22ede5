package ingress

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/ghapp"
)

// The sweep's keys in the bucket runs: what it knows, and who sweeps.
const (
	healKey  = "sweep.deliveries"
	leaseKey = "sweep.lease"
)

const (
	// leaseLife is how long a sweeper that died keeps others from sweeping. A call to
	// GitHub is shorter, and the lease is renewed before each.
	leaseLife   = 20 * time.Second
	callTimeout = 12 * time.Second
	// saveEvery is after how many redeliveries the state is written. After a crash at
	// most so many are asked for twice, which the stream's duplicate window makes one.
	saveEvery = 20
)

// errOther says that another ingress sweeps.
var errOther = errors.New("another ingress sweeps")

// sweeper asks GitHub to deliver again what nobody took: GitHub itself never does.
// Of several ingresses one sweeps at a time.
type sweeper struct {
	log     deliveryLog
	state   *bus.KV
	every   time.Duration
	zap     *zap.Logger
	now     func() time.Time
	life    time.Duration // of the lease
	metrics sweepMetrics
}

type sweepMetrics struct {
	redelivered prometheus.Counter
	pending     prometheus.Gauge
	last        prometheus.Gauge
}

func newSweeper(log deliveryLog, state *bus.KV, every time.Duration, logger *zap.Logger, registry prometheus.Registerer) (*sweeper, error) {
	s := &sweeper{log: log, state: state, every: every, zap: logger, now: time.Now, life: leaseLife, metrics: sweepMetrics{
		redelivered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "litci_deliveries_redelivered_total", Help: "Webhook deliveries that GitHub was asked to repeat, since nobody had taken them.",
		}),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "litci_deliveries_pending", Help: "Webhook deliveries that nobody has taken yet and that GitHub still holds.",
		}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "litci_deliveries_sweep_timestamp_seconds", Help: "When GitHub's log of deliveries was last looked through, by any ingress.",
		}),
	}}
	if registry != nil {
		if err := errors.Join(registry.Register(s.metrics.redelivered), registry.Register(s.metrics.pending), registry.Register(s.metrics.last)); err != nil {
			return nil, fmt.Errorf("metrics of the sweep: %w", err)
		}
	}
	return s, nil
}

// run sweeps at once and then every interval, until ctx ends. What goes wrong ends
// a round, and the next one goes on from there.
func (s *sweeper) run(ctx context.Context) {
	first := true
	for {
		wait := s.every
		switch err := s.turn(ctx, first); {
		case ctx.Err() != nil:
			return
		case err == nil:
			first = false
		case errors.Is(err, errOther):
			// It may also be one that died: its lease ends soon.
			wait = min(wait, s.life)
		case err != nil:
			s.zap.Warn("sweep for missed webhooks ended early", zap.Error(err))
		}
		select {
		case <-time.After(wait + rand.N(wait/10+1)):
		case <-ctx.Done():
			return
		}
	}
}

// turn is one round, unless another ingress made one a moment ago. The first one is
// always made: what was missed may have been missed by this ingress.
func (s *sweeper) turn(ctx context.Context, first bool) error {
	host, _ := os.Hostname() // a name that is not to be had is not shown
	l := &lease{kv: s.state, holder: host, life: s.life}
	if err := l.renew(ctx); err != nil {
		return err
	}
	defer l.release(context.WithoutCancel(ctx))
	r := &round{sweeper: s, lease: l}
	if err := r.load(ctx); err != nil {
		return err
	}
	if !first && s.now().Sub(r.heal.Round) < s.every/2 {
		return nil
	}
	err := r.sweep(ctx)
	if err != nil {
		// What was found and asked for so far is kept; the cause is what is told.
		if saved := r.save(context.WithoutCancel(ctx)); saved != nil {
			s.zap.Debug("state of the sweep not kept", zap.Error(saved))
		}
	}
	return err
}

// lease is the right to sweep.
type lease struct {
	kv       *bus.KV
	holder   string // for people who look
	life     time.Duration
	revision uint64
}

// renew takes the lease or keeps it. errOther says that somebody else has it.
func (l *lease) renew(ctx context.Context) error {
	revision, err := l.kv.Lease(ctx, leaseKey, []byte(l.holder), l.revision, l.life)
	if errors.Is(err, bus.ErrConflict) {
		return errOther
	}
	if err != nil {
		return fmt.Errorf("lease of the sweep: %w", err)
	}
	l.revision = revision
	return nil
}

// release lets others sweep; a lease that cannot be given back ends by itself.
func (l *lease) release(ctx context.Context) { _ = l.kv.Release(ctx, leaseKey, l.revision) }

// round is one look through the log.
type round struct {
	*sweeper
	lease    *lease
	heal     heal
	revision uint64
}

func (r *round) load(ctx context.Context) error {
	data, revision, err := r.state.Get(ctx, healKey)
	if err != nil && !errors.Is(err, bus.ErrNotFound) {
		return fmt.Errorf("state of the sweep: %w", err)
	}
	if err == nil {
		if err := json.Unmarshal(data, &r.heal); err != nil {
			r.zap.Warn("state of the sweep is unreadable: the whole log is read", zap.Error(err))
			r.heal = heal{}
		}
	}
	r.revision = revision
	r.show()
	return nil
}

// save writes the state unless another sweeper did: then the lease has passed on.
func (r *round) save(ctx context.Context) error {
	data, err := json.Marshal(r.heal)
	if err != nil {
		return fmt.Errorf("state of the sweep: %w", err)
	}
	revision, err := r.state.Put(ctx, healKey, data, r.revision)
	if errors.Is(err, bus.ErrConflict) {
		return errOther
	}
	if err != nil {
		return fmt.Errorf("state of the sweep: %w", err)
	}
	r.revision = revision
	r.show()
	return nil
}

func (r *round) show() {
	r.metrics.pending.Set(float64(len(r.heal.Pending)))
	if !r.heal.Round.IsZero() {
		r.metrics.last.Set(float64(r.heal.Round.Unix()))
	}
}

// sweep reads what is new in the log, then asks for what is missed.
func (r *round) sweep(ctx context.Context) error {
	if err := r.read(ctx); err != nil {
		return err
	}
	for _, m := range r.heal.forget(r.now()) {
		r.zap.Error("given up: no longer in GitHub's log", m.fields()...)
	}
	if err := r.ask(ctx); err != nil {
		return err
	}
	r.heal.Round = r.now().UTC()
	return r.save(ctx)
}

// read reads the log's gaps, the newest first.
func (r *round) read(ctx context.Context) error {
	r.heal.open()
	for len(r.heal.Gaps) > 0 {
		cursor := r.heal.Gaps[0].Cursor
		var page []attempt
		var next string
		err := r.call(ctx, func(ctx context.Context) (err error) {
			page, next, err = r.log.Page(ctx, cursor)
			return err
		})
		if cursor != "" && (refusedItself(err) || ghapp.IsNotFound(err)) {
			r.heal.Gaps[0].Cursor = "" // the cursor is too old: from the newest line again
		}
		if err != nil {
			return err
		}
		if !r.heal.read(page, next, r.now()) {
			r.zap.Warn("too many missed webhooks at once: the rest of the log is read later", zap.Int("pending", len(r.heal.Pending)))
			return nil
		}
		if len(r.heal.Gaps) > 0 {
			if err := r.save(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// ask asks for what is due.
func (r *round) ask(ctx context.Context) error {
	for i, m := range r.heal.due(r.now()) {
		err := r.call(ctx, func(ctx context.Context) error { return r.log.Redeliver(ctx, m.ID) })
		switch {
		case err == nil:
			r.metrics.redelivered.Inc()
			r.zap.Info("redelivery asked for", append(m.fields(), zap.Int("tries", m.Tries+1))...)
			r.heal.asked(m.GUID, r.now(), r.every)
		case ghapp.IsNotFound(err):
			r.zap.Error("given up: no longer in GitHub's log", m.fields()...)
			r.heal.lost(m.GUID)
		case refusedItself(err):
			r.zap.Warn("redelivery refused", append(m.fields(), zap.Error(err))...)
			r.heal.asked(m.GUID, r.now(), r.every)
		default:
			return err
		}
		if (i+1)%saveEvery == 0 {
			if err := r.save(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// call makes one call to GitHub under the lease.
func (r *round) call(ctx context.Context, fn func(context.Context) error) error {
	if err := r.lease.renew(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return fn(ctx)
}

func (m missed) fields() []zap.Field {
	return []zap.Field{zap.String("delivery", m.GUID), zap.String("event", m.Event), zap.Time("delivered_at", m.First)}
}
