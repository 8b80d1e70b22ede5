// Command litci-reporter tells GitHub what became of a commit, and serves the
// report pages.
package main

import (
	"github.com/litci/litci/pkg/daemon"
	"github.com/litci/litci/services/reporter"
)

func main() { daemon.Main("reporter", reporter.Wire) }
