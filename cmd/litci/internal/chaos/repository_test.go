package chaos

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/workflow"
)

func TestRepositoryHasACommitForEachEvent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repositories")
	events := Draw(options()).Events
	r, err := newRepository(t.Context(), dir, "/marks", options().installations(), events)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if err := r.move(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		parent, err := git(t.Context(), r.dirs[e.Home], nil, "rev-parse", e.Branch+"^")
		if err != nil {
			t.Fatal(err)
		}
		if e.Parent >= 0 && parent != r.commits[e.Parent] {
			t.Errorf("%s follows %s, want %s", e, parent, r.commits[e.Parent])
		}
	}
	last := events[len(events)-1]
	text, err := git(t.Context(), r.dirs[last.Home], nil, "show", r.commits[last.Number]+":.lightning/workflows/"+workflowFile)
	if err != nil {
		t.Fatal(err)
	}
	set := load(text)
	if len(set.Problems) > 0 || len(set.Workflows) != 1 {
		t.Fatalf("%d workflows, problems %v", len(set.Workflows), set.Problems)
	}
	if jobs := set.Workflows[0].Jobs(workflow.Event{Kind: workflow.EventPullRequest}); len(jobs) != len(last.Jobs) {
		t.Errorf("%d jobs, want %d", len(jobs), len(last.Jobs))
	}
}

func load(text string) workflow.Set {
	return workflow.Load([]workflow.File{{Path: ".lightning/workflows/" + workflowFile, Data: []byte(text)}})
}

// Each work comes to the verdict that is expected of it, and leaves one mark.
func TestWorkEndsAsExpected(t *testing.T) {
	for _, work := range []Work{Quick, Steady, Chatty, Fail, Crash} {
		t.Run(string(work), func(t *testing.T) {
			t.Parallel()
			marks := localMarks(filepath.Join(t.TempDir(), "it's here"))
			if err := marks.begin(t.Context()); err != nil {
				t.Fatal(err)
			}
			value := string(work) + "-0"
			set := load(workflowText(marks.folder(), []string{value}))
			cmd := exec.Command("bash", "-e", "-c", set.Workflows[0].Script)
			cmd.Env = append(os.Environ(), workParameter+"="+value, "GITHUB_JOB=run-0", "GITHUB_RUN_ATTEMPT=1")
			conclusion := flow.Success
			if err := cmd.Run(); err != nil {
				conclusion = flow.Failure
			}
			if conclusion != conclusionOf(value) || cmd.ProcessState.ExitCode() == 99 {
				t.Errorf("%s, want %s: %s", conclusion, conclusionOf(value), cmd.ProcessState)
			}
			have, _, err := marks.read(t.Context())
			if err != nil || len(have) != 1 || have["run-0-a1"] != 1 {
				t.Errorf("marks are %v, %v", have, err)
			}
		})
	}
}
