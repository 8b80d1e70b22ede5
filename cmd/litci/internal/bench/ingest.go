// Package bench measures litci against the bare parts it is made of, in one run
// on one machine, so that the ratio means something anywhere.
package bench

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/litci/litci/cmd/litci/internal/webhook"
	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/busbench"
	"github.com/litci/litci/pkg/bus/embedded"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/services/ingress"
)

// Ingest is how many webhooks a second are accepted durably, against bare
// JetStream publishes of the same normalised bytes.
type Ingest struct {
	// Sync is "always" when every message was on the disk before its answer, or
	// "default".
	Sync        string  `json:"sync"`
	Concurrency int     `json:"concurrency"`
	Webhooks    Figures `json:"webhooks"`
	Raw         Figures `json:"raw"`
	// Ratio is raw per second over webhooks per second: 1.0 would mean that the HTTP
	// side costs nothing.
	Ratio float64 `json:"ratio"`
}

// Figures are one side's.
type Figures struct {
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
}

// Options bound a run.
type Options struct {
	// Requests is how many are sent in each round, Rounds how many rounds each side
	// has; the rounds of both sides alternate, and the median counts.
	Requests int
	Rounds   int
	// Dir holds the streams while the benchmark runs; its disk is what is measured.
	Dir string
}

// RunIngest measures at concurrency 1, 16 and 64 with both sync settings, and calls
// each with every line.
func RunIngest(ctx context.Context, o Options, each func(Ingest)) error {
	for _, always := range []bool{true, false} {
		s, err := newStage(ctx, o, always)
		if err != nil {
			return err
		}
		for _, concurrency := range []int{1, 16, 64} {
			line, err := s.measure(ctx, o, concurrency)
			if err != nil {
				s.close()
				return err
			}
			each(line)
		}
		if err := s.close(); err != nil {
			return err
		}
	}
	return nil
}

// stage is an ingress on a server of its own, and a bare publisher beside it.
type stage struct {
	sync   string
	dir    string
	server *embedded.Server
	bus    *bus.Bus
	raw    *busbench.Publisher
	// address is where ingress listens; webhook is what is sent there, as compact as
	// GitHub sends it, with its signature.
	address   string
	webhook   []byte
	signature string
	body      []byte // what ingress stores for the webhook
	count     atomic.Int64
	stop      context.CancelFunc
	ended     chan error
}

func newStage(ctx context.Context, o Options, always bool) (s *stage, err error) {
	secret := rand.Text()
	var compact bytes.Buffer
	if err := json.Compact(&compact, webhook.Opened); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(compact.Bytes())
	s = &stage{sync: "default", webhook: compact.Bytes(), signature: "sha256=" + hex.EncodeToString(mac.Sum(nil)), ended: make(chan error, 1)}
	if always {
		s.sync = "always"
	}
	defer func() {
		if err != nil {
			_ = s.close()
		}
	}()
	if s.dir, err = os.MkdirTemp(o.Dir, "litci-bench-"); err != nil {
		return s, fmt.Errorf("bench: %w", err)
	}
	s.server, err = embedded.Start(embedded.Config{Dir: filepath.Join(s.dir, "nats"), Listen: "127.0.0.1:0", SyncAlways: always})
	if err != nil {
		return s, err
	}
	s.bus, err = bus.Connect(bus.Config{Name: "bench", URL: s.server.URL(), NKey: s.server.KeyFile, InProcess: s.server}, zap.NewNop(), nil)
	if err != nil {
		return s, err
	}
	if err = s.bus.Provision(ctx, bus.Provision{Bytes: s.server.Storage}); err != nil {
		return s, err
	}
	if s.raw, err = busbench.NewPublisher(s.server); err != nil {
		return s, err
	}
	i, err := ingress.New(s.bus, ingress.Settings{Listen: "127.0.0.1:0", Secrets: []string{secret}}, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		return s, err
	}
	s.address = i.Addr().String()
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	go func() { s.ended <- i.Run(run) }()
	return s, s.learn(ctx)
}

// learn sends one webhook and reads back what ingress stored for it: the bytes that
// the bare publisher sends.
func (s *stage) learn(ctx context.Context) error {
	if _, err := round(ctx, 1, 1, s.send); err != nil {
		return err
	}
	event, err := bus.Latest(ctx, s.bus, flow.Events)
	if err != nil {
		return err
	}
	s.body, err = json.Marshal(event)
	return err
}

