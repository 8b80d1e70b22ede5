package tracing

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

func TestTheEnvironmentSaysHowToExport(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, env         string
		endpoint, problem string
	}{
		{"nothing", "", "http://localhost:4318/v1/traces", ""},
		{"an address of all signals", "OTEL_EXPORTER_OTLP_ENDPOINT=https://c:4318/otlp/", "https://c:4318/otlp/v1/traces", ""},
		{"an address for traces is taken as it is", "OTEL_EXPORTER_OTLP_ENDPOINT=http://a OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://c/x", "http://c/x", ""},
		{"no scheme", "OTEL_EXPORTER_OTLP_ENDPOINT=c:4318", "", "OTEL_EXPORTER_OTLP_ENDPOINT is not an address such as http://localhost:4318"},
		{"headers", "OTEL_EXPORTER_OTLP_HEADERS=a=1,b=x%20y,", "http://localhost:4318/v1/traces", ""},
		{"a header without a value", "OTEL_EXPORTER_OTLP_HEADERS=topsecret", "", "OTEL_EXPORTER_OTLP_HEADERS is not NAME=VALUE separated by commas, each value URL-encoded"},
		{"compression", "OTEL_EXPORTER_OTLP_COMPRESSION=zip", "", `OTEL_EXPORTER_OTLP_COMPRESSION is "zip" and must be gzip or none`},
		{"time limit", "OTEL_EXPORTER_OTLP_TIMEOUT=10s", "", `OTEL_EXPORTER_OTLP_TIMEOUT is "10s" and must be a number of milliseconds`},
		{"certificate", "OTEL_EXPORTER_OTLP_CERTIFICATE=" + empty, "", "OTEL_EXPORTER_OTLP_CERTIFICATE: " + empty + " holds no certificate in PEM"},
		{"client certificate", "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE=" + empty, "", "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE with its CLIENT_KEY: open : no such file or directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			env := map[string]string{}
			for _, one := range strings.Fields(c.env) {
				name, value, _ := strings.Cut(one, "=")
				env[name] = value
			}
			client, err := newClient(func(name string) string { return env[name] })
			if c.problem != "" {
				if err == nil || err.Error() != c.problem {
					t.Errorf("problem is %v, want %s", err, c.problem)
				}
				return
			}
			if err != nil || client.endpoint != c.endpoint {
				t.Errorf("client is %+v, %v; want %s", client, err, c.endpoint)
			}
			if c.name == "headers" && (client.header.Get("a") != "1" || client.header.Get("b") != "x y") {
				t.Errorf("headers are %v", client.header)
			}
		})
	}
}

// A collector that is busy is asked again, one that refuses is not.
func TestWhatIsSentAgain(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]int{http.StatusServiceUnavailable: 2, http.StatusBadRequest: 1, http.StatusOK: 1} {
		requests := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if requests++; requests == 1 {
				w.WriteHeader(code)
			}
			if r.Header.Get("Content-Encoding") != "gzip" || r.Header.Get("Api-Key") != "k" {
				t.Errorf("headers are %v", r.Header)
			}
		}))
		env := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": server.URL, "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip", "OTEL_EXPORTER_OTLP_HEADERS": "api-key=k"}
		c, err := newClient(func(name string) string { return env[name] })
		if err != nil {
			t.Fatal(err)
		}
		err = c.UploadTraces(context.Background(), []*tracepb.ResourceSpans{{}})
		if refused := code == http.StatusBadRequest; requests != want || (err != nil) != refused {
			t.Errorf("%d: %d requests, %v; want %d", code, requests, err, want)
		}
		if err := c.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		server.Close()
	}
}
