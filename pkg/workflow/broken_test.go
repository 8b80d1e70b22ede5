package workflow

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litci/litci/pkg/flow"
)

var update = flag.Bool("update", false, "write the golden file anew; read the difference before it is committed")

func line(p flow.Problem) string {
	return fmt.Sprintf("%s:%d:%d: %s: %s\n", strings.TrimPrefix(p.File, Folder+"/"), p.Line, p.Column, p.Severity, p.Message)
}

// TestBroken holds the exact place and words of every error that people see.
func TestBroken(t *testing.T) {
	t.Parallel()
	var have bytes.Buffer
	var files []File
	for _, path := range glob(t, "testdata/broken/*.yml") {
		files = append(files, File{Path: Folder + "/" + filepath.Base(path), Data: read(t, path)})
	}
	problems := Load(files).Problems
	reported := make(map[string]bool)
	for _, p := range problems {
		reported[p.File] = true
		have.WriteString(line(p))
	}
	for _, f := range files {
		if !reported[f.Path] {
			t.Errorf("%s has no problem", f.Path)
		}
	}
	for _, path := range glob(t, "testdata/broken-single/*.yaml") {
		fmt.Fprintf(&have, "\n%s as %s\n", filepath.Base(path), SingleFile)
		for _, p := range Load([]File{{Path: SingleFile, Data: read(t, path)}}).Problems {
			have.WriteString(line(p))
		}
	}
	const golden = "testdata/broken.golden"
	if *update {
		if err := os.WriteFile(golden, have.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := strings.Split(string(read(t, golden)), "\n")
	lines := strings.Split(have.String(), "\n")
	for i := range max(len(want), len(lines)) {
		h, w := "", ""
		if i < len(lines) {
			h = lines[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if h != w {
			t.Fatalf("line %d of %s\nhave %s\nwant %s", i+1, golden, h, w)
		}
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("files %s: %d, %v", pattern, len(paths), err)
	}
	return paths
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
