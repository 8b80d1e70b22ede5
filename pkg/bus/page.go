package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// Stored is a message as a stream holds it.
type Stored struct {
	Stream   string
	Sequence uint64
	Subject  string
	// At is when the stream took the message.
	At      time.Time
	Headers map[string]string
	Body    []byte
}

// Letter says of a dead letter which subject it had, and why it was given up.
func (s Stored) Letter() (subject, reason string) {
	return s.Headers[headerDLQSubject], s.Headers[headerDLQReason]
}

const (
	// pageMessages and pageBytes bound what is asked for at once.
	pageMessages = 256
	pageBytes    = 4 << 20
)

// The headers with which the server answers a direct get (ADR-31), beside those of
// the message.
const (
	headerGotStream   = "Nats-Stream"
	headerGotSubject  = "Nats-Subject"
	headerGotSequence = "Nats-Sequence"
	headerGotTime     = "Nats-Time-Stamp"
	headerGotLast     = "Nats-Last-Sequence"
	headerGotPending  = "Nats-Num-Pending"
	headerStatus      = "Status"
)

// page returns the oldest messages of a stream that are on a subject and stored at
// from or behind it, and whether there are more. It is a direct get of many messages
// (ADR-31): it needs the right to read and none to make a consumer, and any copy of
// the stream may answer.
func (b *Bus) page(ctx context.Context, stream, filter string, from From) (page []Stored, more bool, err error) {
	ctx, cancel := withTimeout(ctx, b.patience)
	defer cancel()
	ask := struct {
		Sequence uint64     `json:"seq,omitempty"`
		Time     *time.Time `json:"start_time,omitempty"`
		Subject  string     `json:"next_by_subj"`
		Batch    int        `json:"batch"`
		MaxBytes int        `json:"max_bytes"`
	}{Sequence: from.Sequence, Subject: filter, Batch: pageMessages, MaxBytes: pageBytes}
	if from.Sequence == 0 && !from.Time.IsZero() {
		ask.Time = &from.Time
	}
	body, err := json.Marshal(ask)
	if err != nil {
		return nil, false, fmt.Errorf("messages of %s: %w", stream, err)
	}
	inbox := b.nc.NewInbox()
	answers, err := b.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, false, fmt.Errorf("messages of %s: %w", stream, err)
	}
	defer func() { _ = answers.Unsubscribe() }() // of a connection that is closed, which ends it too
	if err := b.nc.PublishRequest("$JS.API.DIRECT.GET."+stream, inbox, body); err != nil {
		return nil, false, fmt.Errorf("messages of %s: %w", stream, err)
	}
	for before := "0"; ; {
		m, err := answers.NextMsgWithContext(ctx)
		if err != nil {
			return nil, false, fmt.Errorf("messages of %s: %w", stream, b.Refusal(err))
		}
		switch status := m.Header.Get(headerStatus); status {
		case "":
		case "204": // the end of the page
			if m.Header.Get(headerGotLast) != before {
				return nil, false, fmt.Errorf("messages of %s: an answer was lost", stream)
			}
			return page, m.Header.Get(headerGotPending) != "0", nil
		case "404": // nothing is there
			return nil, false, nil
		case "503":
			return nil, false, fmt.Errorf("messages of %s: %w", stream, nats.ErrNoResponders)
		default:
			return nil, false, fmt.Errorf("messages of %s: the server answers %s %s", stream, status, m.Header.Get("Description"))
		}
		// Each answer names the one before it: they pass outside of streams, where some
		// may be lost with the connection.
		if m.Header.Get(headerGotLast) != before {
			return nil, false, fmt.Errorf("messages of %s: an answer was lost", stream)
		}
		one, err := storedOf(m)
		if err != nil {
			return nil, false, fmt.Errorf("messages of %s: %w", stream, err)
		}
		before = strconv.FormatUint(one.Sequence, 10)
		page = append(page, one)
	}
}

func storedOf(m *nats.Msg) (Stored, error) {
	s := Stored{Stream: m.Header.Get(headerGotStream), Subject: m.Header.Get(headerGotSubject), Headers: map[string]string{}, Body: m.Data}
	var bad [2]error
	s.Sequence, bad[0] = strconv.ParseUint(m.Header.Get(headerGotSequence), 10, 64)
	s.At, bad[1] = time.Parse(time.RFC3339Nano, m.Header.Get(headerGotTime))
	for name, values := range m.Header {
		switch name {
		case headerGotStream, headerGotSubject, headerGotSequence, headerGotTime, headerGotLast, headerGotPending:
		default:
			s.Headers[name] = values[0]
		}
	}
	return s, errors.Join(bad[:]...)
}
