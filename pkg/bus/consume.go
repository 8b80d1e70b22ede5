package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"github.com/litci/litci/pkg/flow"
)

// Consumer says how a service takes messages.
type Consumer struct {
	// Service names the service in durables, dead letters and logs.
	Service string
	// Durable is the consumer's name on the server; default Service.
	Durable string
	// Pool takes the messages of a named pool, through a durable of its own, which
	// provisioning made; "*" takes those of every pool together with the unnamed one's.
	Pool string
	// Places is how many messages are in hand at most; default 16. No more are
	// fetched than there are free places.
	Places int
	// Hold says that handlers keep their message for long. Their context ends at
	// once when the service stops, and the message is given back to another.
	Hold bool
	// GiveUp is the age of a message at which a failure is final; default 24 h.
	GiveUp time.Duration
	// LastWord is called with a message that becomes a dead letter, before it does, so
	// that the service can tell people that nothing comes of it; see LastWord. Its error
	// brings the message again. Nil says nothing.
	LastWord func(ctx context.Context, data []byte, cause error) error
}

// LastWord makes a Consumer's LastWord of a function that takes the message. What
// cannot be decoded has no last word.
func LastWord[T flow.Message](say func(ctx context.Context, msg T, cause error) error) func(context.Context, []byte, error) error {
	return func(ctx context.Context, data []byte, cause error) error {
		var msg T
		if json.Unmarshal(data, &msg) != nil {
			return nil
		}
		return say(ctx, msg, cause)
	}
}

// Meta is what the bus knows of the message in hand.
type Meta struct {
	Stream string
	// Sequence is the message's place in the stream.
	Sequence uint64
	// Delivered counts deliveries, this one included.
	Delivered uint64
	// Stored is when the stream took the message.
	Stored time.Time
}

type metaKey struct{}

// Delivery returns what the bus knows of the message in hand; zero outside a handler.
func Delivery(ctx context.Context) Meta {
	m, _ := ctx.Value(metaKey{}).(Meta)
	return m
}

const (
	// stopGrace bounds what handlers may still do when the service stops.
	stopGrace = 20 * time.Second
	// fetchWait bounds a pull, so that one that a server crash swallowed is soon made again.
	fetchWait = 5 * time.Second
	maxFetch  = 500
)

// Consume runs handler for every message of a subject until ctx ends, and returns
// nil once the work in hand is put down. Each message has a goroutine of its own
// and stays in hand for as long as its handler runs.
//
// What the handler returns decides: nil is done; Drop sends the message to the
// dead letters; Later brings it again and is no failure; any other error, and a
// panic, bring it again with a growing delay until it is older than GiveUp.
// Consume waits for a stream or a durable that does not exist yet.
func Consume[T flow.Message](ctx context.Context, b *Bus, subject flow.Subject[T], opt Consumer, handler func(context.Context, T) error) error {
	c, err := open(ctx, b, string(subject), opt)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("consumer of %s: %w", subject, err)
	}
	return c.run(ctx, func(ctx context.Context, data []byte) error {
		var msg T
		if err := json.Unmarshal(data, &msg); err != nil {
			return Drop(fmt.Errorf("message of %s cannot be decoded: %w", subject, err))
		}
		return handler(ctx, msg)
	})
}

// consumer is one durable of one service with what it holds.
type consumer struct {
	bus     *Bus
	opt     Consumer
	subject string
	log     *zap.Logger
	spans   trace.TracerProvider
	backlog backlog
	pull    jetstream.Consumer
	ackWait time.Duration

	places chan struct{}
	// suspects is the room for what is suspected of taking the process down, suspected
	// how many have room or wait for it.
	suspects  *semaphore.Weighted
	suspected atomic.Int64
	wait      sync.WaitGroup
	mu        sync.Mutex
	inHand    map[uint64]jetstream.Msg
	// begun wakes the heartbeat that has nothing to keep.
	begun chan struct{}
	// failures are how often each message failed here; waiting is no failure.
	failures map[uint64]int
}

