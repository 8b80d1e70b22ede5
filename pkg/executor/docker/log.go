package docker

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"

	"github.com/moby/moby/client"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/local"
)

// A log is read from the segments that the supervisor writes, so offsets are exact
// and its size is bounded. To look at a segment is cheap; to list them means to be sent
// them all. So their names are computed, since each begins where the one before is
// full, and they are listed only where one is not where it should be: the middle of a
// large log was dropped, or a disk was full.

// logPath is the path of a segment.
func logPath(start int64) string {
	return path.Join(jobPath, local.LogDir, local.SegmentName(start))
}

// segment is a file of a log.
type segment struct{ start, size int64 }

func (s segment) end() int64 { return s.start + s.size }

// nextSegment is where the segment behind one begins that begins at start.
func nextSegment(start int64) int64 {
	return start - start%local.SegmentSize + local.SegmentSize
}

// maxLogFolder bounds what is read to list the segments. A job could have put
// anything there.
const maxLogFolder = 256 << 20

// segments lists a log in order; none means that there is no log.
func (e *Executor) segments(ctx context.Context, id string) ([]segment, error) {
	ctx, cancel := e.call(ctx)
	defer cancel()
	answer, err := e.engine.CopyFromContainer(ctx, id, client.CopyFromContainerOptions{SourcePath: path.Join(jobPath, local.LogDir)})
	if isMissing(err) && !noContainer(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("log in container %s: %w", id, err)
	}
	defer answer.Content.Close()
	var list []segment
	archive := tar.NewReader(io.LimitReader(answer.Content, maxLogFolder))
	for {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("log in container %s: %w", id, err)
		}
		start, ok := local.SegmentStart(path.Base(header.Name))
		if ok && header.Typeflag == tar.TypeReg {
			list = append(list, segment{start, header.Size})
		}
	}
	slices.SortFunc(list, func(a, b segment) int { return cmp.Compare(a.start, b.start) })
	if len(list) > 0 {
		e.saw(id, list[len(list)-1].start)
	}
	return list, nil
}

// saw remembers the newest segment.
func (e *Executor) saw(id string, start int64) {
	if start > e.memory.of(id).newest {
		e.memory.change(id, func(r *remembered) { r.newest = max(r.newest, start) })
	}
}

// logSize is how much a running job has written.
func (e *Executor) logSize(ctx context.Context, id string) (int64, error) {
	at := e.memory.of(id).newest
	size := at
	for {
		stat, found, err := e.stat(ctx, id, logPath(at))
		if err != nil {
			return 0, err
		}
		if !found {
			break
		}
		e.saw(id, at)
		size = at + stat.Size
		if size < nextSegment(at) {
			return size, nil
		}
		at = nextSegment(at)
	}
	if at < local.SegmentsKept*local.SegmentSize {
		return size, nil
	}
	// The segments behind the first ones come and go.
	list, err := e.segments(ctx, id)
	if err != nil || len(list) == 0 {
		return size, err
	}
	return list[len(list)-1].end(), nil
}

// Logs reads the job's output. A log that is larger than 64 MiB has a gap in the
// middle. The log of a job that is not there, or was removed, is fs.ErrNotExist.
func (e *Executor) Logs(ctx context.Context, h executor.Handle, from int64) (io.ReadCloser, error) {
	if err := e.owns(ctx, h); err != nil {
		return nil, err
	}
	if from < 0 {
		return nil, fmt.Errorf("log of job %s: negative offset %d", h.ID, from)
	}
	c, err := e.find(ctx, h.ID)
	if err != nil {
		return nil, err
	}
	if c == nil || !e.isOurs(c.Config.Labels) {
		return nil, fmt.Errorf("log of job %s: %w", h.ID, fs.ErrNotExist)
	}
	r, err := e.openLog(ctx, c.ID, from)
	if err != nil {
		return nil, fmt.Errorf("log of job %s: %w", h.ID, err)
	}
	return r, nil
}

func (e *Executor) openLog(ctx context.Context, id string, from int64) (*logReader, error) {
	r := &logReader{executor: e, ctx: ctx, container: id}
	// The usual place first, which needs no list.
	start := from - from%local.SegmentSize
	stat, found, err := e.stat(ctx, id, logPath(start))
	if err != nil {
		return nil, err
	}
	if found && start+stat.Size > from {
		_, err := r.open(start, from-start)
		return r, err
	}
	if !e.goesOn(id, from, found) {
		return r, nil
	}
	list, err := e.segments(ctx, id)
	if err != nil {
		return nil, err
	}
	first := slices.IndexFunc(list, func(s segment) bool { return s.end() > from })
	if first < 0 {
		return r, nil
	}
	if start = list[first].start; start > from {
		return nil, &executor.GapError{Next: start}
	}
	_, err = r.open(start, from-start)
	return r, err
}

// goesOn says whether there may be more of a log although the usual segment has
// nothing at an offset; there says that it has what is before.
func (e *Executor) goesOn(id string, from int64, there bool) bool {
	known := e.memory.of(id)
	if known.ended != nil {
		return from < known.ended.LogSize
	}
	if there {
		return known.newest > from
	}
	// A log that ends where a segment does looks the same as one with a gap there.
	return from >= local.SegmentsKept*local.SegmentSize && nextSegment(known.newest) != from
}

// logReader reads neighbouring segments one after the other.
type logReader struct {
	executor  *Executor
	ctx       context.Context //nolint:containedctx // a reader's Read takes none
	container string

	body    io.ReadCloser
	content io.Reader
	left    int64
	// next is where the next segment begins; zero means that there is none.
	next int64
}

// open takes up the segment that begins at start; false means that it is gone.
func (r *logReader) open(start, skip int64) (bool, error) {
	r.next = 0
	answer, err := r.executor.engine.CopyFromContainer(r.ctx, r.container, client.CopyFromContainerOptions{SourcePath: logPath(start)})
	if isMissing(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	r.body = answer.Content
	archive := tar.NewReader(answer.Content)
	header, err := archive.Next()
	if err != nil {
		return false, errors.Join(err, r.Close())
	}
	if header.Typeflag != tar.TypeReg || header.Size < skip || start+header.Size > nextSegment(start) {
		return false, r.Close() // the job's own doing
	}
	if _, err := io.CopyN(io.Discard, archive, skip); err != nil {
		return false, errors.Join(err, r.Close())
	}
	r.content, r.left = archive, header.Size-skip
	if start+header.Size == nextSegment(start) {
		r.next = nextSegment(start)
	}
	r.executor.saw(r.container, start)
	return true, nil
}

// Read gives what was there when the segment was opened. A segment that is dropped
// meanwhile ends the reading: the next call of Logs tells where it goes on.
func (r *logReader) Read(p []byte) (int, error) {
	for r.left == 0 {
		if err := r.Close(); err != nil {
			return 0, err
		}
		if r.next == 0 {
			return 0, io.EOF
		}
		// To look is far cheaper than to open in vain.
		_, found, err := r.executor.stat(r.ctx, r.container, logPath(r.next))
		if err == nil && found {
			found, err = r.open(r.next, 0)
		}
		if err != nil {
			return 0, err
		}
		if !found {
			r.next = 0
		}
	}
	n, err := r.content.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	if err == io.EOF {
		err = nil
		if r.left > 0 {
			err = io.ErrUnexpectedEOF
		}
	}
	return n, err
}

// Close ends the transfer of the segment that is open.
func (r *logReader) Close() error {
	if r.body == nil {
		return nil
	}
	err := r.body.Close()
	r.body, r.content, r.left = nil, nil, 0
	return err
}
