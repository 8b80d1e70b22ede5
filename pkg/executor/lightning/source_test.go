package lightning

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/executortest"
	"github.com/litci/litci/pkg/executor/lightning/fakelightning"
)

// sourceServer serves archives by addresses that are good for one fetch.
type sourceServer struct {
	url string

	mu      sync.Mutex
	signed  int
	content []byte
	fetched map[string]int
}

func newSource(t *testing.T) *sourceServer {
	s := &sourceServer{fetched: map[string]int{}}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *sourceServer) sign(_ context.Context, job executor.Spec) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signed++
	return s.url + "/sources/" + job.ID + "?signature=canary-signature", nil
}

func (s *sourceServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetched[r.URL.Path]++
	if s.fetched[r.URL.Path] > 1 || r.URL.Query().Get("signature") != "canary-signature" {
		http.Error(w, "gone", http.StatusGone)
		return
	}
	_, _ = w.Write(s.content)
}

// noSource is the Source of a Spec whose machine fetches it by itself.
func noSource(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(nil)), nil
}

func TestSourceIsFetchedByTheMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakelightning.Options{Path: image(t, "curl")})
	archive, err := executortest.Archive(
		executortest.Entry{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "0123"}}},
		executortest.Dir("acme-app-0123/"),
		executortest.File("acme-app-0123/docs/deep/page", "page\n", 0o644),
		executortest.File("acme-app-0123/.hidden", "hidden\n", 0o644),
		executortest.File("acme-app-0123/tool", "#!/bin/sh\necho tool\n", 0o775),
		executortest.Link("acme-app-0123/link", ".hidden"),
	)
	if err != nil {
		t.Fatal(err)
	}
	w.source.content = archive
	e := w.executor(t, nil)
	job := spec("source", "ok", "./tool\ncat docs/deep/page link\ntest \"$PWD\" -ef \"$LITCI_WORKSPACE\"\n"+
		"grep -lsa 'canary-[s]ignature' /proc/[0-9]*/environ /proc/[0-9]*/cmdline \"$LITCI_WORKSPACE\"/../[!p]* || :\n")
	job.Source = noSource
	h := executortest.Start(t, e, job)
	state := executortest.Until(t, e, h, executor.Ended)
	if log := executortest.Output(t, e, h); log != "tool\npage\nhidden\n" || state.ExitCode == nil || *state.ExitCode != 0 {
		t.Errorf("log is %q, state %+v", log, state)
	}
	if n := w.source.fetched["/sources/"+job.ID]; n != 1 {
		t.Errorf("source was fetched %d times", n)
	}
	if w.source.signed != 1 {
		t.Errorf("%d addresses were made", w.source.signed)
	}
}

// A source that is gone ends the job as the machine's fault, before its script.
func TestSourceThatIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakelightning.Options{Path: image(t, "curl")})
	e := w.executor(t, nil)
	job := spec("gone", "ok", "echo never\n")
	job.Source = noSource
	w.source.fetched["/sources/"+job.ID] = 1
	h := executortest.Start(t, e, job)
	state := executortest.Until(t, e, h, executor.Ended)
	if state.Reason != executor.ReasonInfrastructure || !strings.Contains(state.Message, "source could not be fetched") || state.ExitCode != nil {
		t.Errorf("state is %+v", state)
	}
	if log := executortest.Output(t, e, h); log != "" {
		t.Errorf("log is %q", log)
	}
}

func TestSourceNeedsAnAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakeOptions())
	e := w.executor(t, func(c *Config) { c.SourceURL = nil })
	job := spec("source", "ok", "true\n")
	job.Source = noSource
	if _, err := e.Start(t.Context(), job); !strings.Contains(err.Error(), "public address") {
		t.Errorf("start: %v", err)
	}
}
