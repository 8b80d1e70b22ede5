package embedded

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestARunningServerIsFoundByItsData(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := Find(dir); !errors.Is(err, ErrNoServer) {
		t.Errorf("before the start: %v", err)
	}
	s, err := Start(Config{Dir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	url, key, err := Find(dir)
	if err != nil || url != s.URL() || key != s.KeyFile {
		t.Errorf("found %q, %q, %v; it is %q, %q", url, key, err, s.URL(), s.KeyFile)
	}
	info, err := os.Stat(filepath.Join(dir, addressName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("address file: %v, %v", info, err)
	}
	s.Stop()
	if _, _, err := Find(dir); !errors.Is(err, ErrNoServer) {
		t.Errorf("after the end: %v", err)
	}
}