func open(ctx context.Context, b *Bus, subject string, opt Consumer) (*consumer, error) {
	if opt.Places <= 0 {
		opt.Places = 16
	}
	if opt.GiveUp <= 0 {
		opt.GiveUp = day
	}
	if opt.Durable == "" {
		opt.Durable = opt.Service
	}
	streamName := streamOf(subject)
	own := opt.Pool != "" && opt.Pool != "*"
	if own {
		subject += "." + opt.Pool
		opt.Durable += "-" + opt.Pool
	}
	c := &consumer{
		bus: b, opt: opt, subject: subject, log: b.log.Named(opt.Service), spans: b.providerOf(opt.Service),
		places: make(chan struct{}, opt.Places), suspects: semaphore.NewWeighted(company), inHand: map[uint64]jetstream.Msg{}, begun: make(chan struct{}, 1), failures: map[uint64]int{},
	}
	remedy := "litci provision"
	if own {
		remedy += " --pool " + opt.Pool
	}
	err := b.await(ctx, "consumer "+streamName+"/"+opt.Durable+"; "+remedy+" makes it", func(ctx context.Context) (err error) {
		c.pull, err = b.js.Consumer(ctx, streamName, opt.Durable)
		return b.Refusal(err)
	})
	if err != nil {
		return nil, err
	}
	c.ackWait = c.pull.CachedInfo().Config.AckWait
	b.metrics.zero(family(subject), opt.Service)
	return c, nil
}

func (c *consumer) run(ctx context.Context, handle func(context.Context, []byte) error) error {
	work, cancel := c.workContext(ctx)
	defer cancel()
	stopped := make(chan struct{})
	var beside sync.WaitGroup
	beside.Go(func() { c.heartbeat(stopped) })
	beside.Go(func() { c.measure(stopped) })

	for ctx.Err() == nil {
		n := c.free(ctx)
		if n == 0 {
			break
		}
		c.fetch(ctx, n, func(msg jetstream.Msg) {
			c.wait.Go(func() {
				defer func() { <-c.places }()
				c.process(ctx, work, msg, handle)
			})
		})
	}
	c.wait.Wait()
	close(stopped)
	beside.Wait()
	return nil
}

// workContext is the context of handlers: it ends with ctx for those who hold
// their message, and a grace later for those who finish quickly.
func (c *consumer) workContext(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.opt.Hold {
		return context.WithCancel(ctx)
	}
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(stopGrace, cancel) })
	return work, func() { stop(); cancel() }
}

// free takes as many places as are free, at least one, and returns their number;
// 0 when ctx ended.
func (c *consumer) free(ctx context.Context) int {
	select {
	case c.places <- struct{}{}:
	case <-ctx.Done():
		return 0
	}
	n := 1
	for n < maxFetch {
		select {
		case c.places <- struct{}{}:
			n++
			continue
		default:
		}
		break
	}
	return n
}

// fetch asks for up to n messages, hands them on as they come, and gives back the
// places that stayed empty.
func (c *consumer) fetch(ctx context.Context, n int, hand func(jetstream.Msg)) {
	used := 0
	defer func() {
		for range n - used {
			<-c.places
		}
	}()
	pull, cancel := context.WithTimeout(ctx, fetchWait)
	defer cancel()
	batch, err := c.pull.Fetch(n, jetstream.FetchContext(pull))
	if err == nil {
		for msg := range batch.Messages() {
			used++
			hand(msg)
		}
		err = batch.Error()
	}
	if err == nil || ctx.Err() != nil || pull.Err() != nil {
		return
	}
	c.log.Warn("fetch", zap.String("subject", c.subject), zap.Error(err))
	select {
	case <-ctx.Done():
	case <-time.After(time.Second):
	}
}

