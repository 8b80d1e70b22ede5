package fakegithub

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// docsURL stands in every refusal; GitHub names the page of the endpoint.
const docsURL = "https://docs.github.com/rest"

// object is a JSON object in the making.
type object = map[string]any

// reply is what a handler answers: a value to be sent as JSON, or raw bytes
// of a content type.
type reply struct {
	status      int
	body        any
	raw         []byte
	contentType string
	header      http.Header
}

func ok(body any) (reply, error)      { return reply{status: http.StatusOK, body: body}, nil }
func created(body any) (reply, error) { return reply{status: http.StatusCreated, body: body}, nil }
func noContent() (reply, error)       { return reply{status: http.StatusNoContent}, nil }

// refusal is an answer that says no, in GitHub's shape.
type refusal struct {
	status  int
	message string
	errors  []fieldError
	header  http.Header
}

func (r *refusal) Error() string { return fmt.Sprintf("%d %s", r.status, r.message) }

// fieldError is one entry of the errors of a validation failure.
type fieldError struct {
	Resource string `json:"resource"`
	Field    string `json:"field"`
	Code     string `json:"code"`
	Message  string `json:"message,omitempty"`
}

func refuse(status int, message string) error { return &refusal{status: status, message: message} }

func notFound() error { return refuse(http.StatusNotFound, "Not Found") }

// invalid is GitHub's 422 for fields that break a rule.
func invalid(errs ...fieldError) error {
	return &refusal{status: http.StatusUnprocessableEntity, message: "Validation Failed", errors: errs}
}

// schemaError is GitHub's 422 for bodies that do not have the documented
// shape: it names no fields.
func schemaError(format string, args ...any) error {
	return refuse(http.StatusUnprocessableEntity, "Invalid request.\n\n"+fmt.Sprintf(format, args...))
}

func (r *refusal) reply() reply {
	body := object{"message": r.message, "documentation_url": docsURL, "status": fmt.Sprint(r.status)}
	if len(r.errors) > 0 {
		body["errors"] = r.errors
	}
	return reply{status: r.status, body: body, header: r.header}
}

// encode renders the reply's body once, so that its ETag can be computed.
func (r reply) encode() ([]byte, string, error) {
	if r.raw != nil || r.contentType != "" {
		return r.raw, r.contentType, nil
	}
	if r.body == nil {
		return nil, "", nil
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(r.body); err != nil {
		return nil, "", fmt.Errorf("answer as JSON: %w", err)
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), "application/json; charset=utf-8", nil
}

// etag names a representation; weak, as GitHub's are.
func etag(body []byte, contentType string) string {
	sum := sha256.New()
	sum.Write([]byte(contentType))
	sum.Write(body)
	return `W/"` + hex.EncodeToString(sum.Sum(nil)) + `"`
}

// sameTag compares an If-None-Match header with a tag, weakly (RFC 9110, 13.1.2).
func sameTag(ifNoneMatch, tag string) bool {
	for _, candidate := range strings.Split(ifNoneMatch, ",") {
		candidate = strings.TrimSpace(candidate)
		if candidate == "*" || strings.TrimPrefix(candidate, "W/") == strings.TrimPrefix(tag, "W/") {
			return true
		}
	}
	return false
}

// send writes the reply: headers, body, and 304 when the caller has it
// already: then charged, which may be nil, gets its request back.
func (s *Server) send(w http.ResponseWriter, r *http.Request, rep reply, charged *budget) {
	body, contentType, err := rep.encode()
	if err != nil {
		s.log.Error("answer", errorField(err))
		rep = reply{status: http.StatusInternalServerError}
	}
	for name, values := range rep.header {
		w.Header()[name] = values
	}
	if contentType != "" {
		w.Header().Set("Content-Type", contentType)
	}
	if r.Method == http.MethodGet && rep.status == http.StatusOK {
		tag := etag(body, contentType)
		w.Header().Set("ETag", tag)
		w.Header().Set("Cache-Control", "private, max-age=60, s-maxage=60")
		w.Header().Set("Vary", "Accept, Authorization, Cookie, X-GitHub-OTP")
		if match := r.Header.Get("If-None-Match"); match != "" && sameTag(match, tag) {
			w.Header().Del("Content-Type")
			if charged != nil {
				s.refund(charged, w.Header())
			}
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	w.WriteHeader(rep.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // a caller that hung up needs no answer
	}
}
