package ingress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/flow"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// service is a running Ingress.
type service struct {
	url    string
	client *http.Client
	// stop ends the service and returns what Run returned.
	stop func() error
}

func start(t testing.TB, events publisher, address string) *service {
	t.Helper()
	i, err := listen(events, Settings{Listen: address, Secrets: []string{testSecret}, App: ownApp}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- i.Run(ctx) }()
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	s := &service{
		url:    "http://" + i.Addr().String(),
		client: &http.Client{Transport: transport},
		stop: sync.OnceValue(func() error {
			cancel()
			return <-ended
		}),
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// post sends a signed delivery and returns the answer's code.
func (s *service) post(ctx context.Context, kind, id string, body []byte) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/webhook", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(kindHeader, kind)
	r.Header.Set(deliveryHeader, id)
	r.Header.Set(signatureHeader, sign(testSecret, body))
	response, err := s.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}

// deliver is post, again where the machine was too slow for an answer in time: GitHub
// is told so, and asked to deliver again. No machine is too slow for two minutes.
func (s *service) deliver(ctx context.Context, kind, id string, body []byte) (code int, err error) {
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); {
		code, err = s.post(ctx, kind, id, body)
		if err != nil || code != http.StatusServiceUnavailable {
			break
		}
	}
	return code, err
}

// 200 deliveries, each sent three times and 64 at once: every one is answered 202 and
// stands on the bus once.
func TestManyDeliveriesAtOnce(t *testing.T) {
	b := bustest.New(t)
	s := start(t, stream{b}, "127.0.0.1:0")
	const deliveries, times = 200, 3
	var senders errgroup.Group
	senders.SetLimit(64)
	for n := range deliveries * times {
		senders.Go(func() error {
			id := fmt.Sprintf("delivery-%d", n%deliveries)
			body := strings.Replace(validPush, `refs/heads/main`, "refs/heads/"+id, 1)
			if code, err := s.deliver(t.Context(), "push", id, []byte(body)); err != nil || code != http.StatusAccepted {
				return fmt.Errorf("%s: code %d, %v", id, code, err)
			}
			return nil
		})
	}
	if err := senders.Wait(); err != nil {
		t.Error(err)
	}
	if code, err := s.deliver(t.Context(), "push", "the-last", []byte(validPush)); err != nil || code != http.StatusAccepted {
		t.Fatalf("code %d, %v", code, err)
	}

	seen := map[string]int{}
	err := bus.Tail(t.Context(), b, flow.Events, func(e flow.Event) bool {
		seen[e.Delivery]++
		if e.Delivery != "the-last" && e.Push.Ref != "refs/heads/"+e.Delivery {
			t.Errorf("%s carries %s", e.Delivery, e.Push.Ref)
		}
		return e.Delivery != "the-last"
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(seen) != deliveries+1 {
		t.Errorf("%d deliveries on the bus", len(seen))
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s is stored %d times", id, n)
		}
	}
}

// 202 is said when the event can be read from the stream, not before.
func TestAcceptedMeansStored(t *testing.T) {
	b := bustest.New(t)
	s := start(t, stream{b}, "127.0.0.1:0")
	for _, e := range examples(t) {
		code, err := s.deliver(t.Context(), e.kind, "id-of-"+e.name, e.body)
		if err != nil {
			t.Fatal(err)
		}
		latest, err := bus.Latest(t.Context(), b, flow.Events)
		if stored := err == nil && latest.Delivery == "id-of-"+e.name; stored != (code == http.StatusAccepted) {
			t.Errorf("%s: code %d, stored %v (%v)", e.name, code, stored, err)
		}
	}
}

// Stopping lets a delivery in hand end with its answer, and takes no new one.
func TestStopping(t *testing.T) {
	publishing, release := make(chan struct{}), make(chan struct{})
	var stored atomic.Int32
	s := start(t, publishFunc(func(ctx context.Context, _ flow.Event) error {
		close(publishing)
		<-release
		stored.Add(1)
		if errors.Is(ctx.Err(), context.Canceled) { // not by the deadline: the machine may be slow
			return ctx.Err()
		}
		return nil
	}), "127.0.0.1:0")
	answered := make(chan string, 1)
	go func() {
		code, err := s.post(context.Background(), "push", testID, []byte(validPush))
		answered <- fmt.Sprint(code, err)
	}()
	<-publishing
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	// The listener closes first: then nobody gets in any more.
	for {
		connection, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			break
		}
		connection.Close()
	}
	select {
	case err := <-stopped:
		t.Fatalf("stopped with a delivery in hand: %v", err)
	default:
	}
	close(release)
	if got := <-answered; got != "202 <nil>" {
		t.Errorf("answer %s", got)
	}
	if err := <-stopped; err != nil || stored.Load() != 1 {
		t.Errorf("stopped with %v, %d stored", err, stored.Load())
	}
}

func TestIPv6(t *testing.T) {
	probe, err := net.Listen("tcp", "[::1]:0")
	if err != nil { // a machine without IPv6 says so, and not that the address is wrong
		var cause syscall.Errno
		_, err := listen(new(recorded), Settings{Listen: "[::1]:0", Secrets: []string{testSecret}}, zap.NewNop(), nil)
		if !errors.As(err, &cause) {
			t.Errorf("listen: %v", err)
		}
		return
	}
	if err := probe.Close(); err != nil {
		t.Fatal(err)
	}
	published := new(recorded)
	s := start(t, published, "[::1]:0")
	if code, err := s.post(t.Context(), "push", testID, []byte(validPush)); err != nil || code != http.StatusAccepted {
		t.Errorf("code %d, %v", code, err)
	}
}

// Over a real connection, the answer to a body that is too large arrives.
func TestTooLargeOverTheWire(t *testing.T) {
	s := start(t, new(recorded), "127.0.0.1:0")
	address := strings.TrimPrefix(s.url, "http://")
	head := "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + signatureHeader + ": " + vectorSignature + "\r\n"
	for name, request := range map[string]string{
		"by its length":                        head + "Content-Length: 99999999999\r\n\r\n{",
		"refused before the body is asked for": head + "Expect: 100-continue\r\nContent-Length: 26214401\r\n\r\n",
	} {
		connection, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(connection, request); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(connection)
		connection.Close()
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 413 ") {
			t.Errorf("%s: %q, %v", name, answer, err)
		}
	}
}

func TestAddressInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, err = New(nil, Settings{Listen: taken.Addr().String(), Secrets: []string{testSecret}}, zap.NewNop(), nil)
	if err == nil || !strings.HasPrefix(err.Error(), "webhook address: ") {
		t.Errorf("error %v", err)
	}
}
