package local

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/litci/litci/pkg/executor"
)

// A log is kept in segments, files named by the offset of their first byte. The
// first ones stay for ever and of the others the last ones, so that a log that is
// too large keeps its head and its tail.
const (
	segmentSize  = 4 << 20
	headSegments = 8
	tailSegments = 8
)

// logWriter appends to a log. It is fast rather than durable: what the kernel has
// survives our death, and a power failure ends the job anyway.
type logWriter struct {
	dir     string
	segment int64
	head    int
	tail    int

	size    int64
	file    *os.File
	end     int64   // where the open segment is full
	rotated []int64 // first offsets of the segments behind the head
	failed  error
}

func newLogWriter(dir string) *logWriter {
	return &logWriter{dir: dir, segment: segmentSize, head: headSegments, tail: tailSegments}
}

// append writes p. What cannot be written (a full disk) is left out of the log and
// counted, because a job does not fail for its log.
func (w *logWriter) append(p []byte) {
	for len(p) > 0 {
		if w.file == nil {
			w.open()
		}
		part := p[:min(int64(len(p)), w.end-w.size)]
		if w.file != nil {
			if _, err := w.file.Write(part); err != nil {
				w.fail(err)
			}
		}
		w.size += int64(len(part))
		p = p[len(part):]
		if w.size == w.end {
			w.close()
		}
	}
}

// open begins the segment at the present offset. Where that fails, the bytes up to
// its end are lost.
func (w *logWriter) open() {
	w.end = w.size - w.size%w.segment + w.segment
	file, err := os.OpenFile(segmentPath(w.dir, w.size), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		w.fail(err)
		return
	}
	w.file = file
	if w.size < int64(w.head)*w.segment {
		return
	}
	w.rotated = append(w.rotated, w.size)
	for len(w.rotated) > w.tail+1 {
		if err := os.Remove(segmentPath(w.dir, w.rotated[0])); err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.failed = err
		}
		w.rotated = w.rotated[1:]
	}
}

func (w *logWriter) fail(err error) {
	w.failed = err
	w.close()
}

func (w *logWriter) close() {
	if w.file != nil {
		if err := w.file.Close(); err != nil {
			w.failed = err
		}
		w.file = nil
	}
}

func segmentPath(dir string, start int64) string {
	return filepath.Join(dir, fmt.Sprintf("%020d.log", start))
}

func segmentStart(name string) (int64, bool) {
	digits, ok := strings.CutSuffix(name, ".log")
	start, err := strconv.ParseInt(digits, 10, 64)
	return start, ok && err == nil && start >= 0
}

// segment is a file of a log as a reader finds it.
type segment struct{ start, size int64 }

func (s segment) end() int64 { return s.start + s.size }

// segments lists a log in order.
func segments(dir string) ([]segment, error) {
	entries, err := os.ReadDir(dir) // sorted, so by offset
	if err != nil {
		return nil, err
	}
	list := make([]segment, 0, len(entries))
	for _, entry := range entries {
		start, ok := segmentStart(entry.Name())
		if !ok {
			continue
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // dropped meanwhile
		}
		if err != nil {
			return nil, err
		}
		list = append(list, segment{start, info.Size()})
	}
	return list, nil
}

// logSize is how much the job has written, as far as a reader can see.
func logSize(dir string) int64 {
	list, err := segments(dir)
	if err != nil || len(list) == 0 {
		return 0
	}
	return list[len(list)-1].end()
}

// logReader reads neighbouring segments one after the other.
type logReader struct {
	dir  string
	list []segment
	skip int64 // in the first segment
	file *os.File
	left int64
}

// openLog opens a log at an offset, up to what is there now or to the next gap,
// whichever comes first.
func openLog(dir string, from int64) (*logReader, error) {
	list, err := segments(dir)
	if err != nil {
		return nil, err
	}
	first := slices.IndexFunc(list, func(s segment) bool { return s.end() > from })
	if first < 0 {
		return &logReader{}, nil
	}
	list = list[first:]
	if list[0].start > from {
		return nil, &executor.GapError{Next: list[0].start}
	}
	for i := 1; i < len(list); i++ {
		if list[i].start != list[i-1].end() {
			list = list[:i]
		}
	}
	return &logReader{dir: dir, list: list, skip: from - list[0].start}, nil
}

// Read gives what was there when the log was opened. A segment that is dropped
// meanwhile ends the reading: the next call of Logs tells where it goes on.
func (r *logReader) Read(p []byte) (int, error) {
	for r.left == 0 {
		if err := r.Close(); err != nil {
			return 0, err
		}
		if len(r.list) == 0 {
			return 0, io.EOF
		}
		next := r.list[0]
		file, err := os.Open(segmentPath(r.dir, next.start))
		if errors.Is(err, fs.ErrNotExist) {
			r.list = nil
			return 0, io.EOF
		}
		if err != nil {
			return 0, err
		}
		r.file = file
		if _, err := file.Seek(r.skip, io.SeekStart); err != nil {
			return 0, err
		}
		r.left, r.skip, r.list = next.size-r.skip, 0, r.list[1:]
	}
	n, err := r.file.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	if err == io.EOF && r.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Close closes the segment that is open.
func (r *logReader) Close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}
