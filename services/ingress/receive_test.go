package ingress

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/litci/litci/pkg/flow"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

const (
	testSecret = "a secret of the tests"
	ownApp     = 4711
	testID     = "72d3162e-cc78-11e3-81ab-4c9367dc0958"
)

// recorded is a publisher that keeps what it is given.
type recorded struct {
	mu     sync.Mutex
	events []flow.Event
}

func (r *recorded) Publish(_ context.Context, e flow.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	return nil
}

type publishFunc func(context.Context, flow.Event) error

func (f publishFunc) Publish(ctx context.Context, e flow.Event) error { return f(ctx, e) }

func newTestReceiver(t testing.TB, events publisher, log *zap.Logger, metrics prometheus.Registerer) *receiver {
	t.Helper()
	v, err := newReceiver(events, Settings{Secrets: []string{testSecret, "an older secret"}, App: ownApp}, log, metrics)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func sign(secret string, body []byte) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write(body)
	return "sha256=" + hex.EncodeToString(h.Sum(nil))
}

// signed is a delivery as GitHub sends it.
func signed(kind, id string, body []byte) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/webhook", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(kindHeader, kind)
	r.Header.Set(deliveryHeader, id)
	r.Header.Set(signatureHeader, sign(testSecret, body))
	return r
}

func send(t testing.TB, h http.Handler, r *http.Request) (*http.Response, answerBody) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var body answerBody
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Fatalf("answer %d %q: %v", w.Code, w.Body, err)
	}
	return w.Result(), body
}

const validPush = `{"ref":"refs/heads/main","before":"0000000000000000000000000000000000000000",
"after":"6113728f27ae82c7b1a177c8d03f9e96e0adf246","created":true,"forced":false,"deleted":false,
"head_commit":{"id":"6113728f27ae82c7b1a177c8d03f9e96e0adf246","message":"payload-canary"},
"repository":{"id":7,"name":"hello","owner":{"login":"octo"}},"sender":{"login":"mona","id":1,"type":"User"},
"installation":{"id":9}}`

// resigned replaces the body and signs it anew.
func resigned(r *http.Request, body string) {
	r.Body = io.NopCloser(strings.NewReader(body))
	r.ContentLength = int64(len(body))
	r.Header.Set(signatureHeader, sign(testSecret, []byte(body)))
}

