package executortest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/litci/litci/pkg/executor"
)

// Archive makes a gzip-compressed tar. Regular files take their size from Content.
func Archive(entries ...Entry) ([]byte, error) {
	var b bytes.Buffer
	zipped := gzip.NewWriter(&b)
	archive := tar.NewWriter(zipped)
	for _, e := range entries {
		header := e.Header
		if header.Mode == 0 && header.Typeflag != tar.TypeXGlobalHeader {
			header.Mode = 0o644
		}
		if header.Typeflag == tar.TypeReg || header.Typeflag == 0 {
			header.Size = int64(len(e.Content))
		}
		if err := archive.WriteHeader(&header); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(archive, e.Content); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(archive.Close(), zipped.Close()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Entry is one entry of an archive.
type Entry struct {
	tar.Header
	Content string
}

// File is a regular file.
func File(name, content string, mode int64) Entry {
	return Entry{Header: tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: mode}, Content: content}
}

// Dir is a directory.
func Dir(name string) Entry {
	return Entry{Header: tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}}
}

// Link is a symbolic link.
func Link(name, target string) Entry {
	return Entry{Header: tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}}
}

// source makes an archive the source of a job.
func (s *suite) source(entries ...Entry) func(context.Context) (io.ReadCloser, error) {
	s.Helper()
	data, err := Archive(entries...)
	if err != nil {
		s.Fatal(err)
	}
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}

func sourceUnpacked(s *suite) {
	spec := s.spec("./tool\ncat docs/deep/page link\nstat -c %A plain tool odd\nls -A\ntest \"$PWD\" -ef .\ntouch new docs/new\n")
	spec.Source = s.source(
		// What git archive writes first.
		Entry{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "0123"}}},
		Dir("acme-app-0123/"),
		Dir("acme-app-0123/docs/"),
		File("acme-app-0123/docs/deep/page", "page\n", 0o644),
		File("acme-app-0123/plain", "plain\n", 0o664),
		File("acme-app-0123/tool", "#!/bin/sh\necho tool\n", 0o775),
		File("acme-app-0123/odd", "", 0o6755),
		Link("acme-app-0123/link", "docs/../plain"),
	)
	state, log := s.run(spec)
	s.exited(state, 0)
	want := "tool\npage\nplain\n-rw-r--r--\n-rwxr-xr-x\n-rwxr-xr-x\ndocs\nlink\nodd\nplain\ntool\n"
	if log != want {
		s.Errorf("log is %q, want %q", log, want)
	}
}

func sourceOnce(s *suite) {
	spec := s.spec("cat file\n")
	open := s.source(File("top/file", "content\n", 0o644))
	var opened atomic.Int32
	spec.Source = func(ctx context.Context) (io.ReadCloser, error) {
		opened.Add(1)
		return open(ctx)
	}
	h := s.start(spec)
	for range 3 {
		if _, err := s.executor.Start(s.Context(), spec); err != nil {
			s.Error(err)
		}
	}
	s.exited(s.ended(h), 0)
	if n := opened.Load(); n != 1 {
		s.Errorf("source was opened %d times", n)
	}
	if log := s.log(h, 0); log != "content\n" {
		s.Errorf("log is %q", log)
	}
}

// sourceRetried has a source that cannot be opened, then one that breaks off, and
// then a good one.
func sourceRetried(s *suite) {
	spec := s.spec("ls\n")
	good := s.source(File("top/file", "content\n", 0o644))
	broken := errors.New("connection reset")
	sources := []func(context.Context) (io.ReadCloser, error){
		func(context.Context) (io.ReadCloser, error) { return nil, broken },
		func(ctx context.Context) (io.ReadCloser, error) {
			whole, err := s.source(File("top/other", strings.Repeat("0123456789", 1000), 0o644))(ctx)
			if err != nil {
				return nil, err
			}
			return io.NopCloser(io.MultiReader(io.LimitReader(whole, 60), failing{broken})), nil
		},
	}
	for i, source := range sources {
		spec.Source = source
		h, err := s.executor.Start(s.Context(), spec)
		if err == nil {
			s.cleanup(h)
		}
		if _, final := errors.AsType[*executor.StartError](err); !errors.Is(err, broken) || final {
			s.Errorf("start with broken source %d: %v", i, err)
		}
	}
	spec.Source = good
	state, log := s.run(spec)
	s.exited(state, 0)
	if log != "file\n" {
		s.Errorf("log is %q", log)
	}
}

// failing is a reader that only fails.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// sourceLinks has links that lead out, as repositories do have: they are not there,
// the log says so, and the rest is.
func sourceLinks(s *suite) {
	spec := s.spec("ls\n")
	spec.Source = s.source(
		Link("top/absolute", "/etc/passwd"), Link("top/parent", "../outside"),
		Dir("top/dir"), Link("top/dir/up", "../.."), Link("top/over", "dir/up/.."), Link("top/good", "dir"),
	)
	state, log := s.run(spec)
	s.exited(state, 0)
	var said, listed []string
	for line := range strings.Lines(log) {
		if rest, found := strings.CutPrefix(line, "litci: link left out: "); found {
			name, _, _ := strings.Cut(strings.TrimPrefix(rest, `"`), `"`)
			said = append(said, name)
			continue
		}
		listed = append(listed, strings.TrimSpace(line))
	}
	if !slices.Equal(said, []string{"absolute", "dir/up", "over", "parent"}) || !slices.Equal(listed, []string{"dir", "good"}) {
		s.Errorf("left out %q, there are %q", said, listed)
	}
}

func sourceHostile(s *suite) {
	for name, entries := range map[string][]Entry{
		"parent directory":     {File("top/../../evil", "", 0o644)},
		"absolute name":        {File("/evil", "", 0o644)},
		"write through a link": {Link("top/evil", "."), File("top/evil/file", "", 0o644)},
		"hard link": {
			File("top/a", "", 0o644),
			{Header: tar.Header{Typeflag: tar.TypeLink, Name: "top/evil", Linkname: "top/a"}},
		},
		"device":     {{Header: tar.Header{Typeflag: tar.TypeChar, Name: "top/evil", Devmajor: 1, Devminor: 3}}},
		"named pipe": {{Header: tar.Header{Typeflag: tar.TypeFifo, Name: "top/evil"}}},
	} {
		spec := s.spec("true\n")
		spec.Source = s.source(entries...)
		h, err := s.executor.Start(s.Context(), spec)
		if err == nil {
			s.cleanup(h)
		}
		refused, ok := errors.AsType[*executor.StartError](err)
		if !ok {
			s.Errorf("%s: %v", name, err)
			continue
		}
		if !strings.Contains(refused.Error(), "evil") {
			s.Errorf("%s: %q does not name the entry", name, refused.Error())
		}
	}
}
