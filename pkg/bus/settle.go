package bus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/tracing"
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

const (
	// handOver is how long a message that a stopping service gives back waits: at once,
	// the server might answer that service's last pull with it, which nobody reads.
	handOver = 500 * time.Millisecond
	// minTries is how often even an old message is tried: it may have waited for a
	// service that was away, or for GitHub, and the first failure proves nothing.
	minTries = 3
	// keptFailures bounds what is remembered of messages that others took over.
	keptFailures = 10_000
)

// failed counts a failure of a message in this process, and returns their number.
func (c *consumer) failed(meta Meta) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.failures) >= keptFailures {
		clear(c.failures)
	}
	c.failures[meta.Sequence]++
	return c.failures[meta.Sequence]
}

// settle is the only place that acks: nil is done, Drop is never, Later is after
// its delay, any other error is later, each wait longer than the last. A message
// that a stopping service could not finish goes back at once. traced has the
// message's span.
func (c *consumer) settle(stop, traced context.Context, msg jetstream.Msg, meta Meta, err error) (outcome string) {
	log := c.log.With(identity(msg)...).With(tracing.Field(traced), zap.Uint64("seq", meta.Sequence), zap.Uint64("delivered", meta.Delivered))
	var drop dropError
	var later laterError
	var settled error
	switch {
	case err == nil:
		outcome, settled = "done", msg.Ack()
	case errors.As(err, &drop):
		reason := droppedRefused
		if errors.Is(err, errPoison) {
			reason = droppedPoison
		}
		return c.deadLetter(traced, log, msg, meta, reason, err)
	case stop.Err() != nil:
		outcome, settled = "returned", msg.NakWithDelay(handOver)
	case errors.As(err, &later):
		log.Warn("waits", zap.Duration("delay", later.delay), zap.Error(err))
		outcome, settled = "later", msg.NakWithDelay(later.delay)
	case c.failed(meta) >= minTries && time.Since(meta.Stored) > c.opt.GiveUp:
		return c.deadLetter(traced, log, msg, meta, droppedGivenUp, fmt.Errorf("given up after %s: %w", c.opt.GiveUp, err))
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
func (c *consumer) deadLetter(traced context.Context, log *zap.Logger, msg jetstream.Msg, meta Meta, reason string, cause error) string {
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
	err := c.lastWord(traced, meta, msg.Data(), cause)
	if err == nil {
		err = c.bus.publish(context.WithoutCancel(traced), letter)
	}
	if err != nil {
		log.Warn("dead letter", zap.Error(err))
		if err := msg.NakWithDelay(backoff(meta.Delivered)); err != nil {
			log.Warn("settling", zap.Error(err))
		}
		return "retry"
	}
	c.bus.metrics.dropped.WithLabelValues(family(c.subject), c.opt.Service, reason).Inc()
	log.Error("dropped into "+letter.Subject, zap.Error(cause))
	if err := msg.TermWithReason(oneLine(cause.Error())); err != nil {
		log.Warn("settling", zap.Error(err))
	}
	return "dropped"
}

// lastWord lets the service say what becomes of a message that is given up. A
// panic there must not keep the dead letter from being stored.
func (c *consumer) lastWord(traced context.Context, meta Meta, data []byte, cause error) (err error) {
	if c.opt.LastWord == nil {
		return nil
	}
	defer func() {
		if r := recover(); r != nil {
			c.log.Error("last word", zap.Any("panic", r), zap.Uint64("seq", meta.Sequence))
			err = nil
		}
	}()
	ctx, cancel := context.WithTimeout(context.WithValue(context.WithoutCancel(traced), metaKey{}, meta), stopGrace)
	defer cancel()
	return c.opt.LastWord(ctx, data, cause)
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
