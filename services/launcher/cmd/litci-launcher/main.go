// Command litci-launcher starts jobs on this machine.
package main

import (
	"os"

	"github.com/litci/litci/pkg/daemon"
	"github.com/litci/litci/pkg/executor/local"
	"github.com/litci/litci/services/launcher"
)

func main() {
	// The supervisor of a job is this same program; see pkg/executor/local.
	if len(os.Args) == 3 && os.Args[1] == "supervise" {
		os.Exit(local.Supervise(os.Args[2]))
	}
	daemon.Main("launcher", launcher.Wire)
}
