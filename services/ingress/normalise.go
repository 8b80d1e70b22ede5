package ingress

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/litci/litci/pkg/flow"
)

// delivery is what the headers say of a webhook.
type delivery struct {
	// id is the GUID of X-GitHub-Delivery, kind the value of X-GitHub-Event.
	id, kind string
	received time.Time
}

// Why well-formed deliveries are not published.
const (
	reasonPing         = "ping: the webhook reaches litci"
	reasonNotActedOn   = "nothing in litci acts on this event"
	reasonNoApp        = "no installation in the payload: sent by a repository hook, not by the App"
	reasonOwnCheckRuns = "news of a check run that litci made itself"
)

var errNotObject = errors.New("the payload is not a JSON object")

// normalise turns a verified payload into an Event. It is total: every input
// gives an event, a reason why there is none, or an error that says what is
// wrong with the payload without repeating any of it.
//
// Every action of the kinds that litci acts on becomes an event: the planner
// knows the actions, and says why it does nothing. The exception is news of
// check runs of our own app, which litci causes by the dozen.
func normalise(d delivery, app int64, payload []byte) (event flow.Event, reason string, err error) {
	if !bytes.HasPrefix(bytes.TrimLeft(payload, " \t\r\n"), []byte("{")) {
		if !json.Valid(payload) {
			return flow.Event{}, "", errors.New("the payload is not JSON")
		}
		return flow.Event{}, "", errNotObject
	}
	known := detailOf(d.kind)
	if known == nil {
		if !json.Valid(payload) {
			return flow.Event{}, "", errors.New("the payload is not JSON")
		}
		if d.kind == "ping" {
			return flow.Event{}, reasonPing, nil
		}
		return flow.Event{}, reasonNotActedOn, nil
	}
	if err := json.Unmarshal(payload, known); err != nil {
		return flow.Event{}, "", explain(err)
	}
	c := known.shared()
	if c.Installation == nil {
		return flow.Event{}, reasonNoApp, nil
	}
	var f fields
	event = flow.Event{
		Delivery:     d.id,
		Kind:         d.kind,
		Action:       f.word("action", c.Action),
		ReceivedAt:   d.received,
		Installation: f.id("installation.id", c.Installation.ID),
		Sender:       c.Sender.user(&f, "sender"),
	}
	if !strings.HasPrefix(d.kind, "installation") {
		event.Repo = c.Repository.repo(&f)
	}
	known.fill(&event, &f)
	if f.err != nil {
		return flow.Event{}, "", f.err
	}
	if ownNews(event, app) {
		return flow.Event{}, reasonOwnCheckRuns, nil
	}
	return event, "", nil
}

// ownNews says that GitHub only reports what litci did: acting on it would be a loop.
func ownNews(e flow.Event, app int64) bool {
	return e.CheckRun != nil && app != 0 && e.CheckRun.App == app &&
		(e.Action == "created" || e.Action == "completed")
}

// explain says what encoding/json found, by place and never by value.
func explain(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("the payload is not JSON at byte %d", syntax.Offset)
	case errors.As(err, &kind):
		have, _, _ := strings.Cut(kind.Value, " ")         // "number 1e99" repeats the number
		field := strings.TrimPrefix(kind.Field, "common.") // the embedded struct is no part of the payload
		return fmt.Errorf("%s is a JSON %s, which it never is", field, have)
	}
	return errors.New("the payload is not JSON")
}
