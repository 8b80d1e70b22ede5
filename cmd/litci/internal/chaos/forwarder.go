package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// forwarder stands where a load balancer would: GitHub knows one address, and behind
// it are several ingresses. It also is the network that loses, doubles and delays.
type forwarder struct {
	backends []string
	client   *http.Client
	listener net.Listener
	server   *http.Server
	closing  context.Context
	close    context.CancelFunc
	work     sync.WaitGroup

	mu     sync.Mutex
	next   int
	faults map[string]DeliveryFault // by commit; each strikes once
	seen   map[string]chan struct{} // by commit
}

func newForwarder(backends []string) (*forwarder, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &forwarder{
		backends: backends, listener: listener,
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}},
		faults: map[string]DeliveryFault{}, seen: map[string]chan struct{}{},
	}
	f.closing, f.close = context.WithCancel(context.Background())
	f.server = &http.Server{Handler: f, ReadHeaderTimeout: 5 * time.Second}
	f.work.Go(func() { _ = f.server.Serve(listener) }) // Close ends it
	return f, nil
}

func (f *forwarder) url() string { return "http://" + f.listener.Addr().String() + "/webhook" }

// expect arms the fault of a commit's delivery, and returns a channel that is closed
// when GitHub sends it.
func (f *forwarder) expect(commit string, fault DeliveryFault) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[commit] = fault
	f.seen[commit] = make(chan struct{})
	return f.seen[commit]
}

// meet returns what goes wrong with a delivery, once.
func (f *forwarder) meet(commit string) DeliveryFault {
	f.mu.Lock()
	defer f.mu.Unlock()
	fault, first := f.faults[commit]
	if first {
		delete(f.faults, commit)
		close(f.seen[commit])
	}
	return fault
}

// commitOf is the commit that a webhook brings, empty for those that bring none.
func commitOf(body []byte) string {
	var payload struct {
		After       string `json:"after"`
		Action      string `json:"action"`
		PullRequest struct {
			Head struct {
				SHA string `json:"sha"`
			} `json:"head"`
		} `json:"pull_request"`
	}
	if json.Unmarshal(body, &payload) != nil {
		return ""
	}
	if payload.After != "" {
		return payload.After
	}
	return payload.PullRequest.Head.SHA
}

// maxWebhook is GitHub's bound on a webhook, in bytes.
const maxWebhook = 25 << 20

func (f *forwarder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxWebhook))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fault := f.meet(commitOf(body))
	if !f.wait(fault.Delay) || fault.Refused {
		http.Error(w, "the network is down", http.StatusBadGateway)
		return
	}
	status, answer := f.send(r.Context(), r.Header, body)
	if fault.Repeat > 0 {
		header := r.Header.Clone()
		f.work.Go(func() {
			if f.wait(fault.Repeat) {
				f.send(f.closing, header, body)
			}
		})
	}
	if fault.Unanswered {
		panic(http.ErrAbortHandler) // closes the connection without a word
	}
	w.WriteHeader(status)
	_, _ = w.Write(answer) // a caller that hung up needs no answer
}

// wait returns false when the forwarder closes first.
func (f *forwarder) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-f.closing.Done():
		return false
	}
}

// send tries one ingress after the other while there is no connection; what broke on
// the way is not sent again, as balancers do with POST.
func (f *forwarder) send(ctx context.Context, header http.Header, body []byte) (status int, answer []byte) {
	f.mu.Lock()
	first := f.next
	f.next++
	f.mu.Unlock()
	for i := range f.backends {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+f.backends[(first+i)%len(f.backends)]+"/webhook", bytes.NewReader(body))
		if err != nil {
			return http.StatusInternalServerError, []byte(err.Error())
		}
		req.Header = header
		res, err := f.client.Do(req)
		var dial *net.OpError
		if errors.As(err, &dial) && dial.Op == "dial" {
			continue
		}
		if err != nil {
			return http.StatusBadGateway, []byte(err.Error())
		}
		answer, err = io.ReadAll(io.LimitReader(res.Body, 64<<10))
		_ = res.Body.Close() // it was read as far as wanted
		if err != nil {
			return http.StatusBadGateway, []byte(err.Error())
		}
		return res.StatusCode, answer
	}
	return http.StatusBadGateway, []byte("no ingress is up")
}

// Close ends the forwarder; repeats that wait are dropped.
func (f *forwarder) Close() error {
	f.close()
	err := f.server.Close()
	f.work.Wait()
	f.client.CloseIdleConnections()
	return err
}
