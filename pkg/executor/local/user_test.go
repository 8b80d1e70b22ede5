package local

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/executortest"
)

// jobUser exists on every Linux.
const jobUser = "nobody"

// As root, jobs run as their user; as anybody else, asking for it is an error.
func TestJobUser(t *testing.T) {
	if os.Geteuid() != 0 {
		_, err := New(Config{Dir: stateDir(t), Command: selfCommand(), User: jobUser})
		if err == nil || !strings.Contains(err.Error(), "only when litci runs as root") {
			t.Errorf("job user without root: %v", err)
		}
		return
	}
	t.Run("suite", func(t *testing.T) {
		executortest.Run(t, func(t *testing.T) executor.Executor {
			return newExecutor(t, func(c *Config) { c.User = jobUser })
		}, executortest.Options{Tombstone: true, Environment: placeVariables(), Output: 1 << 20})
	})
	t.Run("own files", func(t *testing.T) { jobUserFiles(t) })
	t.Run("state directory out of reach", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		_, err := New(Config{Dir: filepath.Join(dir, "jobs"), Command: selfCommand(), User: jobUser})
		if err == nil || !strings.Contains(err.Error(), "cannot enter "+dir) {
			t.Errorf("unreachable state directory: %v", err)
		}
	})
}

// jobUserFiles shows what the job's user may do in its folder, from within.
func jobUserFiles(t *testing.T) {
	e := newExecutor(t, func(c *Config) { c.User = jobUser })
	who, err := lookupIdentity(jobUser)
	if err != nil {
		t.Fatal(err)
	}
	l := launcher{Dir: e.dir, ID: "litci-job", User: jobUser, Script: `id -u; id -g
echo more >>file; touch new "$HOME/new" "$TMPDIR/new"; echo summary >>"$LITCI_STEP_SUMMARY"
try() { if "$@" 2>/dev/null; then echo "could: $*"; fi; }
cd ..
try ls .
try ls ..
try cat job.json
try cat state.json
try cat env
try ls log
try touch stop.json
try touch lock
try mv state.json other
try rm script.sh
try touch script.sh
try chmod 777 .
`}
	if err := l.run(t); err != nil {
		t.Fatal(err)
	}
	h := e.handle(l.ID)
	state := executortest.Until(t, e, h, executor.Ended)
	want := strconv.Itoa(who.UID) + "\n" + strconv.Itoa(who.GID) + "\n"
	if log := executortest.Output(t, e, h); log != want || *state.ExitCode != 0 {
		t.Errorf("log is %q, want %q; state is %+v", log, want, state)
	}
	f := folder{filepath.Join(e.dir, l.ID)}
	if data, err := os.ReadFile(f.at(summaryFile)); err != nil || string(data) != "summary\n" {
		t.Errorf("summary is %q, %v", data, err)
	}
	info, err := os.Stat(f.path)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("after the end the folder is %v, %v", info.Mode(), err)
	}
	if _, err := os.Stat(f.at(envFile)); !os.IsNotExist(err) {
		t.Errorf("the environment is still there: %v", err)
	}
}

func TestUnknownJobUser(t *testing.T) {
	t.Parallel()
	if who, err := lookupIdentity("no-such-user"); err == nil {
		t.Errorf("found %+v", who)
	}
	byName, err := lookupIdentity(jobUser)
	if err != nil {
		t.Fatal(err)
	}
	byID, err := lookupIdentity(strconv.Itoa(byName.UID))
	if err != nil || byID.GID != byName.GID {
		t.Errorf("by number: %+v, %v, want %+v", byID, err, byName)
	}
}
