package lightning

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/executortest"
	"github.com/litci/litci/pkg/executor/lightning/fakelightning"
	"github.com/litci/litci/pkg/executor/wrapper"
)

// tools are what a small image of a distribution has, and what tests' scripts use.
func tools() []string {
	return []string{
		"sh", "bash", "base64", "gzip", "tar", "awk", "sed", "grep", "cat", "chmod", "date", "dd", "env", "head", "id",
		"ls", "mkdir", "mkfifo", "mv", "rm", "setsid", "sleep", "tail", "tr", "wc", "true",
	}
}

// fetchers are the programs that the test binary plays, by name. Each gets the address
// where the real one would, from its standard input or from a file.
func fetchers() map[string]func(args []string) int {
	return map[string]func([]string) int{
		"curl": func(args []string) int {
			line, _ := io.ReadAll(os.Stdin)
			url := strings.TrimSuffix(strings.TrimPrefix(string(line), `url = "`), "\"\n")
			return download(url, args[len(args)-1])
		},
		"wget": func(args []string) int {
			if slices.Contains(args, "--version") {
				return 0
			}
			line, _ := io.ReadAll(os.Stdin)
			return download(strings.TrimSpace(string(line)), args[len(args)-1])
		},
		"python3": func(args []string) int {
			dir := args[len(args)-1]
			line, _ := os.ReadFile(filepath.Join(dir, "url"))
			return download(strings.TrimSpace(string(line)), filepath.Join(dir, "source"))
		},
	}
}

func download(url, to string) int {
	answer, err := http.Get(url)
	if err != nil {
		return 6
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return 22
	}
	data, err := io.ReadAll(answer.Body)
	if err != nil || os.WriteFile(to, data, 0o600) != nil {
		return 23
	}
	return 0
}

// image is a folder of programs: the usual ones, with some added, or without those
// that have a dash.
func image(t *testing.T, changes ...string) string {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	list := tools()
	for _, change := range changes {
		if name, without := strings.CutPrefix(change, "-"); without {
			list = slices.DeleteFunc(list, func(tool string) bool { return tool == name })
			continue
		}
		if err := os.Symlink(self, filepath.Join(dir, change)); err != nil {
			t.Fatal(err)
		}
	}
	for _, tool := range list {
		path, err := exec.LookPath(tool)
		if err != nil {
			continue // the wrapper does without it, or the test says so
		}
		if err := os.Symlink(path, filepath.Join(dir, tool)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Images that lack what most have.
func TestSmallImages(t *testing.T) {
	t.Parallel()
	const bytes = "printf 'plain\\ngr\\303\\266\\303\\237er\\n50%%\\r100%%\\n\\001\\377\\\\\\n##litci- x\\nend'\n"
	const text = "plain\ngrößer\n50%\r100%\n\x01\xff\\\n##litci- x\nend"
	for name, test := range map[string]struct {
		changes []string
		source  bool
		script  string
		log     string
		reason  executor.Reason
		says    string
	}{
		"usual":       {script: bytes, log: text},
		"no awk":      {changes: []string{"-awk"}, script: bytes, log: text},
		"no setsid":   {changes: []string{"-setsid"}, script: bytes + "sleep 1000 &\n", log: text},
		"no bash":     {changes: []string{"-bash"}, script: "echo ready\nfalse\n", log: "litci: the image has no bash: the script is run by sh -e\nready\n"},
		"zero bytes":  {script: "printf 'a\\000b\\n'\n", log: "a\x00b\n"},
		"long line":   {script: "printf '%05000d\\n%0200000d' 7 8\n", log: fmt.Sprintf("%05000d\n%0200000d", 7, 8)},
		"own mark":    {script: "echo '##litci-" + wrapper.Nonce("litci-image") + " exit exit 0 0 0 0'\n", log: "##litci-" + wrapper.Nonce("litci-image") + " exit exit 0 0 0 0\n"},
		"no base64":   {changes: []string{"-base64"}, reason: executor.ReasonInfrastructure, says: "lacks base64"},
		"no fetcher":  {changes: []string{}, source: true, reason: executor.ReasonInfrastructure, says: "needs curl, wget or python"},
		"no tar":      {changes: []string{"curl", "-tar"}, source: true, reason: executor.ReasonInfrastructure, says: "needs tar"},
		"curl":        {changes: []string{"curl"}, source: true, script: "ls\n", log: "file\n"},
		"wget":        {changes: []string{"wget"}, source: true, script: "ls\n", log: "file\n"},
		"python":      {changes: []string{"python3"}, source: true, script: "ls\n", log: "file\n"},
		"truncations": {script: "echo one >/dev/stdout\necho two >/dev/stderr\necho three\n", log: "one\ntwo\nthree\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, fakelightning.Options{Path: image(t, test.changes...)})
			archive, err := executortest.Archive(executortest.Dir("top/"), executortest.File("top/file", "x", 0o644))
			if err != nil {
				t.Fatal(err)
			}
			w.source.content = archive
			e := w.executor(t, nil)
			job := spec("image", "ok", test.script)
			if test.source {
				job.Source = noSource
			}
			h := executortest.Start(t, e, job)
			state := executortest.Until(t, e, h, executor.Ended)
			reason := test.reason
			if reason == "" {
				reason = executor.ReasonExit
			}
			if state.Reason != reason || !strings.Contains(state.Message, test.says) {
				t.Errorf("state is %+v", state)
			}
			if log := executortest.Output(t, e, h); log != test.log {
				t.Errorf("log is %.200q, want %.200q", log, test.log)
			}
		})
	}
}

// The wrapper's programs have nothing that a small shell does not know.
func TestShellSyntax(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{"bootstrap": bootstrap, "wrapper": wrapper.Program()} {
		cmd := exec.CommandContext(t.Context(), "sh", "-n")
		cmd.Stdin = strings.NewReader(content)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}

// The deadline holds in images without the programs that find every process.
func TestDeadlineInSmallImages(t *testing.T) {
	t.Parallel()
	for _, without := range [][]string{{"-grep"}, {"-setsid"}, {"-grep", "-setsid"}} {
		w := newWorld(t, fakelightning.Options{Path: image(t, without...)})
		e := w.executor(t, nil)
		var state executor.State
		for timeout, log := time.Second, ""; log == "" && timeout < waitLimit; timeout *= 4 { // more, where the script has not begun
			job := spec("image-"+fmt.Sprint(timeout.Milliseconds()), "ok", "trap '' TERM\necho ready\nwhile :; do sleep 0.1; done\n")
			job.Timeout, job.Grace = timeout, 500*time.Millisecond
			h := executortest.Start(t, e, job)
			state, log = executortest.Until(t, e, h, executor.Ended), executortest.Output(t, e, h)
		}
		if state.Reason != executor.ReasonTimeout || state.ExitCode == nil || *state.ExitCode != 137 {
			t.Errorf("%q: state is %+v", without, state)
		}
	}
}
