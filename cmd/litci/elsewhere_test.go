package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litci/litci/cmd/litci/internal/demo"
	"github.com/litci/litci/pkg/fakegithub"
)

// A mesh that runs already is shown at work, as compose.yaml's profile demo does, and
// says how it is, as its health check asks.
func TestDemoOnAMeshThatRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]string{"ok.yml": "run: echo ok\n"})
	repository, err := demo.Example(t.Context(), filepath.Join(w.dir, "example"))
	if err != nil {
		t.Fatal(err)
	}
	owner, name, _ := strings.Cut(exampleName, "/")
	if err := w.github.AddRepo(fakegithub.Repo{Owner: owner, Name: name, Dir: repository, DefaultBranch: "main"}); err != nil {
		t.Fatal(err)
	}
	litci := func(args ...string) (stdout string, err error) {
		var said bytes.Buffer
		cmd := exec.CommandContext(t.Context(), "litci", args...)
		cmd.Env, cmd.Dir, cmd.Stderr = w.env, w.dir, &said
		out, err := cmd.Output()
		if err != nil {
			t.Logf("litci %s: %v\n%s", strings.Join(args, " "), err, said.String())
		}
		return string(out), err
	}
	if _, err := litci("health", "--admin-listen", w.admin); err == nil {
		t.Error("healthy before anything runs")
	}
	w.up()
	if out, err := litci("health", "--admin-listen", w.admin); err != nil || out != "ready\n" {
		t.Errorf("health: %q, %v", out, err)
	}
	for _, number := range []string{"first", "second"} {
		out, err := litci("demo", "--github-url", w.url)
		if err != nil {
			t.Fatalf("%s pull request: %v", number, err)
		}
		for _, want := range []string{"tests.yml / Tests (en, unit)  success", "syntax.yml / Syntax", "Comment on the pull request", "Conclusion: success"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s pull request lacks %q:\n%s", number, want, out)
			}
		}
	}
}
