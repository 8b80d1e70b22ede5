package tracing

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// client sends spans by OTLP over HTTP, as the OTEL_EXPORTER_OTLP_* variables say.
// OpenTelemetry's own does the same and links gRPC, 5 MB in every binary of litci.
type client struct {
	endpoint string
	header   http.Header
	gzip     bool
	http     *http.Client
	// closed is closed when nothing more is to be sent.
	closed chan struct{}
}

// What the standard says where a variable does not.
const (
	defaultEndpoint = "http://localhost:4318"
	defaultTimeout  = 10 * time.Second
	tracesPath      = "v1/traces"
)

// sendTries and sendPause are for a collector that is busy or just starts; the
// standard wants its own Retry-After heeded.
const (
	sendTries = 3
	sendPause = time.Second
)

// newClient reads the environment. A variable for traces alone goes before the one
// for all signals.
func newClient(env func(string) string) (*client, error) {
	either := func(name string) (value, from string) {
		from = "OTEL_EXPORTER_OTLP_TRACES_" + name
		if value = env(from); value == "" {
			from = "OTEL_EXPORTER_OTLP_" + name
			value = env(from)
		}
		return value, from
	}
	c := &client{header: http.Header{}, closed: make(chan struct{})}
	endpoint, from := either("ENDPOINT")
	if endpoint == "" {
		endpoint = defaultEndpoint
	}
	at, err := url.Parse(endpoint)
	if err != nil || at.Scheme != "http" && at.Scheme != "https" || at.Host == "" {
		return nil, fmt.Errorf("%s is not an address such as %s", from, defaultEndpoint)
	}
	if from == "OTEL_EXPORTER_OTLP_ENDPOINT" { // of all signals, each at a path of its own
		at = at.JoinPath(tracesPath)
	}
	c.endpoint = at.String()

	headers, from := either("HEADERS")
	for pair := range strings.SplitSeq(headers, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		name, value, is := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if name = strings.TrimSpace(name); !is || name == "" || err != nil {
			return nil, fmt.Errorf("%s is not NAME=VALUE separated by commas, each value URL-encoded", from) // never the value: it may be a key
		}
		c.header.Add(name, value)
	}

	switch compression, from := either("COMPRESSION"); compression {
	case "", "none":
	case "gzip":
		c.gzip = true
	default:
		return nil, fmt.Errorf("%s is %q and must be gzip or none", from, compression)
	}

	timeout := defaultTimeout
	if text, from := either("TIMEOUT"); text != "" {
		ms, err := strconv.Atoi(text)
		if err != nil || ms <= 0 {
			return nil, fmt.Errorf("%s is %q and must be a number of milliseconds", from, text)
		}
		timeout = time.Duration(ms) * time.Millisecond
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if transport.TLSClientConfig, err = tlsOf(either); err != nil {
		return nil, err
	}
	c.http = &http.Client{Transport: transport, Timeout: timeout}
	return c, nil
}

// tlsOf are the certificates that the environment names.
func tlsOf(either func(string) (value, from string)) (*tls.Config, error) {
	cfg := &tls.Config{}
	if file, from := either("CERTIFICATE"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", from, err)
		}
		if cfg.RootCAs = x509.NewCertPool(); !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: %s holds no certificate in PEM", from, file)
		}
	}
	file, from := either("CLIENT_CERTIFICATE")
	key, _ := either("CLIENT_KEY")
	if file == "" && key == "" {
		return cfg, nil
	}
	pair, err := tls.LoadX509KeyPair(file, key)
	if err != nil {
		return nil, fmt.Errorf("%s with its CLIENT_KEY: %w", from, err)
	}
	cfg.Certificates = []tls.Certificate{pair}
	return cfg, nil
}

// Start has nothing to do: a connection is made when there is something to send.
func (c *client) Start(context.Context) error { return nil }

// giveUp ends what is under way and all that comes.
func (c *client) giveUp() { close(c.closed) }

// Stop gives up idle connections.
func (c *client) Stop(context.Context) error {
	c.http.CloseIdleConnections()
	return nil
}

// UploadTraces sends a batch, and tries again for as long as the collector asks for
// it and ctx lets it.
func (c *client) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	// On the wire this is what the service's ExportTraceServiceRequest is.
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return fmt.Errorf("spans: %w", err)
	}
	if c.gzip {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		_, err := z.Write(body)
		if err := errors.Join(err, z.Close()); err != nil {
			return fmt.Errorf("spans: %w", err)
		}
		body = packed.Bytes()
	}
	ctx, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-c.closed:
			cancel()
		case <-ctx.Done():
		}
	})
	defer watch.Wait()
	defer cancel()
	for try := 1; ; try++ {
		wait, err := c.send(ctx, body)
		if err == nil || wait == 0 || try == sendTries {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}

// send sends once; wait is when to try again after an error, 0 for never.
func (c *client) send(ctx context.Context, body []byte) (wait time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header = c.header.Clone()
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("User-Agent", "litci")
	if c.gzip {
		req.Header.Set("Content-Encoding", "gzip")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return sendPause, err
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection is used again
	if resp.StatusCode/100 == 2 {
		return 0, nil
	}
	err = fmt.Errorf("%s answers %s", req.URL.Redacted(), resp.Status)
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if seconds, e := strconv.Atoi(resp.Header.Get("Retry-After")); e == nil && seconds > 0 {
			return time.Duration(seconds) * time.Second, err
		}
		return sendPause, err
	}
	return 0, err // the standard forbids to try anything else again
}
