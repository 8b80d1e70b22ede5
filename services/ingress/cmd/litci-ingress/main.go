// Command litci-ingress runs the service that receives GitHub's webhooks.
package main

import (
	"github.com/litci/litci/pkg/daemon"
	"github.com/litci/litci/services/ingress"
)

func main() { daemon.Main("ingress", ingress.Wire) }
