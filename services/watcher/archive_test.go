package watcher

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
)

func stored(t *testing.T, a *archive) (string, int64) {
	t.Helper()
	r, dropped, err := a.open()
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data), dropped
}

func TestArchiveKeepsEverythingThatFits(t *testing.T) {
	for _, size := range []int64{0, 1, inMemory, inMemory + 1, 100_000, 200_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			a := newArchive(t.TempDir(), 100_000, 100_000)
			defer a.close()
			var want strings.Builder
			for i := 0; int64(want.Len()) < size; i++ {
				line := fmt.Sprintf("line %d\n", i)
				line = line[:min(int64(len(line)), size-int64(want.Len()))]
				want.WriteString(line)
				if err := a.write(line); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 { // a second try stores the same
				if got, dropped := stored(t, a); got != want.String() || dropped != 0 {
					t.Errorf("%d bytes stored, %d dropped", len(got), dropped)
				}
			}
		})
	}
}

func TestArchiveKeepsHeadAndTail(t *testing.T) {
	const head, tail = 50_000, 70_000
	for _, lines := range []int{15_000, 20_000, 34_567} {
		t.Run(fmt.Sprint(lines), func(t *testing.T) {
			dir := t.TempDir()
			a := newArchive(dir, head, tail)
			defer a.close()
			var all strings.Builder
			for i := range lines {
				line := fmt.Sprintf("line %d\n", i)
				all.WriteString(line)
				if err := a.write(line); err != nil {
					t.Fatal(err)
				}
			}
			got, dropped := stored(t, a)
			before, behind, ok := strings.Cut(got, fmt.Sprintf("[litci: %d bytes of the log are left out here]\n", dropped))
			if !ok {
				t.Fatalf("no line says that %d bytes are left out", dropped)
			}
			if !strings.HasPrefix(all.String(), before) || !strings.HasSuffix(all.String(), behind) {
				t.Error("head or tail is not the log's")
			}
			if !strings.HasSuffix(before, "\n") || !strings.HasPrefix(behind, "line ") {
				t.Error("head or tail does not stand on whole lines")
			}
			if len(before)+len(behind)+int(dropped) != all.Len() {
				t.Errorf("%d + %d kept and %d dropped of %d", len(before), len(behind), dropped, all.Len())
			}
			if len(before) < head-100 || len(behind) < tail-100 {
				t.Errorf("only %d and %d bytes are kept", len(before), len(behind))
			}
			if size, err := a.file.Seek(0, io.SeekEnd); err != nil || size > head+tail {
				t.Errorf("the file has %d bytes, %v", size, err)
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
				t.Errorf("%d files are left behind, %v", len(entries), err)
			}
		})
	}
}

func TestArchiveTellsThatTheDiskFailed(t *testing.T) {
	a := newArchive(t.TempDir()+"/missing", 100_000, 100_000)
	defer a.close()
	if err := a.write(strings.Repeat("x", inMemory)); err != nil {
		t.Errorf("a small log needs no disk: %v", err)
	}
	if err := a.write("x"); err == nil {
		t.Error("a large log was kept without a disk")
	}
}
