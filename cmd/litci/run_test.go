package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// stubborn is a workflow with a job that writes down the processes of its tree, and
// one that waits behind it. What the script and a process of another session do at
// TERM is left open.
const stubborn = `name: Stubborn
parametrize:
  matrix:
    turn: [first, second]
run: |
  trap '%[2]s' TERM
  sleep 600 &
  echo $! >> %[1]s/pids
  setsid bash -c '%[3]s echo $$ >> %[1]s/pids; while :; do echo >> %[1]s/seconds; sleep 1; done' &
  echo $$ >> %[1]s/pids
  until [ "$(wc -l < %[1]s/pids)" = 3 ]; do sleep 0.05; done
  touch %[1]s/began
  while :; do sleep 1; done
`

const ignoreTerm = `trap "" TERM;`

// localRun is a real process of litci run, with a job that is running.
type localRun struct {
	*world
	process *process
	out     *bytes.Buffer
	outside string
	temp    string
}

func startRun(t *testing.T, onTerm, other string) localRun {
	t.Helper()
	r := localRun{world: &world{t: t, dir: t.TempDir()}, out: &bytes.Buffer{}, outside: t.TempDir(), temp: t.TempDir()}
	r.write(filepath.Join(r.dir, ".litci.yaml"), fmt.Sprintf(stubborn, r.outside, onTerm, other))
	r.env = append(os.Environ(), "TMPDIR="+r.temp)
	r.process = r.startInto(r.out, "litci", "run", "--slots", "1")
	r.untilFile(filepath.Join(r.outside, "began"))
	// The script may be ahead of the word that it runs.
	r.until("the job on the board", func() bool { return onBoard.MatchString(r.process.logged()) })
	return r
}

var onBoard = regexp.MustCompile(`(started|running) +\.litci\.yaml / Stubborn \(`)

// seconds are about how many a job has lived: it counts them itself, so a machine that
// stands still adds none.
func (r localRun) seconds() int {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.outside, "seconds"))
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.Count(string(text), "\n")
}

// interrupt sends a signal and returns the exit code.
func (r localRun) interrupt(sig syscall.Signal) int {
	r.t.Helper()
	r.signal(sig)
	select {
	case <-r.process.done:
	case <-time.After(patience):
		r.t.Fatalf("litci run did not end:\n%s", r.process.logged())
	}
	return r.process.cmd.ProcessState.ExitCode()
}

func (r localRun) signal(sig syscall.Signal) {
	r.t.Helper()
	if err := r.process.cmd.Process.Signal(sig); err != nil {
		r.t.Fatal(err)
	}
}

// expectNothingLeft holds the machine against "as if it never ran".
func (r localRun) expectNothingLeft() {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.outside, "pids"))
	if err != nil {
		r.t.Fatal(err)
	}
	pids := strings.Fields(string(text))
	if len(pids) != 3 {
		r.t.Errorf("the job wrote down %d processes, want 3: the second must not have begun", len(pids))
	}
	for _, pid := range pids {
		number, err := strconv.Atoi(pid)
		if err != nil {
			r.t.Fatal(err)
		}
		if alive(number) {
			r.t.Errorf("process %d of the job is still there", number)
		}
	}
	// Supervisors have their job's folder among their arguments. Their record is what
	// ends a job; the process itself ends a moment later.
	r.until("the end of every process of litci", func() bool {
		lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			r.t.Fatal(err)
		}
		return !slices.ContainsFunc(lines, func(name string) bool {
			line, err := os.ReadFile(name)
			return err == nil && bytes.Contains(line, []byte(r.temp))
		})
	})
	left, err := os.ReadDir(r.temp)
	if err != nil || len(left) > 0 {
		r.t.Errorf("left behind: %v, %v", left, err)
	}
}

// alive tells whether a process exists and is no zombie that its parent forgot.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func (r localRun) expectSaid(where, text, want string) {
	r.t.Helper()
	if !strings.Contains(text, want) {
		r.t.Errorf("%s does not say %q:\n%s", where, want, text)
	}
}

