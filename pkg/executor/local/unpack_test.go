package local

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/executortest"
)

func archive(t *testing.T, entries ...executortest.Entry) func(context.Context) (io.ReadCloser, error) {
	t.Helper()
	data, err := executortest.Archive(entries...)
	if err != nil {
		t.Fatal(err)
	}
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}

// unpackInto unpacks below a fresh directory that has a neighbour to hit.
func unpackInto(t *testing.T, data []byte, lim limits) (dir string, left []string, err error) {
	t.Helper()
	above := t.TempDir()
	if err := os.WriteFile(filepath.Join(above, "neighbour"), []byte("untouched"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(above, "workspace")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	left, err = unpack(t.Context(), bytes.NewReader(data), root, lim, func(*os.Root, string) error { return nil })
	if got := names(t, above); !slices.Equal(got, []string{"neighbour", "workspace"}) {
		t.Errorf("beside the workspace are %q", got)
	}
	if data, err := os.ReadFile(filepath.Join(above, "neighbour")); err != nil || string(data) != "untouched" {
		t.Errorf("the neighbour is %q, %v", data, err)
	}
	return dir, left, err
}

// tree lists a directory: name, and content or target.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		switch {
		case entry.IsDir():
			name += "/"
		case entry.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			name += " -> " + target
		default:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name += "=" + string(data)
			if info.Mode()&0o111 != 0 {
				name += "*"
			}
		}
		list = append(list, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestUnpack(t *testing.T) {
	t.Parallel()
	file, dir, link := executortest.File, executortest.Dir, executortest.Link
	special := func(kind byte, name, target string) executortest.Entry {
		return executortest.Entry{Header: tar.Header{Typeflag: kind, Name: name, Linkname: target}}
	}
	for name, test := range map[string]struct {
		entries []executortest.Entry
		want    []string
		left    []string // names of links that are left out
		refused string   // part of the message
	}{
		"nothing":              {},
		"top folder alone":     {entries: []executortest.Entry{dir("top/")}},
		"files and folders":    {entries: []executortest.Entry{dir("top/"), dir("top/a/"), file("top/a/f", "1", 0o644), file("top/x", "2", 0o755)}, want: []string{"a/", "a/f=1", "x=2*"}},
		"folders left out":     {entries: []executortest.Entry{file("top/a/b/c/f", "1", 0o600)}, want: []string{"a/", "a/b/", "a/b/c/", "a/b/c/f=1"}},
		"dot before the top":   {entries: []executortest.Entry{dir("./"), dir("./top/"), file("./top/./f", "1", 0o644)}, want: []string{"f=1"}},
		"setuid is dropped":    {entries: []executortest.Entry{file("top/f", "1", 0o4755)}, want: []string{"f=1*"}},
		"later file counts":    {entries: []executortest.Entry{file("top/f", "old", 0o755), file("top/f", "new", 0o644)}, want: []string{"f=new"}},
		"folder twice":         {entries: []executortest.Entry{dir("top/a/"), dir("top/a/")}, want: []string{"a/"}},
		"odd names":            {entries: []executortest.Entry{file("top/...", "1", 0o644), file("top/a\\..\\b", "2", 0o644), file("top/-rf\n*", "3", 0o644)}, want: []string{"-rf\n*=3", "...=1", "a\\..\\b=2"}},
		"links inside":         {entries: []executortest.Entry{link("top/l", "a/f"), link("top/a/up", "../l"), file("top/a/f", "1", 0o644)}, want: []string{"a/", "a/f=1", "a/up -> ../l", "l -> a/f"}},
		"dangling link":        {entries: []executortest.Entry{link("top/l", "none")}, want: []string{"l -> none"}},
		"link to itself":       {entries: []executortest.Entry{link("top/l", "l")}, want: []string{"l -> l"}},
		"link to the top":      {entries: []executortest.Entry{link("top/a/l", "..")}, want: []string{"a/", "a/l -> .."}},
		"later link counts":    {entries: []executortest.Entry{link("top/l", "/etc"), link("top/l", "f")}, want: []string{"l -> f"}},
		"parent in name":       {entries: []executortest.Entry{file("top/../evil", "", 0o644)}, refused: `"top/../evil"`},
		"parent as top":        {entries: []executortest.Entry{file("../evil", "", 0o644)}, refused: `"../evil"`},
		"parent at the end":    {entries: []executortest.Entry{dir("top/a/..")}, refused: "leads out"},
		"absolute":             {entries: []executortest.Entry{file("/top/evil", "", 0o644)}, refused: "absolute"},
		"two tops":             {entries: []executortest.Entry{file("top/f", "", 0o644), file("evil/f", "", 0o644)}, refused: "second top folder"},
		"no top":               {entries: []executortest.Entry{file("evil", "", 0o644)}, refused: `"evil"`},
		"top is a link":        {entries: []executortest.Entry{link("evil", "/"), file("evil/f", "", 0o644)}, refused: `"evil"`},
		"link to root":         {entries: []executortest.Entry{link("top/evil", "/")}, left: []string{"evil"}},
		"link to parent":       {entries: []executortest.Entry{link("top/evil", "..")}, left: []string{"evil"}},
		"link deep to parent":  {entries: []executortest.Entry{link("top/a/b/evil", "../../../x")}, want: []string{"a/", "a/b/"}, left: []string{"a/b/evil"}},
		"link out and back in": {entries: []executortest.Entry{link("top/evil", "../workspace/f")}, left: []string{"evil"}},
		"link over a link":     {entries: []executortest.Entry{link("top/a/b/s", "../.."), link("top/evil", "a/b/s/../x")}, want: []string{"a/", "a/b/", "a/b/s -> ../.."}, left: []string{"evil"}},
		"link over a later one": {entries: []executortest.Entry{
			link("top/evil", "z/../x"), link("top/z", "."), link("top/zz", "z"),
		}, want: []string{"z -> .", "zz -> z"}, left: []string{"evil"}},
		"file below a link":   {entries: []executortest.Entry{link("top/evil", "a"), file("top/evil/f", "", 0o644)}, refused: "link"},
		"folder below a link": {entries: []executortest.Entry{link("top/evil", "a"), dir("top/evil/d")}, refused: "link"},
		"link over a folder":  {entries: []executortest.Entry{dir("top/evil"), link("top/evil", "a")}, refused: `"top/evil"`},
		"link over a file":    {entries: []executortest.Entry{file("top/evil", "", 0o644), link("top/evil", "a")}, refused: `"top/evil"`},
		"file over a link":    {entries: []executortest.Entry{link("top/evil", "a"), file("top/evil", "", 0o644)}, refused: `"top/evil"`},
		"file over a folder":  {entries: []executortest.Entry{dir("top/evil"), file("top/evil", "", 0o644)}, refused: `"top/evil"`},
		"file below a file":   {entries: []executortest.Entry{file("top/evil", "", 0o644), file("top/evil/f", "", 0o644)}, refused: "file already"},
		"hard link":           {entries: []executortest.Entry{special(tar.TypeLink, "top/evil", "/etc/passwd")}, refused: "hard links"},
		"device":              {entries: []executortest.Entry{special(tar.TypeBlock, "top/evil", "")}, refused: `"top/evil"`},
		"named pipe":          {entries: []executortest.Entry{special(tar.TypeFifo, "top/evil", "")}, refused: `"top/evil"`},
		"name too long":       {entries: []executortest.Entry{file("top/"+strings.Repeat("n", 300), "", 0o644)}, refused: "nnn"},
		"path too long":       {entries: []executortest.Entry{file("top/"+strings.Repeat("n/", 3000)+"f", "", 0o644)}, refused: "too long"},
	} {
		data, err := executortest.Archive(test.entries...)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		dir, left, err := unpackInto(t, data, sourceLimits())
		if test.refused != "" {
			refused, ok := errors.AsType[*executor.StartError](err)
			if !ok || !strings.Contains(refused.Error(), test.refused) {
				t.Errorf("%s: %v, want a refusal with %s", name, err, test.refused)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got := tree(t, dir); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
		if len(left) != len(test.left) {
			t.Errorf("%s: %q are left out, want %q", name, left, test.left)
			continue
		}
		for i, l := range left {
			if !strings.HasPrefix(l, strconv.Quote(test.left[i])+" leads out") {
				t.Errorf("%s: %q is left out, want %q", name, l, test.left[i])
			}
		}
	}
}

func TestUnpackBounds(t *testing.T) {
	t.Parallel()
	zeros := executortest.File("top/zeros", strings.Repeat("\x00", 1<<20), 0o644)
	many := make([]executortest.Entry, 20)
	for i := range many {
		many[i] = executortest.File("top/"+strings.Repeat("d/", i)+"f", "", 0o644)
	}
	for name, test := range map[string]struct {
		entries []executortest.Entry
		change  func(*limits)
		refused string
	}{
		"as large as may be": {[]executortest.Entry{zeros}, func(l *limits) { l.bytes = 2 << 20 }, ""},
		"too large":          {[]executortest.Entry{zeros}, func(l *limits) { l.bytes = 1 << 19 }, "larger than"},
		"too large together": {[]executortest.Entry{zeros, zeros, zeros}, func(l *limits) { l.bytes = 2 << 20 }, "larger than"},
		"too well packed":    {[]executortest.Entry{zeros}, func(l *limits) { l.free = 1 << 18 }, "times its size"},
		"too many":           {many, func(l *limits) { l.entries = 38 }, "more than 38 entries"},
		"as many as may be":  {many, func(l *limits) { l.entries = 39 }, ""},
		"names too long":     {many, func(l *limits) { l.names = 100 }, "names"},
	} {
		data, err := executortest.Archive(test.entries...)
		if err != nil {
			t.Fatal(err)
		}
		lim := sourceLimits()
		test.change(&lim)
		_, _, err = unpackInto(t, data, lim)
		_, refused := errors.AsType[*executor.StartError](err)
		if test.refused == "" && err != nil || test.refused != "" && (!refused || !strings.Contains(err.Error(), test.refused)) {
			t.Errorf("%s: %v, want %q", name, err, test.refused)
		}
	}
}

// What stays broken is refused; what may only have been cut off can be tried again.
func TestUnpackBrokenArchives(t *testing.T) {
	t.Parallel()
	good, err := executortest.Archive(executortest.File("top/f", strings.Repeat("0123456789", 1000), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	sum := bytes.Clone(good)
	sum[len(sum)-8]++ // the checksum's first byte
	for name, test := range map[string]struct {
		data  []byte
		final bool
	}{
		"not gzip":      {[]byte("<html>not found</html>"), true},
		"not tar":       {gzipped(t, bytes.Repeat([]byte("x"), 1024)), true},
		"wrong sum":     {sum, true},
		"cut off":       {good[:len(good)-30], false},
		"cut off at 5":  {good[:5], false},
		"empty":         {nil, false},
		"sum cut off":   {good[:len(good)-4], false},
		"second stream": {slices.Concat(good, []byte("garbage garbage")), true},
	} {
		_, _, err := unpackInto(t, test.data, sourceLimits())
		_, final := errors.AsType[*executor.StartError](err)
		if err == nil || final != test.final {
			t.Errorf("%s: %v, final %t, want %t", name, err, final, test.final)
		}
	}
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(data)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// FuzzUnpack gives any bytes as a tar: nothing may be written or point outside, and
// nothing but files, folders and links may come out.
func FuzzUnpack(f *testing.F) {
	for _, entries := range [][]executortest.Entry{
		{executortest.Dir("top/"), executortest.File("top/a/f", "1", 0o755), executortest.Link("top/l", "a/f")},
		{executortest.Link("top/a/s", ".."), executortest.Link("top/evil", "a/s/../x")},
		{executortest.File("top/../evil", "1", 0o4755)},
		{executortest.Link("top/evil", "/etc"), executortest.File("top/evil/f", "1", 0o644)},
	} {
		data, err := executortest.Archive(entries...)
		if err != nil {
			f.Fatal(err)
		}
		r, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			f.Fatal(err)
		}
		plain, err := io.ReadAll(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(plain)
	}
	f.Fuzz(func(t *testing.T, plain []byte) {
		dir, _, err := unpackInto(t, gzipped(t, plain), limits{bytes: 1 << 20, entries: 100, names: 10_000, ratio: 200, free: 1 << 20})
		whole, evalErr := filepath.EvalSymlinks(dir)
		if evalErr != nil {
			t.Fatal(evalErr)
		}
		if err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			if special := info.Mode() & (fs.ModeType | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky); special&^(fs.ModeDir|fs.ModeSymlink) != 0 {
				t.Errorf("%q is %v", path, info.Mode())
			}
			if info.Mode()&fs.ModeSymlink != 0 {
				if end, err := filepath.EvalSymlinks(path); err == nil && end != whole && !strings.HasPrefix(end, whole+"/") {
					t.Errorf("%q leads to %q", path, end)
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if _, refused := errors.AsType[*executor.StartError](err); err != nil && !refused && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("an archive that stays as it is can be tried again: %v", err)
		}
	})
}
