// Command litci-shim is litci as far as containers need it: it runs the job of the
// container that it was copied into.
package main

import (
	"os"

	"github.com/litci/litci/pkg/executor/docker/shim"
)

func main() { os.Exit(shim.Run()) }
