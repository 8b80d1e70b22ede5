package bus

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Inspection is what the server has of the topology, compared with what this program
// knows.
type Inspection struct {
	// Server is the server's version.
	Server string
	// Topology is the version that this program knows.
	Topology int
	// Missing are streams, consumers, buckets and object stores that are not there.
	Missing []string
	// Older and Newer are streams and consumers of another version.
	Older, Newer []string
	// Full are the buckets and object stores that use more than nine tenths of their
	// room: what is full refuses writes.
	Full []string
	// Used is the storage in use, Limit what the account may use, in bytes; Limit is 0
	// where there is none.
	Used, Limit int64
}

// Inspect looks at the topology and changes nothing.
func (b *Bus) Inspect(ctx context.Context) (Inspection, error) {
	found := Inspection{Server: b.nc.ConnectedServerVersion(), Topology: topologyVersion}
	account, err := b.js.AccountInfo(ctx)
	if err != nil {
		return found, fmt.Errorf("account: %w", b.Refusal(err))
	}
	found.Used, found.Limit = int64(account.Store), max(account.Limits.MaxStore, 0)
	compare := func(name string, metadata map[string]string) {
		switch v := version(metadata); {
		case v < topologyVersion:
			found.Older = append(found.Older, name)
		case v > topologyVersion:
			found.Newer = append(found.Newer, name)
		}
	}
	for _, s := range wanted() {
		name := "stream " + s.config.Name
		have, err := b.js.Stream(ctx, s.config.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			found.Missing = append(found.Missing, name)
			continue
		}
		if err != nil {
			return found, fmt.Errorf("%s: %w", name, b.Refusal(err))
		}
		compare(name, have.CachedInfo().Config.Metadata)
		for _, d := range s.consumers {
			name := "consumer " + s.config.Name + "/" + d.name
			consumer, err := have.Consumer(ctx, d.name)
			if errors.Is(err, jetstream.ErrConsumerNotFound) {
				found.Missing = append(found.Missing, name)
				continue
			}
			if err != nil {
				return found, fmt.Errorf("%s: %w", name, b.Refusal(err))
			}
			compare(name, consumer.CachedInfo().Config.Metadata)
		}
	}
	for _, store := range [][2]string{
		{"bucket " + bucketRuns, "KV_" + bucketRuns},
		{"bucket " + bucketSlots, "KV_" + bucketSlots},
		{"object store " + objectsLogs, "OBJ_" + objectsLogs},
		{"object store " + objectsSource, "OBJ_" + objectsSource},
	} {
		have, err := b.js.Stream(ctx, store[1])
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			found.Missing = append(found.Missing, store[0])
			continue
		}
		if err != nil {
			return found, fmt.Errorf("%s: %w", store[0], b.Refusal(err))
		}
		info := have.CachedInfo()
		if most := info.Config.MaxBytes; most > 0 && float64(info.State.Bytes) > 0.9*float64(most) {
			found.Full = append(found.Full, store[0])
		}
	}
	return found, nil
}
