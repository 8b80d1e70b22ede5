//go:build failpoint

package failpoint

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// hits counts how often the process came to the named point.
var hits atomic.Int64

// Hit kills the process with SIGKILL when the environment variable LITCI_FAILPOINT
// names this point and the file that LITCI_FAILPOINT_ONCE names does not exist yet:
// the first process that comes here makes it and dies, the next one passes. A point
// named as "reporter.after-call:3" kills when the process comes there for the third
// time.
func Hit(name string) {
	point, count, counted := strings.Cut(os.Getenv("LITCI_FAILPOINT"), ":")
	if point != name {
		return
	}
	if counted && strconv.FormatInt(hits.Add(1), 10) != count {
		return
	}
	mark, err := os.OpenFile(os.Getenv("LITCI_FAILPOINT_ONCE"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	_ = mark.Close()
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // nothing after this point may happen
}
