package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func deployed(t *testing.T, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "deploy", pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("deploy/%s: %d files, %v", pattern, len(files), err)
	}
	var all strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

// example is deploy/.env.example: the value of each variable. Each stands below a
// comment, its own or that of the group.
func example(t *testing.T) map[string]string {
	t.Helper()
	values := map[string]string{}
	explained := false
	for line := range strings.Lines(deployed(t, ".env.example")) {
		line = strings.TrimSpace(line)
		name, value, assigns := strings.Cut(line, "=")
		switch {
		case line == "", strings.HasPrefix(line, "# ---"):
			explained = false
		case strings.HasPrefix(line, "#"):
			explained = true
		case !assigns:
			t.Errorf("deploy/.env.example: %q", line)
		default:
			if _, twice := values[name]; twice || !explained {
				t.Errorf("deploy/.env.example: %s is there twice, or is not explained", name)
			}
			values[name] = value
		}
	}
	return values
}

func TestComposeAndItsExampleNameTheSameVariables(t *testing.T) {
	t.Parallel()
	values := example(t)
	// Their defaults are the demo's, so that it needs no file.
	demo := map[string]bool{
		"LITCI_GITHUB_URL": true, "LITCI_APP_ID": true, "LITCI_PRIVATE_KEY_FILE": true, "LITCI_WEBHOOK_SECRET_FILE": true, "LITCI_PUBLIC_URL": true,
	}
	used := map[string]bool{}
	for _, m := range regexp.MustCompile(`\$\{([A-Z_]+)(:-|:\?)?([^}]*)\}`).FindAllStringSubmatch(deployed(t, "compose*.yaml"), -1) {
		name, kind, fallback := m[1], m[2], m[3]
		used[name] = true
		value, there := values[name]
		if !there {
			t.Errorf("deploy/.env.example does not explain %s", name)
		}
		if kind == ":-" && value != "" && value != fallback && !demo[name] {
			t.Errorf("%s is %q in deploy/.env.example, and without it %q", name, value, fallback)
		}
	}
	for name := range values {
		if !used[name] {
			t.Errorf("%s of deploy/.env.example is in no compose file", name)
		}
	}
}

func TestComposeSetsSettingsThatExist(t *testing.T) {
	t.Parallel()
	known := map[string]bool{"LITCI_CONFIG": true, "LITCI_POOLS": true} // the second is deploy/setup's
	for _, s := range settings {
		for _, name := range s.names() {
			known[name] = true
		}
	}
	text := regexp.MustCompile(`\$\{[^}]*\}`).ReplaceAllString(deployed(t, "compose*.yaml"), "")
	found := regexp.MustCompile(`[\s{](LITCI_[A-Z_]+):`).FindAllStringSubmatch(text, -1)
	if len(found) < 20 {
		t.Fatalf("%d settings", len(found))
	}
	for _, m := range found {
		if !known[m[1]] {
			t.Errorf("the compose files set %s, which is no setting", m[1])
		}
	}
}
