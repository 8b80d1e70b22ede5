package lightning

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/internal/rest"
)

const (
	// pageLines is how many lines of a log one request asks for.
	pageLines = 1000
	// maxSaved bounds a saved log, in bytes. The wrapper writes less.
	maxSaved = 64 << 20
)

// Logs reads the job's output. A running job's last line is there when it is whole.
// Reading on where an earlier reading ended takes one request.
func (e *Executor) Logs(ctx context.Context, h executor.Handle, from int64) (io.ReadCloser, error) {
	if from < 0 {
		return nil, fmt.Errorf("log of job %s: negative offset %d", h.ID, from)
	}
	p, err := e.place(ctx)
	if err != nil {
		return nil, err
	}
	ref := h.Ref
	if ref == "" {
		found, err := e.known(ctx, p, h)
		if err != nil {
			return nil, err
		}
		if found == nil {
			return nil, fmt.Errorf("log of job %s: %w", h.ID, fs.ErrNotExist)
		}
		ref = found.ID
	}
	r := &logReader{ctx: ctx, e: e, id: h.ID, ref: ref, from: from, cursor: newCursor(h.ID)}
	known := e.jobs.change(ref, nil)
	if known.last != nil && known.cursor.recent != nil && known.cursor.decoder.Offset == from && e.fresh(known.readAt) {
		r.done = true
		return r, nil
	}
	if !known.saved {
		if known.cursor.recent != nil && known.cursor.decoder.Offset <= from {
			r.cursor = known.cursor.clone()
		}
		r.next = e.pages(p, ref, r.cursor.since())
		err = r.fill()
		if err == nil && r.cursor.last.IsZero() {
			err = r.reopen(p, h)
		}
	} else {
		r.next = e.saved(p, ref)
		err = r.fill()
	}
	if gap, ok := errors.AsType[*executor.GapError](err); ok {
		return nil, gap
	}
	if err != nil {
		return nil, fmt.Errorf("log of job %s: %w", h.ID, err)
	}
	return r, nil
}

// pager gives the next lines of a log, and io.EOF behind the last ones.
type pager func(ctx context.Context) ([]entry, error)

// pages reads a log line by line from a time on.
func (e *Executor) pages(p place, ref string, since time.Time) pager {
	token, last := "", false
	return func(ctx context.Context) ([]entry, error) {
		if last {
			return nil, io.EOF
		}
		query := url.Values{"jobIds": {ref}, "pageSize": {strconv.Itoa(pageLines)}}
		if !since.IsZero() {
			query.Set("since", since.UTC().Format(time.RFC3339Nano))
		}
		if token != "" {
			query.Set("pageToken", token)
		}
		var answer struct {
			Entries []entry `json:"entries"`
			Next    string  `json:"nextPageToken"`
		}
		err := e.client.call(ctx, http.MethodGet, "/v1/projects/"+url.PathEscape(p.project)+"/page-logs", query, nil, &answer)
		if rest.Missing(err) && token == "" {
			return nil, io.EOF // not there yet, or any more
		}
		if err != nil {
			return nil, err
		}
		token, last = answer.Next, answer.Next == ""
		return answer.Entries, nil
	}
}

// scan shows a log's lines to visit until it has seen enough.
func (e *Executor) scan(ctx context.Context, p place, ref string, since time.Time, visit func(entry) bool) error {
	next := e.pages(p, ref, since)
	for {
		entries, err := next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, one := range entries {
			if !visit(one) {
				return nil
			}
		}
	}
}

// saved reads the file that the service keeps of an ended job's log.
func (e *Executor) saved(p place, ref string) pager {
	read := false
	return func(ctx context.Context) ([]entry, error) {
		if read {
			return nil, io.EOF
		}
		read = true
		return e.savedLines(ctx, p, ref)
	}
}

// savedPrefix is what each line of a saved log may begin with.
var savedPrefix = regexp.MustCompile(`^\[\d{4}-\d\d-\d\dT[0-9:.]+Z\] `)

