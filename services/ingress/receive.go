package ingress

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/litci/litci/pkg/failpoint"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/tracing"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"
)

// The headers that say what a delivery is.
const (
	kindHeader     = "X-GitHub-Event"
	deliveryHeader = "X-GitHub-Delivery"
)

// The longest that these headers may be; GitHub's GUIDs have 36 characters.
const (
	maxKind     = 64
	maxDelivery = 128
)

// receiver is the HTTP handler of the webhook.
type receiver struct {
	events  publisher
	secrets []string
	app     int64
	intake  *intake
	now     func() time.Time
	log     *zap.Logger
	answers *prometheus.CounterVec
	spans   trace.TracerProvider
}

func newReceiver(events publisher, settings Settings, log *zap.Logger, metrics prometheus.Registerer) (*receiver, error) {
	if err := checkSecrets(settings.Secrets); err != nil {
		return nil, err
	}
	answers := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "litci_webhooks_total",
		Help: "Webhook deliveries by event and by the HTTP status of the answer.",
	}, []string{"event", "code"})
	if metrics != nil {
		if err := metrics.Register(answers); err != nil {
			return nil, fmt.Errorf("metrics of ingress: %w", err)
		}
	}
	if settings.Tracing == nil {
		settings.Tracing = noop.NewTracerProvider()
	}
	return &receiver{
		events:  events,
		secrets: settings.Secrets,
		app:     settings.App,
		intake:  newIntake(),
		now:     time.Now,
		log:     log,
		answers: answers,
		spans:   settings.Tracing,
	}, nil
}

// reception is what is known of a request so far, for its log line and metric.
type reception struct {
	event flow.Event
	// proven says that the signature is good: what the headers say is worth a label.
	proven bool
	// secret is the index of the secret that signed.
	secret int
}

// ServeHTTP answers one delivery, logs it and counts it.
func (v *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var seen reception
	a := v.guarded(w, r, &seen)
	v.answers.WithLabelValues(label(seen), strconv.Itoa(a.code)).Inc()
	v.record(r, seen, a)
	if err := a.write(w); err != nil {
		v.log.Debug("answer not sent", zap.String("delivery", seen.event.Delivery), zap.Error(err))
	}
}

