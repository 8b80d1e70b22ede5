package bus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/litci/litci/pkg/flow"
)

// The headers that a dead letter adds to those of the message.
const (
	headerDLQReason   = "Litci-Dlq-Reason"
	headerDLQStream   = "Litci-Dlq-Stream"
	headerDLQSequence = "Litci-Dlq-Seq"
	headerDLQSubject  = "Litci-Dlq-Subject"
)

type dropError struct{ err error }

func (e dropError) Error() string { return e.err.Error() }
func (e dropError) Unwrap() error { return e.err }

// Drop says that no retry will help: the message becomes a dead letter.
func Drop(err error) error { return dropError{err} }

type laterError struct {
	err   error
	delay time.Duration
}

func (e laterError) Error() string { return e.err.Error() }
func (e laterError) Unwrap() error { return e.err }

// Later says that the message must wait, which is no failure: GitHub's limit, for
// example.
func Later(err error, d time.Duration) error { return laterError{err, d} }

// minTries is how often even an old message is tried: it may have waited for a
// service that was away, and the first failure proves nothing.
const minTries = 3

// settle is the only place that acks: nil is done, Drop is never, Later is after
// its delay, any other error is later, each wait longer than the last. A message
// that a stopping service could not finish goes back at once.
func (c *consumer) settle(stop context.Context, msg jetstream.Msg, meta Meta, err error) (outcome string) {
	log := c.log.With(identity(msg)...).With(zap.Uint64("seq", meta.Sequence), zap.Uint64("delivered", meta.Delivered))
	var drop dropError
	var later laterError
	var settled error
	switch {
	case err == nil:
		outcome, settled = "done", msg.Ack()
	case errors.As(err, &drop):
		return c.deadLetter(log, msg, meta, err)
	case stop.Err() != nil:
		outcome, settled = "returned", msg.Nak()
	case errors.As(err, &later):
		log.Warn("waits", zap.Duration("delay", later.delay), zap.Error(err))
		outcome, settled = "later", msg.NakWithDelay(later.delay)
	case time.Since(meta.Stored) > c.opt.GiveUp && meta.Delivered >= minTries:
		return c.deadLetter(log, msg, meta, fmt.Errorf("given up after %s: %w", c.opt.GiveUp, err))
	default:
		delay := backoff(meta.Delivered)
		log.Warn("will be retried", zap.Duration("delay", delay), zap.Error(err))
		outcome, settled = "retry", msg.NakWithDelay(delay)
	}
	if settled != nil {
		log.Warn("settling", zap.Error(settled)) // the message comes again after the ack wait
	}
	return outcome
}

// deadLetter stores the message under dlq.<service> before it ends it, so that a
// crash between the two repeats both and loses nothing.
func (c *consumer) deadLetter(log *zap.Logger, msg jetstream.Msg, meta Meta, cause error) string {
	letter := &nats.Msg{Subject: flow.DeadLettersOf(c.opt.Service), Data: msg.Data(), Header: nats.Header{}}
	for name, values := range msg.Headers() {
		letter.Header[name] = values
	}
	sequence := strconv.FormatUint(meta.Sequence, 10)
	letter.Header.Set(jetstream.MsgIDHeader, "dlq/"+meta.Stream+"/"+c.opt.Durable+"/"+sequence)
	letter.Header.Del("Nats-Expected-Last-Subject-Sequence")
	for _, name := range []string{"Nats-Batch-Id", "Nats-Batch-Sequence", "Nats-Batch-Commit"} {
		letter.Header.Del(name)
	}
	letter.Header.Set(headerDLQReason, oneLine(cause.Error()))
	letter.Header.Set(headerDLQStream, meta.Stream)
	letter.Header.Set(headerDLQSequence, sequence)
	letter.Header.Set(headerDLQSubject, msg.Subject())
	if err := c.bus.publish(context.Background(), letter); err != nil {
		log.Warn("dead letter", zap.Error(err))
		if err := msg.NakWithDelay(backoff(meta.Delivered)); err != nil {
			log.Warn("settling", zap.Error(err))
		}
		return "retry"
	}
	log.Error("dropped into "+letter.Subject, zap.Error(cause))
	if err := msg.TermWithReason(oneLine(cause.Error())); err != nil {
		log.Warn("settling", zap.Error(err))
	}
	return "dropped"
}

