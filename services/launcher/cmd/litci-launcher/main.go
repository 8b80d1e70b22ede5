// Command litci-launcher starts jobs on an executor.
package main

import (
	"os"

	"github.com/litci/litci/pkg/daemon"
	"github.com/litci/litci/pkg/executor/docker/shim"
	"github.com/litci/litci/pkg/executor/local"
	"github.com/litci/litci/services/launcher"
)

func main() {
	// The supervisor of a job is this same program; see pkg/executor/local.
	if len(os.Args) == 3 && os.Args[1] == "supervise" {
		os.Exit(local.Supervise(os.Args[2]))
	}
	// So is the entrypoint of its container; see pkg/executor/docker.
	if len(os.Args) == 2 && os.Args[1] == "shim" {
		os.Exit(shim.Run())
	}
	daemon.Main("launcher", launcher.Wire)
}
