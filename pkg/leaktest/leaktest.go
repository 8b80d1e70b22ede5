// Package leaktest fails a test binary that leaves goroutines behind.
package leaktest

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Patience is how long goroutines may take to end after the last test.
const Patience = time.Minute

// Main runs the tests of a package, and fails where goroutines are left. goleak alone
// waits for less than a second, which goroutines that write to a slow disk outlast.
// Options are those of goleak.Find.
func Main(m *testing.M, options ...goleak.Option) {
	// nats.go 1.55.0 starts this one in ObjectStore.Put; where Put has ended before it
	// first runs, it waits on a nil channel for ever.
	options = append(options, goleak.IgnoreTopFunction("github.com/nats-io/nats.go/jetstream.(*jetStream).resetPendingAcksOnReconnect"))
	goleak.VerifyTestMain(patient{m, options}, options...)
}

type patient struct {
	*testing.M
	options []goleak.Option
}

// Run runs the tests and waits for the goroutines to end.
func (p patient) Run() int {
	code := p.M.Run()
	if code != 0 {
		return code
	}
	for deadline := time.Now().Add(Patience); goleak.Find(p.options...) != nil && time.Now().Before(deadline); {
		continue // Find itself waits for a moment
	}
	return code
}
