package bus_test

import (
	"slices"
	"testing"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
)

// TestInspect looks at a server before it is provisioned, and after.
func TestInspect(t *testing.T) {
	t.Parallel()
	server := bustest.Server(t)
	b, err := bus.Connect(bus.Config{Name: "test", URL: server.URL(), NKey: server.KeyFile}, zap.NewNop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	found, err := b.Inspect(t.Context())
	if err != nil || !slices.Contains(found.Missing, "stream JOBS") || !slices.Contains(found.Missing, "object store sources") {
		t.Errorf("before: %+v, %v", found, err)
	}
	if err := b.Provision(t.Context(), bus.Provision{Bytes: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	found, err = b.Inspect(t.Context())
	if err != nil || found.Missing != nil || found.Older != nil || found.Newer != nil || found.Full != nil || found.Server == "" || found.Topology == 0 {
		t.Errorf("after: %+v, %v", found, err)
	}
}
