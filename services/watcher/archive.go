package watcher

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

const (
	// inMemory is how much of a log waits in memory before it goes to a file, in bytes.
	inMemory = 32 << 10
	// headBytes and tailBytes are what is kept of a large log.
	headBytes = 32 << 20
	tailBytes = 32 << 20
)

// archive collects a clean log of any length in a file of bounded size: its head,
// and behind it a ring that holds its tail. Little of it is in memory.
type archive struct {
	dir        string
	head, tail int64
	// size is the length of the log; what is not in memory is in the file.
	size   int64
	memory []byte
	file   *os.File
}

func newArchive(dir string, head, tail int64) *archive {
	return &archive{dir: dir, head: head, tail: tail}
}

// write appends to the log.
func (a *archive) write(text string) error {
	if len(a.memory)+len(text) > inMemory {
		if err := a.spill(); err != nil {
			return err
		}
	}
	a.memory = append(a.memory, text...)
	a.size += int64(len(text))
	return nil
}

// spill moves what is in memory to the file. The file has no name, so nothing of
// it is left behind when the process dies.
func (a *archive) spill() error {
	if a.file == nil {
		file, err := os.CreateTemp(a.dir, "litci-log-*")
		if err != nil {
			return fmt.Errorf("log archive: %w", err)
		}
		a.file = file
		if err := os.Remove(file.Name()); err != nil {
			return fmt.Errorf("log archive: %w", err)
		}
	}
	p := a.memory
	for at := a.size - int64(len(p)); len(p) > 0; {
		place, room := at, a.head-at
		if room <= 0 {
			turn := (at - a.head) % a.tail
			place, room = a.head+turn, a.tail-turn
		}
		n, err := a.file.WriteAt(p[:min(int64(len(p)), room)], place)
		if err != nil {
			return fmt.Errorf("log archive: %w", err)
		}
		at += int64(n)
		p = p[n:]
	}
	a.memory = a.memory[:0]
	return nil
}

// open returns the log as it is stored, and how many bytes it leaves out in the
// middle; a line says so in their place.
func (a *archive) open() (r io.Reader, dropped int64, err error) {
	if a.file == nil {
		return bytes.NewReader(a.memory), 0, nil
	}
	if err := a.spill(); err != nil {
		return nil, 0, err
	}
	if a.size <= a.head+a.tail {
		return io.NewSectionReader(a.file, 0, a.size), 0, nil
	}
	head, err := a.lastLineEnd(a.head)
	if err != nil {
		return nil, 0, err
	}
	oldest := (a.size - a.head) % a.tail
	ring := io.MultiReader(
		io.NewSectionReader(a.file, a.head+oldest, a.tail-oldest),
		io.NewSectionReader(a.file, a.head, oldest),
	)
	skipped, rest, err := afterLineEnd(ring)
	if err != nil {
		return nil, 0, fmt.Errorf("log archive: %w", err)
	}
	dropped = a.size - head - (a.tail - skipped)
	gap := fmt.Sprintf("[litci: %d bytes of the log are left out here]\n", dropped)
	return io.MultiReader(io.NewSectionReader(a.file, 0, head), bytes.NewReader([]byte(gap)), rest), dropped, nil
}

// lastLineEnd is the length of the head up to its last whole line; all of it when
// it ends in a line that is longer than lines are.
func (a *archive) lastLineEnd(length int64) (int64, error) {
	part := make([]byte, min(length, 2*maxLine))
	if _, err := a.file.ReadAt(part, length-int64(len(part))); err != nil {
		return 0, fmt.Errorf("log archive: %w", err)
	}
	if end := bytes.LastIndexByte(part, '\n'); end >= 0 {
		return length - int64(len(part)) + int64(end) + 1, nil
	}
	return length, nil
}

// afterLineEnd skips the rest of a line that began before, and returns how long it
// was and what follows.
func afterLineEnd(r io.Reader) (skipped int64, rest io.Reader, err error) {
	part := make([]byte, 2*maxLine)
	n, err := io.ReadFull(r, part)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return 0, nil, err
	}
	start := bytes.IndexByte(part[:n], '\n') + 1
	return int64(start), io.MultiReader(bytes.NewReader(part[start:n]), r), nil
}

func (a *archive) close() {
	if a.file != nil {
		// The file has no name: there is nothing left to lose.
		_ = a.file.Close()
		a.file = nil
	}
	a.memory = nil
}
