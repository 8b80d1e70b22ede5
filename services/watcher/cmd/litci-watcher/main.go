// Command litci-watcher follows the jobs of an executor to their end.
package main

import (
	"github.com/litci/litci/pkg/daemon"
	"github.com/litci/litci/services/watcher"
)

func main() { daemon.Main("watcher", watcher.Wire) }
