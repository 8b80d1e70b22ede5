package watcher

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
)

const (
	// maxBlock bounds the text of a live block in bytes.
	maxBlock = 64 << 10
	// maxBehind is how far the reader of a log may be behind its end before live
	// blocks are left out, in bytes: nobody reads so fast, and the archive has it all.
	maxBehind = 1 << 20
	// blockTimeout is how long the log of a job waits for one block at most.
	blockTimeout = 2 * time.Second
)

// live sends a log to those who look on while the job runs. It is best effort:
// the archive is complete, and viewers go by the offsets.
type live struct {
	bus     *bus.Bus
	job     string
	attempt int
	// timeout bounds the publishing of one block.
	timeout time.Duration
	log     *zap.Logger

	pending []byte
	// offset is where pending begins in the clean log.
	offset int64
}

// add takes the next line, with its newline.
func (l *live) add(ctx context.Context, line string, behind bool) {
	if len(l.pending)+len(line) > maxBlock {
		l.send(ctx, behind)
	}
	for len(line) > maxBlock {
		part := cutText(line, maxBlock)
		l.pending = append(l.pending, part...)
		l.send(ctx, behind)
		line = line[len(part):]
	}
	l.pending = append(l.pending, line...)
}

// send publishes what is pending. Thousands of jobs are quiet most of the time, so
// the room is given back.
func (l *live) send(ctx context.Context, behind bool) {
	if len(l.pending) > 0 && !behind {
		l.publish(ctx, false)
	}
	l.offset += int64(len(l.pending))
	if l.pending = l.pending[:0]; !behind {
		l.pending = nil
	}
}

// end publishes what is pending and says that it was the last.
func (l *live) end(ctx context.Context) { l.publish(ctx, true) }

func (l *live) publish(ctx context.Context, last bool) {
	ctx, cancel := context.WithTimeout(ctx, l.timeout)
	defer cancel()
	block := flow.LogBlock{Job: l.job, Attempt: l.attempt, Offset: l.offset, Text: string(l.pending), Last: last}
	if err := bus.Publish(ctx, l.bus, flow.LogOf(l.job), block); err != nil {
		l.log.Debug("live block is lost", zap.String("job", l.job), zap.Error(err))
	}
}
