package launcher

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/sourcelink"
)

// linkLife is how long a link to a source is good: as long as the archive is kept. A
// machine may take longer to come than any deadline of the queue says, since the
// executor has its own.
const linkLife = 24 * time.Hour

// links make the addresses from which machines that cannot reach the bus fetch a
// job's source.
type links struct {
	bus *bus.Bus
	// base is the reporter's address as those machines reach it.
	base string
}

// url makes a link for one attempt. Each call makes another, and each is good once.
func (l links) url(ctx context.Context, job executor.Spec) (string, error) {
	switch {
	case l.base == "":
		return "", errors.New("no address at which machines reach litci: set --public-url")
	case job.SourceName == "":
		return "", errors.New("no source")
	}
	secret, err := sourcelink.Make(ctx, l.bus, job.SourceName, strings.TrimPrefix(job.ID, "litci-"), linkLife)
	if err != nil {
		return "", fmt.Errorf("address of the source: %w", err)
	}
	return strings.TrimRight(l.base, "/") + sourcelink.Path + secret, nil
}
