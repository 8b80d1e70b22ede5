package planner

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/pkg/flow"
)

const ofMerge = onAll + "checkout: merge\n"

func TestMergeIsTestedAndTheHeadReported(t *testing.T) {
	w := setup(t)
	head := w.commit("topic", "second", folder("a.yml", ofMerge, "b.yml", onAll))
	w.git("checkout", "-q", "main")
	w.commit("main", "meanwhile", map[string]string{"MEANWHILE": "x"})
	e := w.open(fakegithub.OpenPull{Head: "topic"}, head)
	w.run()
	w.send(e)
	w.hears("planned", "")
	jobs := w.jobs()
	if len(jobs) != 2 || jobs[0].SHA != head || jobs[1].Source != flow.SourceName(4711, head) || jobs[0].Source == jobs[1].Source {
		t.Fatalf("jobs are %+v", jobs)
	}
	if files := w.files(jobs[0].Source); !slices.Contains(files, "MEANWHILE") || !slices.Contains(files, ".lightning/workflows/a.yml") {
		t.Errorf("the merge has %q", files)
	}
	if files := w.files(jobs[1].Source); slices.Contains(files, "MEANWHILE") {
		t.Errorf("the head has %q", files)
	}
}

func TestConflictEndsWhatTestsTheMerge(t *testing.T) {
	w := setup(t)
	ours := folder("a.yml", ofMerge)
	ours["README.md"] = "ours"
	head := w.commit("topic", "second", ours)
	w.git("checkout", "-q", "main")
	w.commit("main", "meanwhile", map[string]string{"README.md": "theirs"})
	e := w.open(fakegithub.OpenPull{Head: "topic"}, head)
	w.run()
	w.send(e)
	w.hears("nothing to run", string(flow.CauseConfig))
	r := w.results()
	if len(r) != 1 || r[0].Conclusion != flow.Failure || !strings.HasPrefix(r[0].Message, "Nothing was started: the pull request conflicts with main: merge main into it") {
		t.Fatalf("results are %+v", r)
	}
	if p := r[0].Problems; len(p) != 1 || p[0].File != ".lightning/workflows/a.yml" || !strings.HasPrefix(p[0].Message, "checkout: merge: the pull request conflicts") {
		t.Errorf("problems are %+v", p)
	}
}

func TestConflictLetsOtherWorkflowsRun(t *testing.T) {
	a := asked(t, pullEvent("opened"))
	a.unmerged = "it conflicts"
	d := draw(a, load("a.yml", ofMerge, "b.yml", onAll), map[string]bool{"": true})
	if len(d.jobs) != 1 || d.jobs[0].File != ".lightning/workflows/b.yml" || len(d.Problems) != 1 {
		t.Errorf("jobs %+v, problems %+v", d.jobs, d.Problems)
	}
}

// A push has nothing to be merged into.
func TestPushTestsItsCommit(t *testing.T) {
	w := setup(t)
	head := w.commit("topic", "second", folder("a.yml", ofMerge))
	w.run()
	w.send(push("refs/heads/topic", zero, head))
	w.hears("planned", "")
	if jobs := w.jobs(); len(jobs) != 1 || jobs[0].Source != flow.SourceName(4711, head) {
		t.Errorf("jobs are %+v", jobs)
	}
}

// files are the names in a stored archive, without its top folder.
func (w *world) files(name string) []string {
	w.t.Helper()
	source, err := w.bus.Sources().Get(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = source.Close() }()
	gz, err := gzip.NewReader(source)
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for archive := tar.NewReader(gz); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			w.t.Fatal(err)
		}
		_, rest, _ := strings.Cut(path.Clean(header.Name), "/")
		names = append(names, rest)
	}
}