func TestAnswers(t *testing.T) {
	cases := []struct {
		name   string
		code   int
		event  string // the metric's label
		change func(*http.Request)
	}{
		{"a signed push", 202, "push", func(*http.Request) {}},
		{"at the root", 202, "push", func(r *http.Request) { r.URL.Path = "/" }},
		{"with a query", 202, "push", func(r *http.Request) { r.URL.RawQuery = "a=b" }},
		{"signed with the older secret", 202, "push", func(r *http.Request) {
			r.Header.Set(signatureHeader, sign("an older secret", []byte(validPush)))
		}},
		{"charset named", 202, "push", func(r *http.Request) { r.Header.Set("Content-Type", "application/json; charset=utf-8") }},
		{"content type in capitals", 202, "push", func(r *http.Request) { r.Header.Set("Content-Type", "Application/JSON") }},
		{"white space around the object", 202, "push", func(r *http.Request) { resigned(r, "\r\n\t "+validPush+" \n") }},
		{"bytes that are not UTF-8", 202, "push", func(r *http.Request) { resigned(r, strings.Replace(validPush, "payload-canary", "a\xffb", 1)) }},
		{"half a surrogate", 202, "push", func(r *http.Request) { resigned(r, strings.Replace(validPush, "payload-canary", `\ud800`, 1)) }},
		{"a name twice", 202, "push", func(r *http.Request) { resigned(r, `{"ref":null,`+validPush[1:]) }},

		{"ping", 200, "ping", func(r *http.Request) {
			r.Header.Set(kindHeader, "ping")
			resigned(r, `{"zen":"Keep it logically awesome."}`)
		}},
		{"an event not acted on", 200, "other", func(r *http.Request) { r.Header.Set(kindHeader, "star"); resigned(r, `{"action":"created"}`) }},
		{"an event that nobody knows", 200, "other", func(r *http.Request) { r.Header.Set(kindHeader, "teleport"); resigned(r, `{"action":3}`) }},
		{"a repository's own hook", 200, "push", func(r *http.Request) { resigned(r, strings.Replace(validPush, `"installation"`, `"i"`, 1)) }},
		{"installation null", 200, "push", func(r *http.Request) { resigned(r, strings.Replace(validPush, `{"id":9}`, `null`, 1)) }},

		{"another path", 404, "unproven", func(r *http.Request) { r.URL.Path = "/webhooks" }},
		{"a path below", 404, "unproven", func(r *http.Request) { r.URL.Path = "/webhook/" }},
		{"another path by GET", 404, "unproven", func(r *http.Request) { r.URL.Path = "/favicon.ico"; r.Method = http.MethodGet }},
		{"GET", 405, "unproven", func(r *http.Request) { r.Method = http.MethodGet }},
		{"HEAD", 405, "unproven", func(r *http.Request) { r.Method = http.MethodHead }},
		{"PUT", 405, "unproven", func(r *http.Request) { r.Method = http.MethodPut }},
		{"OPTIONS", 405, "unproven", func(r *http.Request) { r.Method = http.MethodOptions }},

		{"form encoding", 415, "unproven", func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") }},
		{"no content type", 415, "unproven", func(r *http.Request) { r.Header.Del("Content-Type") }},
		{"a longer content type", 415, "unproven", func(r *http.Request) { r.Header.Set("Content-Type", "application/jsonp") }},
		{"a broken content type", 415, "unproven", func(r *http.Request) { r.Header.Set("Content-Type", ";;;") }},

		{"unsigned", 401, "unproven", func(r *http.Request) { r.Header.Del(signatureHeader) }},
		{"unsigned and not JSON", 401, "unproven", func(r *http.Request) { resigned(r, "{{{"); r.Header.Del(signatureHeader) }},
		{"SHA-1 only", 401, "unproven", func(r *http.Request) {
			r.Header.Del(signatureHeader)
			r.Header.Set("X-Hub-Signature", "sha1=da39a3ee5e6b4b0d3255bfef95601890afd80709")
		}},
		{"malformed signature", 401, "unproven", func(r *http.Request) { r.Header.Set(signatureHeader, "sha256=abc") }},
		{"two signatures", 401, "unproven", func(r *http.Request) { r.Header.Add(signatureHeader, r.Header.Get(signatureHeader)) }},
		{"a stranger's secret", 401, "unproven", func(r *http.Request) { r.Header.Set(signatureHeader, sign("guess", []byte(validPush))) }},
		{"an empty secret", 401, "unproven", func(r *http.Request) { r.Header.Set(signatureHeader, sign("", []byte(validPush))) }},
		{"one byte changed", 401, "unproven", func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader(strings.Replace(validPush, "octo", "acto", 1)))
		}},
		{"not JSON, wrongly signed", 401, "unproven", func(r *http.Request) { resigned(r, "{{{"); r.Header.Set(signatureHeader, sign("guess", []byte("{{{"))) }},

		{"empty body", 400, "push", func(r *http.Request) { resigned(r, "") }},
		{"not JSON", 400, "push", func(r *http.Request) { resigned(r, "{{{") }},
		{"cut JSON", 400, "push", func(r *http.Request) { resigned(r, validPush[:len(validPush)-1]) }},
		{"text behind", 400, "push", func(r *http.Request) { resigned(r, validPush+"{}") }},
		{"form body under a JSON type", 400, "push", func(r *http.Request) { resigned(r, "payload=%7B%7D") }},
		{"null", 400, "push", func(r *http.Request) { resigned(r, "null") }},
		{"an array", 400, "push", func(r *http.Request) { resigned(r, "["+validPush+"]") }},
		{"a string", 400, "push", func(r *http.Request) { resigned(r, `"push"`) }},
		{"a number", 400, "push", func(r *http.Request) { resigned(r, "12") }},
		{"ping that is not JSON", 400, "ping", func(r *http.Request) { r.Header.Set(kindHeader, "ping"); resigned(r, "{{") }},
		{"ping that is an array", 400, "ping", func(r *http.Request) { r.Header.Set(kindHeader, "ping"); resigned(r, "[]") }},
		{"unknown event that is not JSON", 400, "other", func(r *http.Request) { r.Header.Set(kindHeader, "star"); resigned(r, "{") }},
		{"nested too deep", 400, "push", func(r *http.Request) {
			resigned(r, `{"a":`+strings.Repeat("[", 20000)+strings.Repeat("]", 20000)+"}")
		}},
		{"no event header", 400, "other", func(r *http.Request) { r.Header.Del(kindHeader) }},
		{"empty event header", 400, "other", func(r *http.Request) { r.Header.Set(kindHeader, "") }},
		{"two event headers", 400, "other", func(r *http.Request) { r.Header.Add(kindHeader, "push") }},
		{"event header with a space", 400, "other", func(r *http.Request) { r.Header.Set(kindHeader, "pu sh") }},
		{"long event header", 400, "other", func(r *http.Request) { r.Header.Set(kindHeader, strings.Repeat("e", 65)) }},
		{"no delivery header", 400, "push", func(r *http.Request) { r.Header.Del(deliveryHeader) }},
		{"two delivery headers", 400, "push", func(r *http.Request) { r.Header.Add(deliveryHeader, testID) }},
		{"long delivery header", 400, "push", func(r *http.Request) { r.Header.Set(deliveryHeader, strings.Repeat("d", 129)) }},
		{"delivery header with a control character", 400, "push", func(r *http.Request) { r.Header.Set(deliveryHeader, "a\tb") }},
		{"delivery header beyond ASCII", 400, "push", func(r *http.Request) { r.Header.Set(deliveryHeader, "é") }},
		{"no repository", 400, "push", func(r *http.Request) { resigned(r, strings.Replace(validPush, `"repository"`, `"r"`, 1)) }},
		{"installation without an id", 400, "push", func(r *http.Request) { resigned(r, strings.Replace(validPush, `{"id":9}`, `{}`, 1)) }},
		{"a ref that is a number", 400, "push", func(r *http.Request) {
			resigned(r, strings.Replace(validPush, `"refs/heads/main"`, `12`, 1))
		}},
		{"a body that ends early", 400, "unproven", func(r *http.Request) { r.ContentLength++ }},

		{"length above 25 MB", 413, "unproven", func(r *http.Request) { r.ContentLength = bodyLimit + 1 }},
		{"unknown length above 25 MB", 413, "unproven", func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(endless{}), -1
		}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			published := new(recorded)
			logs, seen := observer.New(zap.DebugLevel)
			registry := prometheus.NewRegistry()
			v := newTestReceiver(t, published, zap.New(logs), registry)
			r := signed("push", testID, []byte(validPush))
			c.change(r)
			given := r.Header.Get(signatureHeader)

			response, body := send(t, v, r)

			if response.StatusCode != c.code {
				t.Fatalf("code %d, want %d: %+v", response.StatusCode, c.code, body)
			}
			if n, want := len(published.events), map[bool]int{true: 1}[c.code == 202]; n != want {
				t.Errorf("published %d, want %d", n, want)
			}
			if got := testutil.ToFloat64(v.answers.WithLabelValues(c.event, strconv.Itoa(c.code))); got != 1 {
				t.Errorf("litci_webhooks_total{event=%q,code=%d} is %v", c.event, c.code, got)
			}
			if c.code >= 400 && (body.Error == "" || body.Remedy == "") {
				t.Errorf("a refusal names error and remedy: %+v", body)
			}
			if c.code == 202 && body != (answerBody{Status: "accepted", Delivery: testID}) {
				t.Errorf("answer %+v", body)
			}
			if c.code == 200 && (body.Status != "ignored" || body.Reason == "" || body.Delivery != testID) {
				t.Errorf("answer %+v", body)
			}
			if got := response.Header.Get("Allow"); (got == "POST") != (c.code == 405) {
				t.Errorf("Allow: %q", got)
			}
			if c.code == 413 && response.Header.Get("Connection") != "close" {
				t.Error("the connection stays open for a body that nobody reads")
			}
			if n := seen.Len(); n != 1 {
				t.Errorf("%d log lines", n)
			}
			for _, line := range seen.All() {
				text, err := json.Marshal(line.ContextMap())
				if err != nil {
					t.Fatal(err)
				}
				for _, secret := range []string{testSecret, "payload-canary", given} {
					if secret != "" && strings.Contains(string(text), secret) {
						t.Errorf("log line %s holds %q", text, secret)
					}
				}
			}
			all, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(all, []byte(testSecret)) || bytes.Contains(all, []byte("payload-canary")) {
				t.Errorf("answer %s", all)
			}
		})
	}
}

