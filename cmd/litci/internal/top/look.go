// Package top shows how a mesh is: its processes, how far behind they are, and the
// jobs that wait and run.
package top

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/daemon"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/services/reporter"
)

// Mesh is how a mesh is at a time; the JSON is a public interface.
type Mesh struct {
	At        time.Time         `json:"at"`
	Processes []daemon.Presence `json:"processes"`
	Consumers []Consumer        `json:"consumers"`
	// Jobs are open, those that run first.
	Jobs []reporter.Job `json:"jobs"`
	// Letters is how many dead letters there are.
	Letters uint64 `json:"dead_letters"`
}

// Consumer is how far behind a service is with one of its streams.
type Consumer struct {
	Stream  string `json:"stream"`
	Durable string `json:"durable"`
	// Unprocessed messages were not delivered yet, InHand ones were and are not settled,
	// Redelivered of them more than once.
	Unprocessed uint64 `json:"unprocessed"`
	InHand      uint64 `json:"in_hand"`
	Redelivered uint64 `json:"redelivered"`
	// Asking is how many processes wait for a message.
	Asking int `json:"asking"`
}

// Look asks the mesh how it is.
func Look(ctx context.Context, b *bus.Bus) (Mesh, error) {
	m := Mesh{At: time.Now(), Processes: []daemon.Presence{}, Consumers: []Consumer{}, Jobs: []reporter.Job{}}
	processes, err := daemon.Present(ctx, b)
	if err != nil {
		return m, err
	}
	m.Processes = append(m.Processes, processes...)
	lags, err := b.Lags(ctx)
	if err != nil {
		return m, err
	}
	for _, l := range lags {
		m.Consumers = append(m.Consumers, Consumer{
			Stream: l.Stream, Durable: l.Durable, Unprocessed: l.Waiting, InHand: l.InHand, Redelivered: l.Redelivered, Asking: l.Asking,
		})
	}
	slices.SortFunc(m.Consumers, func(a, b Consumer) int {
		return cmp.Or(cmp.Compare(flows(a.Stream), flows(b.Stream)), cmp.Compare(a.Durable, b.Durable))
	})
	if m.Letters, err = b.CountLetters(ctx); err != nil {
		return m, err
	}
	err = reporter.EachJob(ctx, b, "", func(j reporter.Job) error {
		if j.Open() {
			m.Jobs = append(m.Jobs, j)
		}
		return nil
	})
	slices.SortFunc(m.Jobs, func(a, b reporter.Job) int {
		return cmp.Or(cmp.Compare(waits(a), waits(b)), a.QueuedAt.Compare(b.QueuedAt), cmp.Compare(a.Run, b.Run), cmp.Compare(a.Index, b.Index))
	})
	return m, err
}

// flows orders streams as a commit travels them.
func flows(stream string) int {
	return slices.Index([]string{"EVENTS", "JOBS", "STATUS", "RESULTS"}, stream)
}

// waits is 1 for a job that waits for its start.
func waits(j reporter.Job) int {
	if j.State.Rank() <= flow.Queued.Rank() {
		return 1
	}
	return 0
}
