package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/litci/litci/pkg/flow"
)

// Letter is a dead letter: a message that a service gave up on.
type Letter struct {
	// Sequence is its number among the dead letters.
	Sequence uint64    `json:"seq"`
	Stored   time.Time `json:"stored"`
	Service  string    `json:"service"`
	Reason   string    `json:"reason"`
	// Subject, Stream and StreamSequence say where the message was.
	Subject        string `json:"subject"`
	Stream         string `json:"stream"`
	StreamSequence uint64 `json:"stream_seq"`
	// Headers are the message's own.
	Headers map[string]string `json:"headers"`
	Body    []byte            `json:"-"`
}

// Letters returns the dead letters that are stored now, oldest first.
func (b *Bus) Letters(ctx context.Context) ([]Letter, error) {
	var found []Letter
	err := b.scan(ctx, flow.DeadLetters, From{}, func(m Stored) bool {
		found = append(found, letterOf(m))
		return true
	})
	return found, err
}

// Letter returns one dead letter by its number, or ErrNotFound.
func (b *Bus) Letter(ctx context.Context, seq uint64) (Letter, error) {
	ctx, cancel := withTimeout(ctx, b.patience)
	defer cancel()
	s, err := b.js.Stream(ctx, streamOf(flow.DeadLetters))
	if err != nil {
		return Letter{}, fmt.Errorf("dead letters: %w", err)
	}
	raw, err := s.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Letter{}, ErrNotFound
	}
	if err != nil {
		return Letter{}, fmt.Errorf("dead letter %d: %w", seq, err)
	}
	return letterOf(Stored{Sequence: raw.Sequence, Subject: raw.Subject, At: raw.Time, Headers: firstValues(raw.Header), Body: raw.Data}), nil
}

func letterOf(m Stored) Letter {
	l := Letter{
		Sequence: m.Sequence, Stored: m.At, Service: strings.TrimPrefix(m.Subject, flow.DeadLettersOf("")),
		Reason: m.Headers[headerDLQReason], Subject: m.Headers[headerDLQSubject], Stream: m.Headers[headerDLQStream],
		Headers: map[string]string{}, Body: m.Body,
	}
	l.StreamSequence, _ = strconv.ParseUint(m.Headers[headerDLQSequence], 10, 64) // 0 where it is not a number
	for name, value := range m.Headers {
		if !strings.HasPrefix(name, "Litci-Dlq-") && !strings.HasPrefix(name, "Nats-") {
			l.Headers[name] = value
		}
	}
	return l
}

// firstValues are headers of which none is given twice.
func firstValues(header nats.Header) map[string]string {
	values := map[string]string{}
	for name, all := range header {
		if len(all) > 0 {
			values[name] = all[0]
		}
	}
	return values
}

// ReplayLetter publishes a dead letter to its subject again and deletes it. A crash
// between the two leaves it, and replaying it again stores it once.
func (b *Bus) ReplayLetter(ctx context.Context, seq uint64) (Letter, error) {
	l, err := b.Letter(ctx, seq)
	if err != nil {
		return l, err
	}
	if l.Subject == "" {
		return l, fmt.Errorf("dead letter %d does not say which subject it had", seq)
	}
	m := &nats.Msg{Subject: l.Subject, Data: l.Body, Header: nats.Header{}}
	for name, value := range l.Headers {
		m.Header.Set(name, value)
	}
	m.Header.Set(jetstream.MsgIDHeader, "replay/"+strconv.FormatUint(seq, 10))
	if err := b.publish(ctx, m); err != nil {
		return l, err
	}
	return l, b.DropLetter(ctx, seq)
}

// DropLetter deletes a dead letter; ErrNotFound says that there is none of this
// number.
func (b *Bus) DropLetter(ctx context.Context, seq uint64) error {
	ctx, cancel := withTimeout(ctx, b.patience)
	defer cancel()
	s, err := b.js.Stream(ctx, streamOf(flow.DeadLetters))
	if err != nil {
		return fmt.Errorf("dead letters: %w", err)
	}
	err = s.DeleteMsg(ctx, seq)
	if err == nil {
		return nil
	}
	// The server's refusal does not tell one that is gone from one it cannot delete.
	if _, gone := s.GetMsg(ctx, seq); errors.Is(gone, jetstream.ErrMsgNotFound) {
		return ErrNotFound
	}
	return fmt.Errorf("dead letter %d: %w", seq, err)
}