// guarded turns a panic into a 400: no payload is answered with a 5xx, which
// would tell GitHub's log that litci was down.
func (v *receiver) guarded(w http.ResponseWriter, r *http.Request, seen *reception) (a answer) {
	defer func() {
		if p := recover(); p != nil {
			a = refused(http.StatusBadRequest, "the delivery cannot be handled", "report this as a bug of litci, with the id of the delivery")
			a.cause = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return v.receive(w, r, seen)
}

// receive decides. Everything before the signature's check looks at headers only.
func (v *receiver) receive(w http.ResponseWriter, r *http.Request, seen *reception) answer {
	if a, ok := checkRequest(r); !ok {
		return a
	}
	mac, err := parseSignature(r.Header.Values(signatureHeader))
	if err != nil {
		return unauthorized(err)
	}
	if a, publish := v.take(w, r, mac, seen); !publish {
		return a
	}
	// A sender that hangs up early still gets its event stored.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), publishTimeout)
	defer cancel()
	ctx, span := v.trace(ctx, r, seen.event)
	failpoint.Hit("ingress.before-publish")
	err = v.events.Publish(ctx, seen.event)
	tracing.End(span, err)
	if err != nil {
		a := refused(http.StatusServiceUnavailable, "the event could not be stored", "the sweep has it delivered again when NATS is back; without the sweep, redeliver it then")
		a.cause = err
		return a
	}
	failpoint.Hit("ingress.after-publish")
	return accepted(seen.event.Delivery)
}

// trace begins a delivery's trace. What the request itself says of traces is passed
// over: anybody could say it, and GitHub does not.
func (v *receiver) trace(ctx context.Context, r *http.Request, e flow.Event) (context.Context, trace.Span) {
	return tracing.StartAs(ctx, v.spans, tracing.As{Trace: e.Delivery}, "POST "+r.URL.Path,
		trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(e.ReceivedAt), trace.WithAttributes(
			semconv.HTTPRequestMethodPost, semconv.HTTPRoute(r.URL.Path), attribute.String("litci.delivery", e.Delivery), attribute.Int64("litci.installation", e.Installation),
			attribute.String("litci.event", e.Kind), attribute.String("litci.action", e.Action), attribute.String("litci.repo", e.Repo.FullName()), attribute.String("litci.sha", e.SHA()),
		))
}

// take reads the body, verifies it and normalises it. It returns true when
// seen.event is to be published, else the answer. The event holds copies, so the
// body is let go before the bus is waited for.
func (v *receiver) take(w http.ResponseWriter, r *http.Request, mac []byte, seen *reception) (answer, bool) {
	body, done, err := v.intake.read(w, r)
	if err != nil {
		return unread(err), false
	}
	defer done()
	if seen.secret, err = matchSecret(v.secrets, mac, body); err != nil {
		return unauthorized(err), false
	}
	seen.proven = true
	d := delivery{received: v.now().UTC()}
	if d.kind, err = header(r, kindHeader, maxKind); err != nil {
		return refused(http.StatusBadRequest, err.Error(), "send GitHub's headers unchanged through every proxy"), false
	}
	seen.event.Kind = d.kind
	if d.id, err = header(r, deliveryHeader, maxDelivery); err != nil {
		return refused(http.StatusBadRequest, err.Error(), "send GitHub's headers unchanged through every proxy"), false
	}
	seen.event.Delivery = d.id
	event, reason, err := normalise(d, v.app, body)
	switch {
	case err != nil:
		return refused(http.StatusBadRequest, err.Error(), "compare the payload with GitHub's description of the event"), false
	case reason != "":
		return ignored(d.id, reason), false
	}
	seen.event = event
	return answer{}, true
}

// checkRequest looks at path, method, content type and length.
func checkRequest(r *http.Request) (answer, bool) {
	if r.URL.Path != "/" && r.URL.Path != "/webhook" {
		return refused(http.StatusNotFound, "no such page", "send webhooks to / or /webhook"), false
	}
	if r.Method != http.MethodPost {
		a := refused(http.StatusMethodNotAllowed, "webhooks come by POST", "point the App's webhook here; there is nothing to read")
		a.allow = http.MethodPost
		return a, false
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return refused(http.StatusUnsupportedMediaType, "the content type is not application/json",
			"set the webhook's content type to application/json"), false
	}
	if r.ContentLength > bodyLimit {
		return unread(errTooLarge), false
	}
	return answer{}, true
}

func unauthorized(err error) answer {
	return refused(http.StatusUnauthorized, err.Error(), "give the App's webhook one of the secrets that litci was started with")
}

// unread says why a body was not read to its end.
func unread(err error) answer {
	var a answer
	switch {
	case errors.Is(err, errTooLarge):
		a = refused(http.StatusRequestEntityTooLarge, "the body is above 25 MB", "GitHub sends none as large; look for what else posts here")
	case errors.Is(err, errNoRoom):
		a = refused(http.StatusServiceUnavailable, "too many deliveries at once", "redeliver it later")
	default:
		a = refused(http.StatusBadRequest, "the body did not arrive whole and in time", "redeliver it; look for a slow proxy")
		a.cause = err
	}
	a.shut = true
	return a
}

// header demands one value of visible ASCII characters.
func header(r *http.Request, name string, limit int) (string, error) {
	values := r.Header.Values(name)
	if len(values) != 1 || values[0] == "" {
		return "", fmt.Errorf("%s is not there exactly once", name)
	}
	invisible := func(c rune) bool { return c <= ' ' || c >= 0x7f }
	if len(values[0]) > limit || strings.ContainsFunc(values[0], invisible) {
		return "", fmt.Errorf("%s is malformed", name)
	}
	return values[0], nil
}

// label is the event's name where the signer vouches for it and it is one that
// litci knows; anything else would let strangers make time series.
func label(seen reception) string {
	switch {
	case !seen.proven:
		return "unproven"
	case seen.event.Kind == "ping" || detailOf(seen.event.Kind) != nil:
		return seen.event.Kind
	}
	return "other"
}

// record writes the delivery's log line: identities, never payload or signature.
func (v *receiver) record(r *http.Request, seen reception, a answer) {
	fields := []zap.Field{zap.Int("code", a.code)}
	if seen.proven {
		fields = append(fields, identity(seen.event)...)
		fields = append(fields, zap.Int("secret_index", seen.secret))
	} else {
		fields = append(fields, zap.String("peer", r.RemoteAddr))
	}
	if a.cause != nil {
		fields = append(fields, zap.Error(a.cause))
	}
	switch {
	case a.code == http.StatusAccepted:
		v.log.Info("accepted", fields...)
	case a.body.Reason == reasonOwnNews:
		v.log.Debug("ignored", append(fields, zap.String("reason", a.body.Reason))...)
	case a.code == http.StatusOK:
		v.log.Info("ignored", append(fields, zap.String("reason", a.body.Reason))...)
	case a.code >= http.StatusInternalServerError, seen.proven:
		// GitHub does not send it again by itself: it is for the sweep, or for a person.
		v.log.Error("not accepted", append(fields, zap.String("problem", a.body.Error))...)
	case a.code == http.StatusNotFound, a.code == http.StatusMethodNotAllowed:
		v.log.Debug("refused", append(fields, zap.String("problem", a.body.Error))...)
	default:
		v.log.Warn("refused", append(fields, zap.String("problem", a.body.Error))...)
	}
}

// identity are the fields by which one search tells the story of a delivery.
func identity(e flow.Event) []zap.Field {
	fields := []zap.Field{
		zap.String("delivery", e.Delivery),
		zap.Int64("installation", e.Installation),
		zap.String("event", e.Kind),
		zap.String("action", e.Action),
	}
	if e.Repo.ID != 0 {
		fields = append(fields, zap.String("repo", e.Repo.FullName()))
	}
	if sha := e.SHA(); sha != "" {
		fields = append(fields, zap.String("sha", sha))
	}
	return fields
}
