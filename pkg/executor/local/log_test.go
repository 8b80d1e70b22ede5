package local

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/litci/litci/pkg/executor"
)

// smallLog keeps 20 bytes of head and the last 20 to 30 bytes.
func smallLog(dir string) *logWriter {
	return &logWriter{dir: dir, segment: 10, head: 2, tail: 2}
}

// letters is a text in which every place is known.
func letters(n int) []byte {
	text := make([]byte, n)
	for i := range text {
		text[i] = 'a' + byte(i%23)
	}
	return text
}

// readAll follows the gaps of a log and returns what there is, dots for the rest.
func readAll(t *testing.T, dir string, size int) []byte {
	t.Helper()
	got := bytes.Repeat([]byte{'.'}, size)
	for at := int64(0); at < int64(size); {
		r, err := openLog(dir, at)
		if gap, ok := errors.AsType[*executor.GapError](err); ok {
			if gap.Next <= at {
				t.Fatalf("gap from %d to %d", at, gap.Next)
			}
			at = gap.Next
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		part, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if len(part) == 0 {
			break
		}
		copy(got[at:], part)
		at += int64(len(part))
	}
	return got
}

func TestLogKeepsHeadAndTail(t *testing.T) {
	t.Parallel()
	for size := 0; size < 140; size += 3 {
		for _, chunk := range []int{1, 7, 1000} {
			dir := t.TempDir()
			w, text := smallLog(dir), letters(size)
			for part := text; len(part) > 0; part = part[min(chunk, len(part)):] {
				w.append(part[:min(chunk, len(part))])
			}
			w.close()
			if w.size != int64(size) || w.failed != nil || logSize(dir) != int64(size) {
				t.Fatalf("%d bytes: size %d, on disk %d, %v", size, w.size, logSize(dir), w.failed)
			}
			got := readAll(t, dir, size)
			for i := range got {
				kept := got[i] != '.'
				if kept && got[i] != text[i] {
					t.Fatalf("%d bytes: %q is not %q", size, got, text)
				}
				if mustKeep := i < 20 || i >= size-20; mustKeep && !kept {
					t.Fatalf("%d bytes: %d is missing in %q", size, i, got)
				}
				if mayDrop := i >= 20 && i < size-30; mayDrop && kept {
					t.Fatalf("%d bytes: %d is kept in %q", size, i, got)
				}
			}
		}
	}
}

func TestLogFromEveryOffset(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w, text := smallLog(dir), letters(95)
	w.append(text)
	// Segments from 0, 10, then 70, 80, 90.
	for from := range int64(100) {
		r, err := openLog(dir, from)
		gap, dropped := errors.AsType[*executor.GapError](err)
		if want := from >= 20 && from < 70; dropped != want {
			t.Fatalf("from %d: %v", from, err)
		}
		if dropped {
			if gap.Next != 70 {
				t.Errorf("from %d: goes on at %d", from, gap.Next)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		end := int64(20)
		if from >= 70 {
			end = 95
		}
		if want := text[min(from, end):end]; !bytes.Equal(got, want) {
			t.Errorf("from %d: %q, want %q", from, got, want)
		}
	}
	w.close()
}

// A segment that is dropped under a reader ends the reading; what is written
// meanwhile is for the next one.
func TestLogChangesWhileItIsRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w, text := smallLog(dir), letters(200)
	w.append(text[:45])
	r, err := openLog(dir, 15)
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 10)
	if _, err := io.ReadFull(r, first); err != nil || !bytes.Equal(first, text[15:25]) {
		t.Fatalf("first bytes are %q, %v", first, err)
	}
	w.append(text[45:])
	rest, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(rest, text[25:30]) {
		t.Errorf("rest is %q, %v, want %q", rest, err, text[25:30])
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	w.close()
}

// A job does not fail for its log: what the disk does not take is a gap.
func TestLogThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w, text := smallLog(dir), letters(40)
	// Something is in the way of the second segment.
	if err := os.Mkdir(filepath.Join(dir, filepath.Base(segmentPath(dir, 10))), 0o700); err != nil {
		t.Fatal(err)
	}
	w.append(text)
	w.close()
	if w.size != 40 || w.failed == nil {
		t.Errorf("size is %d, %v", w.size, w.failed)
	}
	if err := os.Remove(segmentPath(dir, 10)); err != nil {
		t.Fatal(err)
	}
	if got, want := readAll(t, dir, 40), string(text[:10])+".........."+string(text[20:]); string(got) != want {
		t.Errorf("log is %q, want %q", got, want)
	}
}
