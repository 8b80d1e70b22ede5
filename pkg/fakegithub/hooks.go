package fakegithub

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" // the old signature, which GitHub still sends
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

// deliveryTimeout is how long GitHub waits for the answer to a webhook.
const deliveryTimeout = 10 * time.Second

// maxRecordedAnswer bounds what is kept of an answer's body, in bytes.
const maxRecordedAnswer = 64 << 10

// hookID is the id of the App's webhook.
const hookID = 1

// DeliveryItem is a delivery as the log lists it.
type DeliveryItem struct {
	ID             int64      `json:"id"`
	GUID           string     `json:"guid"` // the same for all attempts
	DeliveredAt    time.Time  `json:"delivered_at"`
	Redelivery     bool       `json:"redelivery"`
	Duration       float64    `json:"duration"`    // seconds
	Status         string     `json:"status"`      // OK, or what went wrong
	StatusCode     int        `json:"status_code"` // 0: no answer came
	Event          string     `json:"event"`
	Action         *string    `json:"action"`
	InstallationID *int64     `json:"installation_id"`
	RepositoryID   *int64     `json:"repository_id"`
	ThrottledAt    *time.Time `json:"throttled_at"`
}

// Delivery is one attempt to deliver a webhook, with the answer it got.
type Delivery struct {
	DeliveryItem
	URL      string           `json:"url"`
	Request  DeliveryRequest  `json:"request"`
	Response DeliveryResponse `json:"response"`
}

// DeliveryRequest is what was sent.
type DeliveryRequest struct {
	Headers map[string]string `json:"headers"`
	Payload json.RawMessage   `json:"payload"` // null when it was no JSON

	sent []byte // as it was signed
}

// DeliveryResponse is what came back.
type DeliveryResponse struct {
	Headers map[string]string `json:"headers"`
	Payload *string           `json:"payload"`
}

// errNoWebhook says that the App has no address for webhooks.
var errNoWebhook = errors.New("the App has no webhook address")

// Deliver signs a payload and sends it to the webhook's address as it is,
// then records it with the answer. A delivery that failed is no error: its
// status says so.
func (s *Server) Deliver(ctx context.Context, event string, payload []byte) (Delivery, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, err := s.dispatch(ctx, event, payload, newGUID(), false)
	if err != nil {
		return Delivery{}, err
	}
	return *d, nil
}

// event begins a payload: what all events of a repository carry. s.mu is held.
func (s *Server) event(r *repo, action string, sender *user) object {
	l := s.linksHeld("")
	payload := object{
		"repository":   l.repo(r),
		"organization": l.organization(r.owner),
		"installation": object{"id": r.installation.ID, "node_id": nodeID("I", r.installation.ID)},
		"sender":       l.user(sender),
	}
	if action != "" {
		payload["action"] = action
	}
	return payload
}

// announce sends an event and waits for the answer; without a webhook's
// address there is nothing to send. s.mu is held, and let go while waiting.
func (s *Server) announce(ctx context.Context, event string, payload object) (*Delivery, error) {
	if s.hookURL == "" {
		return nil, nil
	}
	body, err := json.Marshal(payload)
	if err != nil {
		return nil, fmt.Errorf("payload of %s: %w", event, err)
	}
	return s.dispatch(ctx, event, body, newGUID(), false)
}

// emit sends an event in the background, as GitHub does after API calls. s.mu
// is held.
func (s *Server) emit(event string, payload object) {
	if s.hookURL == "" || s.closed {
		return
	}
	body, err := json.Marshal(payload)
	if err != nil {
		s.log.Error("payload", errorField(err))
		return
	}
	s.background(event, body, newGUID(), false)
}

// background dispatches in a goroutine that Close and Wait wait for. s.mu is
// held.
func (s *Server) background(event string, body []byte, guid string, again bool) {
	s.inFlight++
	go func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		defer func() {
			s.inFlight--
			s.landed.Broadcast()
		}()
		if _, err := s.dispatch(context.Background(), event, body, guid, again); err != nil && !errors.Is(err, errNoWebhook) {
			s.log.Error("delivery", errorField(err))
		}
	}()
}

