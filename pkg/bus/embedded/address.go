package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// addressName is the file below the data directory that says where the server
// listens, for commands on the same machine.
const addressName = "address"

const keyName = "litci.nk"

// ErrNoServer says that no server keeps its data in a directory at present.
var ErrNoServer = errors.New("no server runs there")

// Find returns the address of the server that keeps its data in dir, and the file
// of the key that may do everything. The address outlives a server that was killed.
func Find(dir string) (url, keyFile string, err error) {
	text, err := os.ReadFile(filepath.Join(dir, addressName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", ErrNoServer
	}
	if err != nil {
		return "", "", fmt.Errorf("address of the nats server: %w", err)
	}
	return strings.TrimSpace(string(text)), filepath.Join(dir, keyName), nil
}

// keepAddress writes the address in one step, so that nobody reads a part of it.
func keepAddress(file, url string) error {
	if err := os.WriteFile(file+".new", []byte(url+"\n"), 0o600); err != nil {
		return fmt.Errorf("address of the nats server: %w", err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("address of the nats server: %w", err)
	}
	return nil
}