func (s *stage) close() error {
	var failed error
	if s.stop != nil {
		s.stop()
		failed = <-s.ended
	}
	if s.raw != nil {
		s.raw.Close()
	}
	if s.bus != nil {
		s.bus.Close()
	}
	if s.server != nil {
		s.server.Stop()
	}
	if s.dir != "" {
		if err := os.RemoveAll(s.dir); failed == nil {
			failed = err
		}
	}
	return failed
}

func (s *stage) measure(ctx context.Context, o Options, concurrency int) (Ingest, error) {
	var webhooks, raw []Figures
	for range o.Rounds {
		r, err := round(ctx, o.Requests, concurrency, s.publish)
		if err != nil {
			return Ingest{}, err
		}
		w, err := round(ctx, o.Requests, concurrency, s.send)
		if err != nil {
			return Ingest{}, err
		}
		raw, webhooks = append(raw, r), append(webhooks, w)
	}
	line := Ingest{Sync: s.sync, Concurrency: concurrency, Webhooks: median(webhooks), Raw: median(raw)}
	line.Ratio = line.Raw.PerSecond / line.Webhooks.PerSecond
	return line, nil
}

// publish returns a worker that publishes the normalised bytes.
func (s *stage) publish(context.Context) (worker, error) {
	return worker{
		do: func(ctx context.Context) error {
			return s.raw.Publish(ctx, string(flow.Events), fmt.Sprintf("raw/%d", s.count.Add(1)), s.body)
		},
		close: func() error { return nil },
	}, nil
}

// send returns a worker that sends webhooks over a connection of its own. It writes
// HTTP itself: the sender's machine is GitHub's and its cost none of ours.
func (s *stage) send(ctx context.Context) (worker, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.address)
	if err != nil {
		return worker{}, err
	}
	answers := bufio.NewReader(conn)
	var request bytes.Buffer
	return worker{
		do: func(context.Context) error {
			request.Reset()
			fmt.Fprintf(&request, "POST /webhook HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"+
				"X-GitHub-Event: pull_request\r\nX-GitHub-Delivery: %08d-bench\r\nX-Hub-Signature-256: %s\r\n\r\n",
				s.address, len(s.webhook), s.count.Add(1), s.signature)
			request.Write(s.webhook)
			if _, err := conn.Write(request.Bytes()); err != nil {
				return err
			}
			res, err := http.ReadResponse(answers, nil)
			if err != nil {
				return err
			}
			answer, err := io.ReadAll(io.LimitReader(res.Body, 1<<10))
			if err != nil {
				return err
			}
			if res.StatusCode != http.StatusAccepted {
				return fmt.Errorf("webhook was answered with %d %s", res.StatusCode, answer)
			}
			return nil
		},
		close: conn.Close,
	}, nil
}

// worker does one request after the other.
type worker struct {
	do    func(context.Context) error
	close func() error
}

// round does n requests with the given number of workers.
func round(ctx context.Context, n, workers int, open func(context.Context) (worker, error)) (Figures, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	all := make([]worker, 0, workers)
	defer func() {
		for _, w := range all {
			_ = w.close() // what was sent has been answered
		}
	}()
	for range workers {
		w, err := open(ctx)
		if err != nil {
			return Figures{}, err
		}
		all = append(all, w)
	}
	took := make([]time.Duration, n)
	var next atomic.Int64
	var wait sync.WaitGroup
	began := time.Now()
	for _, w := range all {
		wait.Go(func() {
			for i := next.Add(1) - 1; i < int64(n) && ctx.Err() == nil; i = next.Add(1) - 1 {
				start := time.Now()
				if err := w.do(ctx); err != nil {
					cancel(err)
					return
				}
				took[i] = time.Since(start)
			}
		})
	}
	wait.Wait()
	elapsed := time.Since(began)
	if err := context.Cause(ctx); err != nil {
		return Figures{}, err
	}
	slices.Sort(took)
	at := func(share float64) float64 {
		return float64(took[int(share*float64(n-1))].Microseconds()) / 1000
	}
	return Figures{PerSecond: float64(n) / elapsed.Seconds(), P50: at(0.5), P99: at(0.99)}, nil
}

// median is the round whose rate is in the middle.
func median(rounds []Figures) Figures {
	slices.SortFunc(rounds, func(a, b Figures) int {
		if a.PerSecond < b.PerSecond {
			return -1
		}
		return 1
	})
	return rounds[len(rounds)/2]
}