// endless is a body of unknown length.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// A request whose headers say enough is answered without a look at its body.
func TestRefusedUnread(t *testing.T) {
	for name, change := range map[string]func(*http.Request){
		"length above 25 MB":   func(r *http.Request) { r.ContentLength = bodyLimit + 1 },
		"form encoding":        func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") },
		"unsigned":             func(r *http.Request) { r.Header.Del(signatureHeader) },
		"malformed signature":  func(r *http.Request) { r.Header.Set(signatureHeader, "sha256=1") },
		"another path":         func(r *http.Request) { r.URL.Path = "/x" },
		"GET with a long body": func(r *http.Request) { r.Method = http.MethodGet },
	} {
		t.Run(name, func(t *testing.T) {
			v := newTestReceiver(t, new(recorded), zap.NewNop(), nil)
			r := signed("push", testID, []byte(validPush))
			r.Body = io.NopCloser(untouchable{t})
			change(r)
			if response, _ := send(t, v, r); response.StatusCode < 400 || response.StatusCode > 499 {
				t.Errorf("code %d", response.StatusCode)
			}
		})
	}
}

type untouchable struct{ t *testing.T }

func (u untouchable) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

func TestBodyOf25MB(t *testing.T) {
	body := []byte(`{"zen":"` + strings.Repeat("a", bodyLimit-10) + `"}`)
	v := newTestReceiver(t, new(recorded), zap.NewNop(), nil)
	if response, _ := send(t, v, signed("ping", testID, body)); response.StatusCode != 200 || len(body) != bodyLimit {
		t.Errorf("%d bytes: code %d", len(body), response.StatusCode)
	}
	r := signed("ping", testID, body)
	r.ContentLength = -1
	if response, _ := send(t, v, r); response.StatusCode != 200 {
		t.Errorf("without a length: code %d", response.StatusCode)
	}
}

func TestBusThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTestReceiver(t, publishFunc(func(ctx context.Context, _ flow.Event) error {
			<-ctx.Done()
			return ctx.Err()
		}), zap.NewNop(), nil)
		began := time.Now()
		response, body := send(t, v, signed("push", testID, []byte(validPush)))
		if took := time.Since(began); response.StatusCode != 503 || took != 5*time.Second {
			t.Errorf("code %d after %s, want 503 after 5s", response.StatusCode, took)
		}
		if body.Error == "" || body.Remedy == "" {
			t.Errorf("answer %+v", body)
		}
	})
}

func TestBusThatRefuses(t *testing.T) {
	v := newTestReceiver(t, publishFunc(func(context.Context, flow.Event) error {
		return errors.New("nats://user:password@host is away")
	}), zap.NewNop(), nil)
	response, body := send(t, v, signed("push", testID, []byte(validPush)))
	if response.StatusCode != 503 || strings.Contains(body.Error+body.Remedy, "password") {
		t.Errorf("code %d: %+v", response.StatusCode, body)
	}
}

// A sender that hangs up while its event is being stored does not undo it.
func TestSenderHangsUp(t *testing.T) {
	ctx, hangUp := context.WithCancel(t.Context())
	stored := false
	v := newTestReceiver(t, publishFunc(func(ctx context.Context, _ flow.Event) error {
		hangUp()
		stored = ctx.Err() == nil
		return ctx.Err()
	}), zap.NewNop(), nil)
	send(t, v, signed("push", testID, []byte(validPush)).WithContext(ctx))
	if !stored {
		t.Error("the publish was cancelled with the request")
	}
}

// No delivery is answered with a 5xx for what is in it, not even when a handler
// breaks; and what it held is given back.
func TestPanicIsAnAnswer(t *testing.T) {
	logs, seen := observer.New(zap.ErrorLevel)
	v := newTestReceiver(t, publishFunc(func(context.Context, flow.Event) error { panic("broken") }), zap.New(logs), nil)
	for range 2 * largePlaces {
		r := signed("push", testID, []byte(validPush))
		r.ContentLength = -1
		if response, _ := send(t, v, r); response.StatusCode != 400 {
			t.Fatalf("code %d", response.StatusCode)
		}
	}
	if seen.Len() != 2*largePlaces {
		t.Errorf("%d errors logged", seen.Len())
	}
}

// A place that never comes free is a 503: nothing was stored.
func TestTooManyBodiesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTestReceiver(t, new(recorded), zap.NewNop(), nil)
		if !v.intake.large.TryAcquire(largePlaces) {
			t.Fatal("no room")
		}
		r := signed("push", testID, []byte(validPush))
		r.ContentLength = -1
		began := time.Now()
		response, _ := send(t, v, r)
		if took := time.Since(began); response.StatusCode != 503 || took != roomWait {
			t.Errorf("code %d after %s", response.StatusCode, took)
		}
	})
}

func TestLogLineOfADelivery(t *testing.T) {
	logs, seen := observer.New(zap.InfoLevel)
	v := newTestReceiver(t, new(recorded), zap.New(logs), nil)
	r := signed("push", testID, []byte(validPush))
	r.Header.Set(signatureHeader, sign("an older secret", []byte(validPush)))
	send(t, v, r)
	if seen.Len() != 1 {
		t.Fatalf("%d lines", seen.Len())
	}
	got := seen.All()[0].ContextMap()
	for field, want := range map[string]any{
		"delivery": testID, "installation": int64(9), "repo": "octo/hello", "event": "push", "action": "",
		"sha": "6113728f27ae82c7b1a177c8d03f9e96e0adf246", "secret_index": int64(1), "code": int64(202),
	} {
		if got[field] != want {
			t.Errorf("%s is %v, want %v", field, got[field], want)
		}
	}
}

func TestNewRefusesSecrets(t *testing.T) {
	for _, secrets := range [][]string{nil, {""}, {"good", ""}} {
		if _, err := New(nil, Settings{Listen: "127.0.0.1:0", Secrets: secrets}, zap.NewNop(), nil); err == nil {
			t.Errorf("%q: not refused", secrets)
		}
	}
}