// identity is what one search by delivery, run or job finds a message by.
func identity(msg jetstream.Msg) []zap.Field {
	fields := []zap.Field{zap.String("subject", msg.Subject())}
	for _, f := range []struct{ name, header string }{
		{"delivery", flow.HeaderDelivery},
		{"repo", flow.HeaderRepo},
		{"sha", flow.HeaderSHA},
		{"run", flow.HeaderRun},
		{"job", flow.HeaderJob},
		{"attempt", flow.HeaderAttempt},
	} {
		if value := msg.Headers().Get(f.header); value != "" {
			fields = append(fields, zap.String(f.name, value))
		}
	}
	return fields
}

// oneLine is a text as a header can carry it.
func oneLine(text string) string {
	out := []byte(text)
	for i, c := range out {
		if c < ' ' {
			out[i] = ' '
		}
	}
	return string(out[:min(len(out), 500)])
}

// backoff grows from one second to a minute, with a quarter of jitter.
func backoff(delivered uint64) time.Duration {
	delay := time.Second << min(max(delivered, 1)-1, 6)
	delay = min(delay, time.Minute)
	return delay + time.Duration(rand.Int64N(int64(delay)/4))
}

// poisonAfter is how many crashes with a message in hand make it a suspect, and
// survived how long a handler runs before its message is cleared of suspicion.
const (
	poisonAfter = 3
	survived    = 10 * time.Second
	// alone is how long a suspect runs with no other suspect beside it.
	alone = time.Second
)

// crashes is the mark of a message in KV.
type crashes struct {
	// Begun counts handlers that began and neither returned nor survived.
	Begun int `json:"begun"`
	// Alone says that the last of them was the only suspect in hand.
	Alone bool `json:"alone,omitempty"`
}

// mark counts, in KV, how often the handler of a redelivered message began and did
// not return. Deliveries themselves are no measure: waiting counts them too.
//
// A crash marks everything that was in hand, so a suspect is tried once more with
// no other suspect beside it: only what takes the process down alone is a poison.
func (c *consumer) mark(ctx context.Context, meta Meta) (clearMark func(), poisoned bool) {
	key := fmt.Sprintf("crash.%s.%s.%d", meta.Stream, c.opt.Durable, meta.Sequence)
	change := func(fn func(*crashes) bool) (crashes, error) { return Change(ctx, c.bus.Runs(), key, fn) }
	remove := func() {
		if err := c.bus.Runs().Delete(context.WithoutCancel(ctx), key); err != nil {
			c.log.Warn("crash mark", zap.Error(err))
		}
	}
	now, err := change(func(m *crashes) bool { m.Begun++; return !m.Alone })
	if err != nil {
		c.log.Warn("crash mark", zap.Error(err))
		return func() {}, false
	}
	if now.Alone {
		remove()
		return nil, true
	}
	suspicious, release := survived, func() {}
	if now.Begun > poisonAfter {
		select {
		case c.suspects <- struct{}{}:
		case <-ctx.Done():
			return func() {}, false
		}
		suspicious, release = alone, func() { <-c.suspects }
		if _, err := change(func(m *crashes) bool { m.Alone = true; return true }); err != nil {
			c.log.Warn("crash mark", zap.Error(err))
		}
	}
	var once sync.Once
	cleared := func() {
		once.Do(func() {
			remove()
			release()
		})
	}
	timer := time.AfterFunc(suspicious, cleared)
	return func() {
		timer.Stop()
		cleared()
	}, false
}
