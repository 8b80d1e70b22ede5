package localrun

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// repository is a git repository with these files committed.
func repository(t *testing.T, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	run(t, dir, "init", "-q", "-b", "main")
	for _, name := range files {
		write(t, filepath.Join(dir, name), "x")
	}
	run(t, dir, "add", "-A")
	run(t, dir, "commit", "-q", "--allow-empty", "-m", "one")
	return dir
}

func run(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=a", "-c", "user.email=a@example.com"}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// entries are the names in the archive of a folder, without the top one.
func entries(t *testing.T, dir string) string {
	t.Helper()
	tree, err := readTree(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	packed := tree.archive(t.Context())
	defer packed.Close()
	plain, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for archive := tar.NewReader(plain); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return strings.Join(names[1:], " ")
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, strings.TrimPrefix(header.Name, top))
	}
}

// What git knows and what is on the disk may differ in every way.
func TestArchiveIsWhatIsOnTheDisk(t *testing.T) {
	t.Parallel()
	dir := repository(t, "a", "gone", "folder/inside", "turned/file", "linked/x/file")
	for _, name := range []string{"gone", "folder", "turned", "linked/x"} {
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "folder"), "now a file")
	write(t, filepath.Join(dir, "real", "file"), "x")
	if err := os.Symlink("real", filepath.Join(dir, "turned")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../real", filepath.Join(dir, "linked", "x")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "broken")); err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if have, want := entries(t, dir), "a broken folder linked/x real/file turned"; have != want {
		t.Errorf("the archive holds %q, want %q", have, want)
	}
}

func TestIgnoredFolderIsTakenWhole(t *testing.T) {
	t.Parallel()
	dir := repository(t, "a")
	write(t, filepath.Join(dir, ".gitignore"), "scratch\n")
	write(t, filepath.Join(dir, "scratch", "b"), "x")
	if have := entries(t, filepath.Join(dir, "scratch")); have != "b" {
		t.Errorf("the archive holds %q, want b", have)
	}
}

func TestLinkToAFolderIsTheFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "real", "b"), "x")
	if err := os.Symlink("real", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if have := entries(t, filepath.Join(dir, "link")); have != "b" {
		t.Errorf("the archive holds %q, want b", have)
	}
}

func TestLargeFilesAreWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "large"), strings.Repeat("0123456789", maxWhole/5))
	if have := entries(t, dir); have != "large" {
		t.Errorf("the archive holds %q", have)
	}
}

func TestChangedFiles(t *testing.T) {
	t.Parallel()
	dir := repository(t, "same", "edited", "sub/moved")
	run(t, dir, "checkout", "-q", "-b", "feature")
	write(t, filepath.Join(dir, "committed"), "x")
	run(t, dir, "add", "committed")
	run(t, dir, "commit", "-q", "-m", "two")
	run(t, dir, "mv", "sub/moved", "sub/here")
	write(t, filepath.Join(dir, "edited"), "y")
	write(t, filepath.Join(dir, "new"), "x")
	tree, err := readTree(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	files, known, err := tree.changed(t.Context(), "main")
	if have := strings.Join(files, " "); err != nil || !known || have != "committed edited sub/here sub/moved new" {
		t.Errorf("%q, %t, %v", have, known, err)
	}
	if files, known, err := tree.changed(t.Context(), "nowhere"); err != nil || known || len(files) > 0 {
		t.Errorf("against no branch: %q, %t, %v", files, known, err)
	}
}

func TestOwnerOf(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"git@github.com:octo/hello.git":                "octo/hello",
		"https://github.com/octo/hello":                "octo/hello",
		"https://user:token@git.example.com/octo/a.b/": "octo/a.b",
		"ssh://git@github.com:22/octo/hello.git":       "octo/hello",
		"/srv/git/hello.git":                           "",
		"":                                             "",
	} {
		have := ""
		if owner, name, ok := ownerOf(address); ok {
			have = owner + "/" + name
		}
		if have != want {
			t.Errorf("%s is %q, want %q", address, have, want)
		}
	}
}
