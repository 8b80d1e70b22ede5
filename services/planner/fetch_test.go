package planner

import (
	"fmt"
	"testing"

	"github.com/litci/litci/pkg/workflow"
)

// The limit is that of the command line, and asked before any file is fetched.
func TestTooManyWorkflowFilesStartNothing(t *testing.T) {
	w := setup(t)
	before := w.git("rev-parse", "main")
	files := map[string]string{}
	for i := range workflow.MaxFiles + 1 {
		files[fmt.Sprintf("%s/%d.yml", workflow.Folder, i)] = onAll
	}
	e := push("refs/heads/topic", before, w.commit("topic", "second", files))
	w.run()
	w.send(e)
	w.hears("nothing to run", "config")
	if jobs := w.jobs(); len(jobs) > 0 {
		t.Errorf("%d jobs", len(jobs))
	}
	results := w.results()
	if len(results) != 1 || len(results[0].Problems) != 1 || results[0].Problems[0] != workflow.TooManyFiles(len(files)) {
		t.Errorf("results are %+v", results)
	}
}
