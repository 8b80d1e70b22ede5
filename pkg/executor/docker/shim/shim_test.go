package shim

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestSurroundings(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"A=1,HOSTNAME=x,HOME=/tmp": "A=1,HOME=/tmp",
		"HOME=/":                   "HOME=/job/home",
		"HOME=/no/such/place":      "HOME=/job/home",
		"A=1":                      "A=1,HOME=/job/home",
	} {
		if got := strings.Join(surroundings(strings.Split(text, ","), "/job/home", "/job/tmp"), ","); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// A preparation becomes the job once.
func TestTakeJob(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := takeJob(root); err == nil {
		t.Error("nothing was taken")
	}
	for _, name := range []string{"in-a", "in-b"} {
		prepared := filepath.Join(root, name)
		if err := os.Mkdir(prepared, 0o700); err != nil {
			t.Fatal(err)
		}
		for file, content := range map[string]string{"job.json": `{"id":"litci-` + name + `"}`, "env": "A=own\x00"} {
			if err := os.WriteFile(filepath.Join(prepared, file), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	link := filepath.Join(root, "ready")
	for target, taken := range map[string]bool{"../elsewhere": false, "home": false} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
		if err := takeJob(root); (err == nil) != taken {
			t.Errorf("%s: %v", target, err)
		}
		if err := os.Remove(link); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("in-a", link); err != nil {
		t.Fatal(err)
	}
	if err := takeJob(root); err != nil {
		t.Fatal(err)
	}
	record, err := os.ReadFile(filepath.Join(root, "job", "job.json"))
	bash, lookErr := exec.LookPath("bash")
	if err != nil || lookErr != nil || !strings.Contains(string(record), `"bash":"`+bash+`"`) || !strings.Contains(string(record), "litci-in-a") {
		t.Errorf("record is %s, %v, %v", record, err, lookErr)
	}
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("in-b", link); err != nil {
		t.Fatal(err)
	}
	if err := takeJob(root); err == nil {
		t.Error("a second job was taken")
	}
}
