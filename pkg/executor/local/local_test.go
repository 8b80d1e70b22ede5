package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/executortest"
)

func TestSuite(t *testing.T) {
	executortest.Run(t, func(t *testing.T) executor.Executor { return newExecutor(t, nil) }, executortest.Options{
		Tombstone:   true,
		Environment: placeVariables(),
	})
}

// placeVariables are the variables that the executor adds.
func placeVariables() []string {
	return []string{
		"PATH", "HOME", "LANG", "TMPDIR",
		"GITHUB_WORKSPACE", "LITCI_WORKSPACE", "GITHUB_STEP_SUMMARY", "LITCI_STEP_SUMMARY",
		"RUNNER_TEMP", "RUNNER_NAME", "RUNNER_OS", "RUNNER_ARCH",
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	open := t.TempDir()
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		config Config
		want   string
	}{
		"no command":         {Config{Dir: stateDir(t)}, "no command"},
		"missing command":    {Config{Dir: stateDir(t), Command: []string{"/no/such/program"}}, "/no/such/program"},
		"no directory":       {Config{Command: selfCommand()}, "no state directory"},
		"open directory":     {Config{Dir: open, Command: selfCommand()}, "chmod 700 " + open},
		"file":               {Config{Dir: file, Command: selfCommand()}, file},
		"somebody else's":    {Config{Dir: foreignDir(t), Command: selfCommand()}, "belongs to user"},
		"below somebody's 0": {Config{Dir: "/proc/litci", Command: selfCommand()}, "/proc/litci"},
	} {
		if _, err := New(test.config); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// foreignDir is a directory of another user: root's for most people, and for root
// one that is given away.
func foreignDir(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		return "/"
	}
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(dir, 0o700), os.Chown(dir, 65534, -1)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestForksAreRefused(t *testing.T) {
	t.Parallel()
	spec := executor.Spec{ID: "litci-job", Hash: "h", Script: []byte("true\n"), Fork: true}
	e := newExecutor(t, nil)
	_, err := e.Start(t.Context(), spec)
	if _, refused := errors.AsType[*executor.StartError](err); !refused {
		t.Errorf("start of a fork's job: %v", err)
	}
	if got := names(t, e.dir); len(got) != 0 {
		t.Errorf("left are %q", got)
	}
	e = newExecutor(t, func(c *Config) { c.AllowForks = true })
	h, err := e.Start(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	executortest.Until(t, e, h, executor.Ended)
}

func TestMalformedIDs(t *testing.T) {
	t.Parallel()
	e := newExecutor(t, nil)
	for _, id := range []string{"", ".", "..", "a/b", "../a", "-a", "A", "ä", "a b", "a.b", "a\x00", strings.Repeat("a", 64)} {
		if h, err := e.Start(t.Context(), executor.Spec{ID: id, Script: []byte("true\n")}); err == nil {
			t.Errorf("%q was started: %+v", id, h)
		}
	}
	if got := names(t, e.dir); len(got) != 0 {
		t.Errorf("left are %q", got)
	}
}

// A failed unpacking leaves nothing on the disk.
func TestRefusedSourceLeavesNothing(t *testing.T) {
	t.Parallel()
	e := newExecutor(t, nil)
	_, err := e.Start(t.Context(), executor.Spec{
		ID: "litci-job", Hash: "h", Script: []byte("true\n"),
		Source: archive(t, executortest.File("top/good", "x", 0o644), executortest.File("/evil", "x", 0o644)),
	})
	if _, refused := errors.AsType[*executor.StartError](err); !refused {
		t.Errorf("start: %v", err)
	}
	if got := names(t, e.dir); len(got) != 0 {
		t.Errorf("left are %q", got)
	}
}

// A descriptor that the bot was begun with, and knows nothing of, is not passed on.
func TestNoDescriptorIsInherited(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "canary-secret")
	fd, err := unix.Open(secret, unix.O_CREAT|unix.O_RDWR, 0o600) // no O_CLOEXEC
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	e := newExecutor(t, nil)
	h := start(t, e, "litci-job", "ls -l /proc/$$/fd\n")
	executortest.Until(t, e, h, executor.Ended)
	log := executortest.Output(t, e, h)
	if !strings.Contains(log, "/dev/null") || strings.Contains(log, "canary-secret") || strings.Contains(log, runLock+"\n") {
		t.Errorf("descriptors of the script:\n%s", log)
	}
}

func TestPlaces(t *testing.T) {
	t.Parallel()
	e := newExecutor(t, func(c *Config) { c.Host = "desk" })
	h, err := e.Start(t.Context(), executor.Spec{
		ID: "litci-job", Hash: "h",
		Script: []byte("echo \"$PWD $HOME $TMPDIR $LITCI_WORKSPACE $RUNNER_NAME $LANG\"\ntest -w \"$GITHUB_STEP_SUMMARY\"\numask\n"),
		Env:    map[string]string{"LITCI_WORKSPACE": "/forged", "RUNNER_NAME": "forged", "LANG": "C"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if h.Host != "desk" {
		t.Errorf("handle is %+v", h)
	}
	state := executortest.Until(t, e, h, executor.Ended)
	at := filepath.Join(e.dir, h.ID)
	want := fmt.Sprintf("%s/workspace %[1]s/home %[1]s/tmp %[1]s/workspace desk C\n0022\n", at)
	if log := executortest.Output(t, e, h); log != want || *state.ExitCode != 0 {
		t.Errorf("log is %q, want %q; state is %+v", log, want, state)
	}
}

// A script that cannot be begun is the machine's fault, and is an end.
func TestScriptThatCannotBegin(t *testing.T) {
	t.Parallel()
	e := newExecutor(t, nil)
	e.bash = filepath.Join(t.TempDir(), "no-bash")
	h := start(t, e, "litci-job", "true\n")
	state := executortest.Until(t, e, h, executor.Ended)
	if state.Reason != executor.ReasonInfrastructure || state.ExitCode != nil || state.Message == "" {
		t.Errorf("state is %+v", state)
	}
}
