package planner

import (
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/pkg/flow"
)

func TestSourceIsStoredOnceForAllEvents(t *testing.T) {
	w := setup(t)
	head := w.commit("topic", "second", folder("a.yml", onPull, "b.yml", "name: pushes\ntrigger: push\nrun: 'true'\n"))
	e := w.open(fakegithub.OpenPull{Head: "topic"}, head)
	w.run()
	w.send(e)
	w.hears("planned", "")
	w.send(push("refs/heads/topic", zero, head))
	w.hears("planned", "")
	if n := w.gh.State().Requests["GET /repos/{owner}/{repo}/tarball/{ref}"]; n != 1 {
		t.Errorf("%d archives were fetched", n)
	}
}

// The store forgets an archive after a day, and a job may wait before it is read.
func TestOldSourceIsStoredAgain(t *testing.T) {
	w := setup(t)
	head := w.commit("topic", "second", folder("a.yml", onAll))
	a := asked(t, push("refs/heads/topic", zero, head))
	jobs := []flow.Job{{Source: flow.SourceName(4711, head)}, {Source: flow.SourceName(4711, head)}}
	for range 2 {
		if err := w.planner.store(t.Context(), a.Identity, jobs); err != nil {
			t.Fatal(err)
		}
	}
	const tarball = "GET /repos/{owner}/{repo}/tarball/{ref}"
	if n := w.gh.State().Requests[tarball]; n != 1 {
		t.Errorf("%d archives were fetched while the first was young", n)
	}
	w.planner.archiveAge = time.Nanosecond
	if err := w.planner.store(t.Context(), a.Identity, jobs); err != nil {
		t.Fatal(err)
	}
	if n := w.gh.State().Requests[tarball]; n != 2 {
		t.Errorf("%d archives were fetched once the first was old", n)
	}
	source, err := w.bus.Sources().Get(t.Context(), flow.SourceName(4711, head))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = source.Close() }()
	if _, err := gzip.NewReader(source); err != nil {
		t.Errorf("the new archive: %v", err)
	}
}

func TestTooLargeSourceIsSaid(t *testing.T) {
	w := setup(t)
	head := w.commit("topic", "second", folder("a.yml", onAll))
	w.planner.archiveLimit = 10
	w.run()
	w.send(push("refs/heads/topic", zero, head))
	w.hears("nothing to run", "config")
	results := w.results()
	if len(results) != 1 || results[0].Conclusion != flow.Failure || !strings.Contains(results[0].Message, "source archive") {
		t.Errorf("results are %+v", results)
	}
	if _, err := w.bus.Sources().Age(t.Context(), flow.SourceName(4711, head)); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("a part of the source is stored: %v", err)
	}
	if len(w.jobs()) > 0 {
		t.Error("jobs without a source")
	}
}

func TestLimitedReaderFailsBeyondItsLimit(t *testing.T) {
	for size, fits := range map[int]bool{0: true, 9: true, 10: true, 11: false} {
		text, err := io.ReadAll(&limited{strings.NewReader(strings.Repeat("x", size)), 10})
		if fits != (err == nil) || fits && len(text) != size || !fits && !errors.Is(err, errTooLarge) {
			t.Errorf("%d bytes: %d read, %v", size, len(text), err)
		}
	}
	if _, err := io.ReadAll(&limited{io.MultiReader(strings.NewReader("x"), failing{}), 10}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a broken download: %v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
