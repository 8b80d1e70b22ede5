package ingress

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/flow"
	"go.uber.org/zap"
)

// exampleNamed is the example that the benchmarks send: 20 KB as GitHub sends it.
func exampleNamed(b *testing.B, name string) example {
	b.Helper()
	for _, e := range examples(b) {
		if e.name == name {
			e.body = compact(b, e.body)
			return e
		}
	}
	b.Fatalf("no example %s", name)
	return example{}
}

// BenchmarkReceive is the handler without network and bus: signature, JSON, answer.
func BenchmarkReceive(b *testing.B) {
	e := exampleNamed(b, "pull_request.opened")
	v := newTestReceiver(b, publishFunc(func(context.Context, flow.Event) error { return nil }), zap.NewNop(), nil)
	b.SetBytes(int64(len(e.body)))
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		v.ServeHTTP(w, signed(e.kind, testID, e.body))
		if w.Code != http.StatusAccepted {
			b.Fatal(w.Code)
		}
	}
}

// BenchmarkNormalise is the JSON alone.
func BenchmarkNormalise(b *testing.B) {
	e := exampleNamed(b, "pull_request.opened")
	b.SetBytes(int64(len(e.body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := normaliseTest(e.kind, e.body); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDeliveries is the whole way, over HTTP into a stream on disk, at
// several numbers of deliveries at once.
func BenchmarkDeliveries(b *testing.B) {
	e := exampleNamed(b, "pull_request.opened")
	for _, atOnce := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("at-once=%d", atOnce), func(b *testing.B) {
			s := start(b, stream{bustest.New(b)}, "127.0.0.1:0")
			var n atomic.Int64
			b.ResetTimer()
			var senders sync.WaitGroup
			for range atOnce {
				senders.Go(func() {
					for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
						code, err := s.post(context.Background(), e.kind, fmt.Sprintf("bench-%d", i), e.body)
						if err != nil || code != http.StatusAccepted {
							b.Errorf("code %d, %v", code, err)
							return
						}
					}
				})
			}
			senders.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "deliveries/s")
		})
	}
}
