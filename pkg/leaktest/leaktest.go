// Package leaktest fails a test binary that leaves goroutines behind.
package leaktest

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Patience is how long goroutines may take to end after the last test.
const Patience = time.Minute

// Main runs the tests of a package, and fails where goroutines are left. goleak alone
// waits for less than a second, which goroutines that write to a slow disk outlast.
// Options are those of goleak.Find.
func Main(m *testing.M, options ...goleak.Option) { os.Exit(Run(m, options...)) }

// Run is Main for those who have something to do at the end. It returns the exit status
// for the process.
func Run(m *testing.M, options ...goleak.Option) int {
	// nats.go 1.55.0 starts this one in ObjectStore.Put; where Put has ended before it
	// first runs, it waits on a nil channel for ever.
	options = append(options, goleak.IgnoreTopFunction("github.com/nats-io/nats.go/jetstream.(*jetStream).resetPendingAcksOnReconnect"))
	code := m.Run()
	if code != 0 {
		return code
	}
	for deadline := time.Now().Add(Patience); ; {
		err := goleak.Find(options...) // which waits for a moment
		if err == nil {
			return 0
		}
		if time.Now().After(deadline) {
			fmt.Fprintln(os.Stderr, "goroutines are left:", err)
			return 1
		}
	}
}