func TestInterruptedRunStopsItsJobs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		signal syscall.Signal
		other  string
	}{
		{syscall.SIGINT, ignoreTerm}, // it is killed when its grace is over
		{syscall.SIGTERM, ""},
		{syscall.SIGHUP, ""},
	} {
		t.Run(c.signal.String(), func(t *testing.T) {
			t.Parallel()
			r := startRun(t, "echo goodbye; exit 0", c.other)
			if code := r.interrupt(c.signal); code != exitFailed {
				t.Errorf("exit code %d", code)
			}
			r.expectNothingLeft()
			r.expectSaid("stderr", r.process.logged(), "interrupted: stopping .litci.yaml / Stubborn (")
			r.expectSaid("stdout", r.out.String(), "| goodbye")
			r.expectSaid("stdout", r.out.String(), "Interrupted: ")
			r.expectSaid("stdout", r.out.String(), "1 stopped")
			r.expectSaid("stdout", r.out.String(), "1 not run")
		})
	}
}

func TestSecondInterruptEndsAtOnce(t *testing.T) {
	t.Parallel()
	r := startRun(t, "", ignoreTerm)
	r.signal(syscall.SIGINT)
	r.until("first interrupt", func() bool { return strings.Contains(r.process.logged(), "interrupted: stopping") })
	before := r.seconds()
	if code := r.interrupt(syscall.SIGINT); code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	r.expectNothingLeft()
	r.expectSaid("stdout", r.out.String(), "1 stopped")
	// The job ignores TERM: with its grace it would have taken ten seconds.
	if n := r.seconds() - before; n > 6 {
		t.Errorf("the job lived for another %d s, as if it was given its grace:\n%s", n, r.process.logged())
	}
}

// Before any job is there, nothing is left either.
func TestInterruptRightAtTheStart(t *testing.T) {
	t.Parallel()
	dir, temp := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".litci.yaml"), []byte("run: sleep 600\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("litci", "run", "--json", dir)
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	progress, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := progress.Read(make([]byte, 1)); err != nil { // the first word
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	// What it says goes nowhere any more, which must not keep it from ending.
	if err := progress.Close(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != exitFailed {
		t.Errorf("%v", err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// The transcript of docs/run.md is what its workflow prints, but for the times.
func TestTranscriptOfRunIsReal(t *testing.T) {
	t.Parallel()
	doc := read(t, "docs", "run.md")
	block := func(language string) string {
		_, rest, found := strings.Cut(doc, "\n```"+language+"\n")
		text, _, closed := strings.Cut(rest, "```\n")
		if !found || !closed {
			t.Fatalf("docs/run.md has no block of %s", language)
		}
		return text
	}
	dir := t.TempDir()
	workflows := filepath.Join(dir, ".lightning", "workflows")
	if err := os.MkdirAll(workflows, 0o755); err != nil {
		t.Fatal(err)
	}
	greetings := "en one: hello\nen many: hello all\nde one: hallo\nde many: hallo alle\ncs one: ahoj\n"
	for name, text := range map[string]string{filepath.Join(workflows, "tests.yml"): block("yaml"), filepath.Join(dir, "greetings.txt"): greetings} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("litci", "run", "--slots", "2", dir)
	out, err := cmd.Output()
	if cmd.ProcessState.ExitCode() != exitFailed {
		t.Fatalf("%v\n%s", err, out)
	}
	times := regexp.MustCompile(` *\b([0-9]+\.[0-9]|[0-9]+m [0-9]{2})s`)
	if have, want := times.ReplaceAllString(string(out), " T"), times.ReplaceAllString(block("console"), " T"); have != want {
		t.Errorf("litci run prints\n%s\ndocs/run.md has\n%s", have, want)
	}
}

func TestEveryFlagOfRunIsDocumented(t *testing.T) {
	t.Parallel()
	doc := read(t, "docs", "run.md")
	newRun().Flags().VisitAll(func(f *pflag.Flag) {
		if !strings.Contains(doc, "--"+f.Name) {
			t.Errorf("docs/run.md does not mention --%s", f.Name)
		}
	})
}
