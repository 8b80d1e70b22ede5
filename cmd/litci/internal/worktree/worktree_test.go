package worktree

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litci/litci/pkg/workflow"
)

// tree writes files under a new folder.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLoad(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, workflows, notices string
		files                    map[string]string
		problems                 int
	}{
		{"an empty folder", "", "", nil, 0},
		{"the folder", "a.yml b.yaml", "", map[string]string{
			workflow.Folder + "/b.yaml": "run: make", workflow.Folder + "/a.yml": "run: make", workflow.Folder + "/a.txt": "no", workflow.Folder + "/old/c.yml": "no",
		}, 0},
		{"the single file", "one two", "", map[string]string{workflow.SingleFile: "workflows: [{name: one, run: make}, {name: two, run: make}]"}, 0},
		{"the folder wins", "a.yml", "is not read", map[string]string{workflow.SingleFile: "run: make", workflow.Folder + "/a.yml": "run: make"}, 0},
		{"a misspelt single file", "", ".litci.yml is not read", map[string]string{".litci.yml": "run: make"}, 0},
		{"a broken file beside a sound one", "b.yml", "", map[string]string{workflow.Folder + "/a.yml": "rnu: make", workflow.Folder + "/b.yml": "run: make"}, 2},
	} {
		set, err := Load(tree(t, c.files))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var ids []string
		for _, w := range set.Workflows {
			ids = append(ids, w.ID())
		}
		if strings.Join(ids, " ") != c.workflows || len(set.Problems) != c.problems || !strings.Contains(strings.Join(set.Notices, " "), c.notices) || (c.notices == "") != (len(set.Notices) == 0) {
			t.Errorf("%s: workflows %q, problems %v, notices %q", c.name, ids, set.Problems, set.Notices)
		}
	}
}

func TestLoadOfWhatIsNoFolder(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{"file": "", "linked/" + workflow.SingleFile: ""})
	if err := os.Remove(filepath.Join(dir, "linked", workflow.SingleFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "gone"), filepath.Join(dir, "linked", workflow.SingleFile)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"nowhere": "folder " + filepath.Join(dir, "nowhere") + ": no such file or directory",
		"file":    filepath.Join(dir, "file") + " is not a folder",
		"linked":  "workflow file " + filepath.Join(dir, "linked", workflow.SingleFile) + ": no such file or directory",
	} {
		if _, err := Load(filepath.Join(dir, name)); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}
