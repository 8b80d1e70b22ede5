// Package tracingtest is a collector of traces for tests: it takes OTLP over HTTP
// as a real one does and keeps what it gets.
package tracingtest

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	common "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Span is a span as it was exported.
type Span struct {
	Service, Name string
	// Trace, ID and Parent are in hexadecimal; Parent is empty for a root.
	Trace, ID, Parent string
	Kind              tracepb.Span_SpanKind
	Start, End        time.Time
	Attributes        map[string]string
	// Links are the ids of the spans that it points at, in Trace.
	Links []string
	Error string
}

// Collector keeps what is exported to it.
type Collector struct {
	// URL is the value of OTEL_EXPORTER_OTLP_ENDPOINT.
	URL string

	mu       sync.Mutex
	requests int
	spans    []Span
}

// Start starts a collector that lives as long as the test, and fails it at anything
// but well-formed OTLP.
func Start(t testing.TB) *Collector {
	c := &Collector{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", func(w http.ResponseWriter, r *http.Request) {
		sent, err := io.ReadAll(r.Body)
		if err != nil {
			return // whoever was killed while it exported, exported nothing
		}
		if err := c.take(r.Header, sent); err != nil {
			t.Errorf("collector: %v", err)
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/x-protobuf") // an empty answer is: all taken
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("collector: %s %s, where traces are not taken", r.Method, r.URL.Path)
		http.NotFound(w, r)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	c.URL = server.URL
	return c
}

func (c *Collector) take(header http.Header, sent []byte) error {
	if kind := header.Get("Content-Type"); kind != "application/x-protobuf" {
		return fmt.Errorf("content type %q", kind)
	}
	body := io.Reader(bytes.NewReader(sent))
	if header.Get("Content-Encoding") == "gzip" {
		var err error
		if body, err = gzip.NewReader(body); err != nil {
			return err
		}
	}
	data, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	var request tracepb.TracesData // on the wire the same as ExportTraceServiceRequest, which needs gRPC
	if err := proto.Unmarshal(data, &request); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests++
	for _, resource := range request.GetResourceSpans() {
		service := attributes(resource.GetResource().GetAttributes())["service.name"]
		for _, scope := range resource.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				s, err := read(service, span)
				if err != nil {
					return err
				}
				c.spans = append(c.spans, s)
			}
		}
	}
	return nil
}

func read(service string, span *tracepb.Span) (Span, error) {
	s := Span{
		Service: service, Name: span.GetName(), Kind: span.GetKind(), Attributes: attributes(span.GetAttributes()),
		Trace: hex.EncodeToString(span.GetTraceId()), ID: hex.EncodeToString(span.GetSpanId()), Parent: hex.EncodeToString(span.GetParentSpanId()),
		Start: time.Unix(0, int64(span.GetStartTimeUnixNano())), End: time.Unix(0, int64(span.GetEndTimeUnixNano())),
	}
	if len(span.GetTraceId()) != 16 || len(span.GetSpanId()) != 8 || len(span.GetParentSpanId())%8 != 0 || s.End.Before(s.Start) {
		return s, fmt.Errorf("span %s is malformed: %+v", s.Name, s)
	}
	if span.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR {
		s.Error = span.GetStatus().GetMessage()
	}
	for _, link := range span.GetLinks() {
		if hex.EncodeToString(link.GetTraceId()) == s.Trace {
			s.Links = append(s.Links, hex.EncodeToString(link.GetSpanId()))
		}
	}
	return s, nil
}

func attributes(all []*common.KeyValue) map[string]string {
	values := map[string]string{}
	for _, kv := range all {
		switch v := kv.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			values[kv.GetKey()] = v.StringValue
		case *common.AnyValue_IntValue:
			values[kv.GetKey()] = fmt.Sprint(v.IntValue)
		case *common.AnyValue_BoolValue:
			values[kv.GetKey()] = fmt.Sprint(v.BoolValue)
		}
	}
	return values
}

// Spans returns what came so far.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans)
}

// Requests is how often anybody exported.
func (c *Collector) Requests() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.requests
}
