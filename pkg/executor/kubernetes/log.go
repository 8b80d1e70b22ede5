package kubernetes

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/internal/rest"
	"github.com/litci/litci/pkg/executor/wrapper"
)

// place is where a log may be read on, by the node's clock.
type place = wrapper.Place

// Logs reads the job's output. The cluster gives a log from a time on, in whole
// seconds, and only what the node has not rotated away; the wrapper's marks say which
// offsets that is. A running job's last line is there when it is whole.
func (e *Executor) Logs(ctx context.Context, h executor.Handle, from int64) (io.ReadCloser, error) {
	if from < 0 {
		return nil, fmt.Errorf("log of job %s: negative offset %d", h.ID, from)
	}
	found, err := e.known(ctx, h)
	if err != nil {
		return nil, fmt.Errorf("log of job %s: %w", h.ID, advise(err))
	}
	if found.job == nil || found.job.removed() {
		return nil, fmt.Errorf("log of job %s: %w", h.ID, fs.ErrNotExist)
	}
	if len(found.pods) == 0 {
		if finished(found.job) != nil {
			return nil, fmt.Errorf("log of job %s: its pod is gone: %w", h.ID, fs.ErrNotExist)
		}
		return io.NopCloser(strings.NewReader("")), nil
	}
	r := &logReader{ctx: ctx, e: e, id: h.ID, uid: found.job.Metadata.UID, pod: found.pods[0].Metadata.Name, from: from}
	known, _ := e.places.get(r.uid)
	if known.Offset > from {
		known = place{}
	}
	err = r.begin(known)
	gap, isGap := errors.AsType[*executor.GapError](err)
	if isGap && !known.At.IsZero() {
		// The node's clock may have been set back: the time may have left out too much.
		r.close()
		err = r.begin(place{})
		gap, isGap = errors.AsType[*executor.GapError](err)
	}
	if err != nil {
		r.close()
	}
	if isGap {
		return nil, gap
	}
	if err != nil {
		return nil, fmt.Errorf("log of job %s: %w", h.ID, err)
	}
	return r, nil
}

// logReader reads a job's output from an offset to what is there, or to the next gap.
type logReader struct {
	ctx     context.Context //nolint:containedctx // a reader's Read takes none
	e       *Executor
	id, uid string
	pod     string
	from    int64

	body    io.ReadCloser
	lines   *bufio.Reader
	decoder wrapper.Decoder
	data    []byte
	marked  place
	started bool // something was found at or behind from
	done    bool
}

// begin opens the log at a place and reads up to the first byte that is wanted.
func (r *logReader) begin(at place) error {
	r.decoder = wrapper.NewDecoder(r.id)
	r.decoder.Lost = true
	r.data, r.started, r.done = nil, false, false
	query := url.Values{"container": {jobContainer}}
	if !at.At.IsZero() {
		query.Set("sinceTime", at.At.UTC().Format(time.RFC3339))
	}
	body, err := r.e.client.stream(r.ctx, request{method: http.MethodGet, path: r.e.pods(r.pod) + "/log", query: query})
	switch {
	case rest.Status(err) == http.StatusBadRequest:
		// "container is waiting to start"
		r.done = true
		return nil
	case rest.Missing(err):
		return fmt.Errorf("its pod is gone: %w", fs.ErrNotExist)
	case err != nil:
		return advise(err)
	}
	r.body, r.lines = body, bufio.NewReaderSize(body, 64<<10)
	return r.fill()
}

// fill reads until there is data. It fails with a GapError where from is in a part that
// is not there.
func (r *logReader) fill() error {
	for len(r.data) == 0 && !r.done {
		line, err := r.lines.ReadString('\n')
		if err != nil {
			// A line without its end is read again when it has one.
			r.done = true
			r.close()
			if !errors.Is(err, io.EOF) {
				return rest.Bare(err)
			}
			if end := r.decoder.Exit; r.decoder.Lost && end != nil && end.Size > r.from {
				return &executor.GapError{Next: end.Size} // the last place was rotated away too
			}
			return nil
		}
		at := r.decoder.Offset
		data, jump := r.decoder.Line(line)
		end := r.decoder.Offset
		r.keep()
		if jump && end > r.from {
			if !r.started {
				return &executor.GapError{Next: end}
			}
			r.done = true // the next reading begins with the gap
			r.close()
			return nil
		}
		if end <= r.from || len(data) == 0 {
			continue
		}
		r.started = true
		r.data = data[max(0, r.from-at):]
	}
	return nil
}

// keep lets a later reading begin at the last place.
func (r *logReader) keep() {
	at := r.decoder.Place
	if at == r.marked || at.At.IsZero() {
		return
	}
	r.marked = at
	if known, _ := r.e.places.get(r.uid); at.Offset > known.Offset {
		r.e.places.put(r.uid, at)
	}
}

// Read gives what is there.
func (r *logReader) Read(b []byte) (int, error) {
	if len(r.data) == 0 {
		if err := r.fill(); err != nil {
			return 0, fmt.Errorf("log of job %s: %w", r.id, err)
		}
	}
	if len(r.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b, r.data)
	r.data = r.data[n:]
	return n, nil
}

func (r *logReader) close() {
	if r.body != nil {
		r.body.Close()
		r.body = nil
	}
}

// Close ends the reading.
func (r *logReader) Close() error {
	r.close()
	return nil
}
