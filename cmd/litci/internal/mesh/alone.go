package mesh

import (
	"fmt"

	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/executor/kubernetes"
	"github.com/litci/litci/pkg/executor/lightning"
)

// Alone refuses an executor whose machines would have to reach a mesh that only this
// machine reaches. It returns a *config.Error.
func Alone(kind string) error {
	if !Fetches(kind) {
		return nil
	}
	return &config.Error{Problems: []string{fmt.Sprintf("--executor: the machines of %s must reach litci by an address of its own; litci up --executor %s --public-url does that", kind, kind)}}
}

// Fetches says that the machines of an executor fetch the source from the report pages'
// address.
func Fetches(kind string) bool { return kind == kubernetes.Kind || kind == lightning.Kind }