func (c *consumer) process(stop, work context.Context, msg jetstream.Msg, handle func(context.Context, []byte) error) {
	info, err := msg.Metadata()
	if err != nil {
		c.log.Error("message without metadata", zap.Error(err))
		return
	}
	meta := Meta{Stream: info.Stream, Sequence: info.Sequence.Stream, Delivered: info.NumDelivered, Stored: info.Timestamp}
	label, m := family(c.subject), c.bus.metrics
	began := time.Now()
	if meta.Delivered == 1 {
		c.backlog.read(meta.Stored)
		m.hop.WithLabelValues(label, c.opt.Service).Observe(max(began.Sub(meta.Stored).Seconds(), 0))
	} else {
		m.redelivered.WithLabelValues(label, c.opt.Service).Inc()
	}
	c.hold(meta.Sequence, msg)
	m.inHand.WithLabelValues(label, c.opt.Service).Inc()
	defer func() {
		m.inHand.WithLabelValues(label, c.opt.Service).Dec()
		m.seconds.WithLabelValues(label, c.opt.Service).Observe(time.Since(began).Seconds())
	}()

	traced, ended := c.processing(work, msg, meta)
	err = c.guarded(traced, meta, msg, handle)
	c.release(meta.Sequence)
	outcome := c.settle(stop, traced, msg, meta, err)
	ended(outcome, err)
	if outcome == "dropped" && errors.Is(err, errPoison) {
		c.unmark(work, meta)
	}
	m.messages.WithLabelValues(label, c.opt.Service, outcome).Inc()
}

// guarded runs the handler; a panic is an error like any other, and a message
// that takes the process down again and again is a poison.
func (c *consumer) guarded(ctx context.Context, meta Meta, msg jetstream.Msg, handle func(context.Context, []byte) error) (err error) {
	if meta.Delivered > 1 {
		clearMark, err := c.mark(ctx, meta)
		if err != nil {
			return Drop(err)
		}
		defer clearMark()
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
		}
	}()
	return handle(context.WithValue(ctx, metaKey{}, meta), msg.Data())
}

func (c *consumer) hold(seq uint64, msg jetstream.Msg) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inHand[seq] = msg
	select {
	case c.begun <- struct{}{}:
	default: // it is awake, or about to be
	}
}

func (c *consumer) release(seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.inHand, seq)
}

// beatTurns is into how many parts the heartbeats of one interval are cut: thousands
// at once would keep everything else waiting.
const beatTurns = 20

// heartbeat keeps what is in hand: the ack wait is then how long a crash goes
// unnoticed, and not how long work may take. Each message has its turn once in a
// third of the ack wait, by the clock: turns that the process missed because it stood
// still are made up for. With nothing in hand it sleeps.
func (c *consumer) heartbeat(stopped <-chan struct{}) {
	interval := max(c.ackWait/3, 100*time.Millisecond) / beatTurns
	tick := time.NewTicker(interval)
	defer tick.Stop()
	began := time.Now()
	now := func() uint64 { return uint64(time.Since(began) / interval) }
	for last := now(); ; {
		select {
		case <-stopped:
			return
		case <-tick.C:
		}
		turn := now()
		c.mu.Lock()
		idle := len(c.inHand) == 0
		var held []uint64
		for seq := range c.inHand {
			if due(seq, last, turn) {
				held = append(held, seq)
			}
		}
		c.mu.Unlock()
		last = turn
		for _, seq := range held {
			if err := c.beat(seq); err != nil {
				c.log.Debug("in progress", zap.String("subject", c.subject), zap.Error(err))
				break
			}
		}
		if !idle {
			continue
		}
		tick.Stop()
		select {
		case <-stopped:
			return
		case <-c.begun:
		}
		last = now()
		tick.Reset(interval)
	}
}

// due tells whether a message has a turn behind the last one, up to this one.
func due(seq, last, turn uint64) bool {
	return (seq%beatTurns+beatTurns-(last+1)%beatTurns)%beatTurns < turn-last
}

// beat keeps a message unless it was let go meanwhile: behind a settlement that asks
// for it after a delay, a beat would put that off by an ack wait.
func (c *consumer) beat(seq uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	msg, held := c.inHand[seq]
	if !held {
		return nil
	}
	return msg.InProgress()
}