// Wait returns when no delivery is in flight.
func (s *Server) Wait() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.inFlight > 0 {
		s.landed.Wait()
	}
}

// dispatch delivers once and writes the log. s.mu is held, and let go while
// the request is under way.
func (s *Server) dispatch(ctx context.Context, event string, body []byte, guid string, again bool) (*Delivery, error) {
	if s.hookURL == "" {
		return nil, errNoWebhook
	}
	d := &Delivery{
		DeliveryItem: DeliveryItem{GUID: guid, DeliveredAt: s.now(), Redelivery: again, Event: event},
		URL:          s.hookURL, Request: DeliveryRequest{Headers: s.hookHeaders(event, guid, body), sent: body},
	}
	if json.Valid(body) {
		d.Request.Payload = body
	}
	d.identify(body)
	s.mu.Unlock()
	err := s.post(ctx, d)
	s.mu.Lock()
	if err != nil {
		return nil, err
	}
	d.ID = s.id()
	s.deliveries = append(s.deliveries, d)
	return d, nil
}

// identify takes from the payload what the log shows of it.
func (d *Delivery) identify(body []byte) {
	var about struct {
		Action       *string             `json:"action"`
		Installation struct{ ID *int64 } `json:"installation"`
		Repository   struct{ ID *int64 } `json:"repository"`
	}
	// A payload of another shape, which tests send, has none of these.
	if json.Unmarshal(body, &about) == nil {
		d.Action, d.InstallationID, d.RepositoryID = about.Action, about.Installation.ID, about.Repository.ID
	}
}

// hookHeaders are what GitHub sends with a webhook. s.mu is held.
func (s *Server) hookHeaders(event, guid string, body []byte) map[string]string {
	headers := map[string]string{
		"Accept": "*/*", "Content-Type": "application/json", "User-Agent": "GitHub-Hookshot/7a65dd8",
		"X-GitHub-Delivery": guid, "X-GitHub-Event": event, "X-GitHub-Hook-ID": strconv.Itoa(hookID),
		"X-GitHub-Hook-Installation-Target-ID": strconv.FormatInt(s.cfg.AppID, 10), "X-GitHub-Hook-Installation-Target-Type": "integration",
	}
	if s.hookSecret != "" {
		sign := func(algorithm func() hash.Hash) string {
			mac := hmac.New(algorithm, []byte(s.hookSecret))
			mac.Write(body)
			return hex.EncodeToString(mac.Sum(nil))
		}
		headers["X-Hub-Signature"] = "sha1=" + sign(sha1.New)
		headers["X-Hub-Signature-256"] = "sha256=" + sign(sha256.New)
	}
	return headers
}

// post sends the delivery and fills in what came of it. Only an address that
// makes no request is an error.
func (s *Server) post(ctx context.Context, d *Delivery) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.URL, bytes.NewReader(d.Request.sent))
	if err != nil {
		return fmt.Errorf("webhook address: %w", err)
	}
	for name, value := range d.Request.Headers {
		req.Header.Set(name, value)
	}
	start := time.Now()
	resp, err := s.hooks.Do(req)
	if err == nil {
		defer func() { _ = resp.Body.Close() }() // it was read as far as wanted
		d.StatusCode = resp.StatusCode
		body, readErr := io.ReadAll(io.LimitReader(resp.Body, maxRecordedAnswer))
		err = readErr
		text := string(body)
		d.Response.Payload = &text
		d.Response.Headers = map[string]string{}
		for name := range resp.Header {
			d.Response.Headers[name] = resp.Header.Get(name)
		}
	}
	d.Duration = time.Since(start).Round(10 * time.Millisecond).Seconds()
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		d.Status = "timed out"
	case err != nil:
		d.Status = "failed to connect to host"
	case d.StatusCode < 200 || d.StatusCode > 299:
		d.Status = fmt.Sprintf("Invalid HTTP Response: %d", d.StatusCode)
	default:
		d.Status = "OK"
	}
	return nil
}

// newGUID makes a random UUID.
func newGUID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
