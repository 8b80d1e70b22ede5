package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/litci/litci/pkg/executor"
)

// Names inside a job's folder; the package comment says what they hold.
const (
	launchLock    = "launch"
	runLock       = "lock"
	jobFile       = "job.json"
	stateFile     = "state.json"
	stopFile      = "stop.json"
	scriptFile    = "script.sh"
	envFile       = "env"
	logDir        = "log"
	workspaceDir  = "workspace"
	homeDir       = "home"
	tempDir       = "tmp"
	summaryFile   = "summary.md"
	supervisorLog = "supervisor.log"
)

// maxID is the longest id: a DNS label, as the seam promises.
const maxID = 63

// folder is where one job lives.
type folder struct{ path string }

// record is job.json: what was asked for.
type record struct {
	ID   string `json:"id"`
	Hash string `json:"hash"`
	// Boot is the boot that the folder was prepared in. What was prepared before a
	// power failure may not have reached the disk.
	Boot    string        `json:"boot"`
	Bash    string        `json:"bash"`
	Timeout time.Duration `json:"timeout_ns"`
	Grace   time.Duration `json:"grace_ns"`
	User    *identity     `json:"user,omitempty"`
	// Left are the links that the workspace lacks, in words.
	Left []string `json:"left,omitempty"`
}

// status is state.json: what the supervisor did.
type status struct {
	ID    string         `json:"id"`
	Hash  string         `json:"hash"`
	State executor.State `json:"state"`
	// Boot, PID and Born find the supervisor for a signal; Born is its start time in
	// clock ticks after boot, which a process that reuses the number does not share.
	Boot string `json:"boot"`
	PID  int    `json:"pid"`
	Born uint64 `json:"born"`
	// Removed says that only this file is left, so that a late Start does not run
	// the job again.
	Removed bool `json:"removed,omitempty"`
}

// request is stop.json.
type request struct {
	Grace time.Duration `json:"grace_ns"`
	At    time.Time     `json:"at"`
}

// ValidID holds what is safe as the name of a folder.
func ValidID(id string) bool {
	if id == "" || len(id) > maxID || id[0] == '-' {
		return false
	}
	for _, c := range []byte(id) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

func (f folder) at(name string) string { return filepath.Join(f.path, name) }

func (f folder) id() string { return filepath.Base(f.path) }

// read fills v from a file of the folder; false means that there is none.
func (f folder) read(name string, v any) (bool, error) {
	data, err := os.ReadFile(f.at(name))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("job %s: %w", f.id(), err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return false, fmt.Errorf("job %s: %s: %w", f.id(), name, err)
	}
	return true, nil
}

// status reads state.json; nil means that the script was never begun.
func (f folder) status() (*status, error) {
	var s status
	ok, err := f.read(stateFile, &s)
	if err != nil || !ok {
		return nil, err
	}
	return &s, nil
}

// record reads job.json; nil means that the folder is not prepared.
func (f folder) record() (*record, error) {
	var r record
	ok, err := f.read(jobFile, &r)
	if err != nil || !ok {
		return nil, err
	}
	return &r, nil
}

// write replaces a file of the folder as one step that outlives a power failure.
func (f folder) write(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("job %s: %s: %w", f.id(), name, err)
	}
	if err := f.replace(name, append(data, '\n')); err != nil {
		return fmt.Errorf("job %s: %w", f.id(), err)
	}
	return nil
}

func (f folder) replace(name string, data []byte) (err error) {
	file, err := os.CreateTemp(f.path, "."+name+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			file.Close()
			os.Remove(file.Name())
		}
	}()
	if _, err = file.Write(data); err != nil {
		return err
	}
	if err = file.Sync(); err != nil {
		return err
	}
	if err = file.Close(); err != nil {
		return err
	}
	if err = os.Rename(file.Name(), f.at(name)); err != nil {
		return err
	}
	return syncDir(f.path)
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// clear removes everything from the folder but the names given.
func (f folder) clear(keep ...string) error {
	entries, err := os.ReadDir(f.path)
	if err != nil {
		return fmt.Errorf("job %s: %w", f.id(), err)
	}
	for _, entry := range entries {
		if slices.Contains(keep, entry.Name()) {
			continue
		}
		if err := removeTree(f.at(entry.Name())); err != nil {
			return fmt.Errorf("job %s: %w", f.id(), err)
		}
	}
	return nil
}

// removeTree removes a directory even where a job took the write permission away,
// as Go does from its module cache. Links are not followed.
func removeTree(path string) error {
	err := os.RemoveAll(path)
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		// Not readable itself.
		if err := os.Chmod(path, 0o700); err != nil {
			return err
		}
		if root, err = os.OpenRoot(path); err != nil {
			return err
		}
	}
	err = openUp(root, ".")
	root.Close()
	if err != nil {
		return err
	}
	return os.RemoveAll(path)
}

// openUp gives the owner all permissions on a directory and all below it.
func openUp(root *os.Root, name string) error {
	if err := root.Chmod(name, 0o700); err != nil {
		return err
	}
	dir, err := root.Open(name)
	if err != nil {
		return err
	}
	entries, err := dir.ReadDir(-1)
	dir.Close()
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			if err := openUp(root, filepath.Join(name, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
