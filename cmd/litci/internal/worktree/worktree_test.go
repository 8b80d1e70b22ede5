package worktree

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
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
	dir := tree(t, map[string]string{"file": ""})
	for name, want := range map[string]string{
		"nowhere": "folder " + filepath.Join(dir, "nowhere") + ": no such file or directory",
		"file":    filepath.Join(dir, "file") + " is not a folder",
	} {
		if _, err := Load(filepath.Join(dir, name)); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

// What is no plain file is a problem of its own, in the planner's words, and stops
// no other file. A pipe without a writer is not opened: the test would not end.
func TestLoadOfFilesThatAreNotRead(t *testing.T) {
	t.Parallel()
	dir := tree(t, map[string]string{workflow.Folder + "/sound.yml": "run: make", "elsewhere.yml": "run: make", workflow.Folder + "/folder.yml/x": ""})
	at := func(name string) string { return filepath.Join(dir, filepath.FromSlash(workflow.Folder), name) }
	for link, target := range map[string]string{"linked.yml": "../../elsewhere.yml", "loop.yml": "loop.yml", "gone.yml": "nowhere"} {
		if err := os.Symlink(target, at(link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(at("pipe.yml"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at("secret.yml"), []byte("run: make"), 0); err != nil {
		t.Fatal(err)
	}
	const link = "the file is a symbolic link; a workflow file must be a plain file"
	want := map[string]string{
		"folder.yml": "this is a folder; a workflow file must be a plain file",
		"linked.yml": link, "loop.yml": link, "gone.yml": link,
		"pipe.yml":   "this is a pipe, a socket or a device; a workflow file must be a plain file",
		"secret.yml": "the file cannot be read: permission denied",
	}
	sound := 1
	if os.Geteuid() == 0 { // root reads everything
		delete(want, "secret.yml")
		sound = 2
	}
	set, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Workflows) != sound || len(set.Problems) != len(want) || !set.Broken() {
		t.Errorf("%d workflows, problems %v", len(set.Workflows), set.Problems)
	}
	for _, p := range set.Problems {
		if message := want[strings.TrimPrefix(p.File, workflow.Folder+"/")]; p.Message != message {
			t.Errorf("%s: %q, want %q", p.File, p.Message, message)
		}
	}
}

func TestLoadFollowsNoLinkToTheFolder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ link, target, problem, notice string }{
		{workflow.Folder, "../real", "the folder is a symbolic link, which is not followed", ""},
		{workflow.Folder, "workflows", "the folder is a symbolic link, which is not followed", ""},
		{".lightning", "real", "", ".lightning is a symbolic link, which is not followed."},
	} {
		dir := tree(t, map[string]string{"real/a.yml": "run: make", "real/workflows/a.yml": "run: make", workflow.SingleFile: "run: make"})
		link := filepath.Join(dir, filepath.FromSlash(c.link))
		if err := os.MkdirAll(filepath.Dir(link), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(c.target, link); err != nil {
			t.Fatal(err)
		}
		set, err := Load(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(set.Workflows) != 1 || set.Workflows[0].Path != workflow.SingleFile {
			t.Errorf("%s: workflows %v, want that of %s alone", c.link, set.Workflows, workflow.SingleFile)
		}
		var problem string
		for _, p := range set.Problems {
			problem += p.File + ": " + p.Message
		}
		want := c.problem
		if want != "" {
			want = c.link + ": " + want
		}
		if problem != want || strings.Join(set.Notices, " ") != c.notice {
			t.Errorf("%s: problem %q, notices %q", c.link, problem, set.Notices)
		}
	}
}

func TestNamesForATerminal(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"a b/ü.yml": "a b/ü.yml", `a"b.yml`: `a"b.yml`, "": "",
		"a\nb.yml": `"a\nb.yml"`, "\x1b[31m.yml": `"\x1b[31m.yml"`, "a\u202eb.yml": `"a\u202eb.yml"`, "\xff.yml": `"\xff.yml"`,
	} {
		if have := Printable(name); have != want {
			t.Errorf("%q is shown as %s, want %s", name, have, want)
		}
	}
}
