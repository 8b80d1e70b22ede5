package localrun

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Errors name the line of a fault, and never a value.
func TestFaultsOfEnvFiles(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"TOKEN hush":                                "line 1: it is neither",
		"# first\n\nA=1\nTOKEN hush\nB=2\n":         "line 4: it is neither",
		"A=\"one\ntwo\"\nexport C=$A\nTOKEN hush\n": "line 4: it is neither",
		"A=1\r\nTOKEN hush\r\n":                     "line 2: it is neither",
		"A=1\nTOKEN=\"hush\nB=2\n":                  "line 2: it is neither",
		"A=1\nB=" + strings.Repeat("hush", 20000):   "line 2: it is longer than 64 KiB",
	} {
		name := filepath.Join(t.TempDir(), "my.env")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readEnv(name)
		var use *UseError
		if !errors.As(err, &use) || !strings.Contains(err.Error(), "my.env, "+want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%.40q: %v, want %s", text, err, want)
		}
	}
	dir := t.TempDir()
	if _, err := readEnv(dir); err == nil || err.Error() != "--env-file "+dir+" is a folder, not a file with NAME=value lines" {
		t.Errorf("a folder: %v", err)
	}
}
