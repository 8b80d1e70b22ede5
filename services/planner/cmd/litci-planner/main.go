// Command litci-planner decides which jobs the deliveries ask for.
package main

import (
	"github.com/litci/litci/pkg/daemon"
	"github.com/litci/litci/services/planner"
)

func main() { daemon.Main("planner", planner.Wire) }
