// Package webhook holds a real webhook, for the demo and the benchmarks to send.
package webhook

import _ "embed"

// Opened is the body of GitHub's published example of pull_request.opened; the
// README beside it names its origin.
//
//go:embed pull_request.opened.json
var Opened []byte
