package ingress

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
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
	reasonPing       = "ping: the webhook reaches litci"
	reasonNotActedOn = "nothing in litci acts on this event"
	reasonNoApp      = "no installation in the payload: sent by a repository hook, not by the App"
	reasonOwnNews    = "news of a check run or a comment that litci wrote itself"
)

var (
	errNotJSON   = errors.New("the payload is not JSON")
	errNotObject = errors.New("the payload is not a JSON object")
)

// normalise turns a verified payload into an Event. It is total: every input
// gives an event, a reason why there is none, or an error that says what is
// wrong with the payload without repeating any of it.
//
// Every action of the kinds that litci acts on becomes an event: the planner
// knows the actions, and says why it does nothing. The exception is news of
// what our own app wrote, which litci causes by the dozen.
func normalise(d delivery, app int64, payload []byte) (event flow.Event, reason string, err error) {
	if !bytes.HasPrefix(bytes.TrimLeft(payload, " \t\r\n"), []byte("{")) {
		if !valid(payload) {
			return flow.Event{}, "", errNotJSON
		}
		return flow.Event{}, "", errNotObject
	}
	known := detailOf(d.kind)
	if known == nil {
		if !valid(payload) {
			return flow.Event{}, "", errNotJSON
		}
		if d.kind == "ping" {
			return flow.Event{}, reasonPing, nil
		}
		return flow.Event{}, reasonNotActedOn, nil
	}
	if err := json.Unmarshal(payload, known, leniently()); err != nil {
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
		return flow.Event{}, reasonOwnNews, nil
	}
	return event, "", nil
}

// ownNews says that GitHub only reports what litci did: acting on it would be a loop.
func ownNews(e flow.Event, app int64) bool {
	if app == 0 {
		return false
	}
	ownRun := e.CheckRun != nil && e.CheckRun.App == app && (e.Action == "created" || e.Action == "completed")
	return ownRun || e.Comment != nil && e.Comment.App == app
}

// leniently takes whatever JSON the signer sends. The decoder is the next
// encoding/json as a module: it reads a payload in one pass, four times as fast
// as the present one, and most of what ingress does is reading payloads.
func leniently() json.Options {
	return json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

func valid(payload []byte) bool { return jsontext.Value(payload).IsValid(leniently()) }

// explain says what the decoder found, by place and never by value. The place is
// made of names in payload.go: only what has a type there can have a wrong one.
func explain(err error) error {
	var syntax *jsontext.SyntacticError
	var kind *json.SemanticError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("%w at byte %d", errNotJSON, syntax.ByteOffset)
	case errors.As(err, &kind):
		field := strings.ReplaceAll(strings.TrimPrefix(string(kind.JSONPointer), "/"), "/", ".")
		return fmt.Errorf("%s is a JSON %s, which it never is", field, nameOf(kind.JSONKind))
	}
	return errNotJSON
}

func nameOf(kind jsontext.Kind) string {
	switch kind {
	case '{':
		return "object"
	case '[':
		return "array"
	case '0':
		return "number"
	case 't', 'f':
		return "boolean"
	}
	return kind.String()
}
