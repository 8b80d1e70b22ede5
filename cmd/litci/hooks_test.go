package main

import (
	"regexp"
	"strings"
	"testing"
)

// The hook of pre-commit runs a command that there is, for the files that are read.
func TestPreCommitHook(t *testing.T) {
	hook := make(map[string]string)
	for line := range strings.Lines(read(t, ".pre-commit-hooks.yaml")) {
		if key, value, ok := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "- ")), ": "); ok {
			hook[key] = value
		}
	}
	if hook["language"] != "system" || hook["pass_filenames"] != "false" {
		t.Errorf("hook %v", hook)
	}
	files := regexp.MustCompile(hook["files"])
	for name, want := range map[string]bool{
		".lightning/workflows/ci.yml": true, ".lightning/workflows/ci.yaml": true, ".litci.yaml": true,
		".lightning/workflows/old/ci.yml": false, "src/.litci.yaml": false, "xlitci.yaml": false, ".lightning/workflows/README.md": false,
	} {
		if files.MatchString(name) != want {
			t.Errorf("files matches %s: %t", name, !want)
		}
	}
	words := strings.Fields(hook["entry"])
	cmd, _, err := newRoot().Find(words[1:])
	if err != nil || words[0] != "litci" || cmd.Name() != "lint" {
		t.Errorf("entry %q: %v", hook["entry"], err)
	}
	if !strings.Contains(read(t, "docs", "workflow.md"), "id: "+hook["id"]) {
		t.Errorf("docs/workflow.md does not show the hook %s", hook["id"])
	}
}