// savedLines fetches the saved log; it may lag behind the job's end, and is empty
// where there is none.
func (e *Executor) savedLines(ctx context.Context, p place, ref string) ([]entry, error) {
	text := ""
	wait := e.config.Pace.Retry
	for try := 1; ; try++ {
		var answer struct {
			URL string `json:"url"`
		}
		err := e.client.once(ctx, http.MethodGet, p.jobs()+"/"+url.PathEscape(ref)+"/download-logs",
			url.Values{"cloudspaceId": {""}, "deploymentId": {""}, "rank": {"0"}}, nil, &answer)
		if err == nil && answer.URL != "" {
			text, err = e.download(ctx, answer.URL)
		}
		if err == nil && text != "" {
			break
		}
		if try == rest.Tries || !rest.Sleep(ctx, wait) {
			if rest.Missing(err) {
				err = nil
			}
			return nil, err
		}
		wait *= 2
	}
	var list []entry
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		one := entry{Line: []byte(strconv.Itoa(len(list)))}
		if prefix := savedPrefix.FindString(line); prefix != "" {
			line = line[len(prefix):]
			at, err := time.Parse(time.RFC3339Nano, prefix[1:len(prefix)-2])
			if err == nil {
				one.Timestamp.Time = at
			}
		}
		one.Message = line
		list = append(list, one)
	}
	return list, nil
}

// download gets what a signed address holds. Our credentials are not for it.
func (e *Executor) download(ctx context.Context, signed string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, e.config.Pace.Call)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, signed, nil)
	if err != nil {
		return "", errors.New("the address of the saved log is malformed")
	}
	answer, err := e.client.http.Do(request)
	if err != nil {
		return "", fmt.Errorf("saved log: %w", rest.Bare(err))
	}
	defer answer.Body.Close()
	if answer.StatusCode/100 != 2 {
		return "", &rest.Error{Code: answer.StatusCode}
	}
	data, err := io.ReadAll(io.LimitReader(answer.Body, maxSaved))
	if err != nil {
		return "", fmt.Errorf("saved log: %w", rest.Bare(err))
	}
	return string(data), nil
}

// logReader reads a job's output from an offset to what is there, or to the next gap.
type logReader struct {
	ctx     context.Context //nolint:containedctx // a reader's Read takes none
	e       *Executor
	id, ref string
	from    int64
	cursor  cursor
	next    pager
	data    []byte
	done    bool
	started bool // something was found at or behind from
}

// reopen tries the saved log of an ended job that has no lines.
func (r *logReader) reopen(p place, h executor.Handle) error {
	found, err := r.e.get(r.ctx, p, r.ref)
	if err != nil {
		return err
	}
	if found == nil {
		if err := r.e.reachable(r.ctx, p); err != nil {
			return err
		}
		return fs.ErrNotExist
	}
	if !terminal(found.State) {
		return nil
	}
	r.cursor, r.done, r.next = newCursor(h.ID), false, r.e.saved(p, r.ref)
	if err := r.fill(); err != nil {
		return err
	}
	if r.cursor.decoder.Begun {
		r.e.jobs.change(r.ref, func(m *recollection) { m.saved = true })
	}
	return nil
}

// fill reads pages until there is data. It fails with a GapError where from is in a
// part that was dropped.
func (r *logReader) fill() error {
	for len(r.data) == 0 && !r.done {
		r.keep()
		entries, err := r.next(r.ctx)
		if errors.Is(err, io.EOF) {
			r.done = true
			break
		}
		if err != nil {
			return err
		}
		for _, one := range entries {
			if !r.cursor.fresh(one) {
				continue
			}
			at := r.cursor.decoder.Offset
			data, jump := r.cursor.decoder.Line(one.Message)
			end := r.cursor.decoder.Offset
			if end <= r.from {
				continue
			}
			if jump {
				if !r.started {
					return &executor.GapError{Next: end}
				}
				// The next reading begins with the gap.
				delete(r.cursor.recent, keyOf(one))
				r.cursor.decoder.Offset, r.done = at, true
				return nil
			}
			r.started = true
			r.data = append(r.data, data[max(0, r.from-at):]...)
		}
		r.cursor.trim()
	}
	if r.done {
		r.keep()
		r.e.jobs.change(r.ref, func(m *recollection) { m.readAt = time.Now() })
	}
	return nil
}

// keep lets the next reading begin here. What was not read yet lies ahead.
func (r *logReader) keep() {
	if len(r.data) > 0 {
		return
	}
	r.e.jobs.change(r.ref, func(m *recollection) {
		if !m.saved && (m.cursor.recent == nil || r.cursor.decoder.Offset > m.cursor.decoder.Offset) {
			m.cursor = r.cursor.clone()
		}
	})
}

// Read gives what is there. Pages are fetched when they are wanted.
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

// Close ends the reading.
func (r *logReader) Close() error {
	r.keep()
	return nil
}
