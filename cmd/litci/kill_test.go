package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const heldCheck = "held.yml / Held"

// heldWorld has one job that waits to be released, and its outside marks.
func heldWorld(t *testing.T) (w *world, outside string) {
	t.Helper()
	outside = t.TempDir()
	return newWorld(t, map[string]string{"held.yml": held(outside)}), outside
}

func TestRunningJobOutlivesAKilledMesh(t *testing.T) {
	t.Parallel()
	w, outside := heldWorld(t)
	first := w.up()
	w.openPull()
	w.untilFile(filepath.Join(outside, "began"))
	first.kill(t)
	w.up()
	w.write(filepath.Join(outside, "release"), "")
	if verdict := w.untilVerdict(); verdict != "success" {
		t.Errorf("verdict is %s", verdict)
	}
	w.expectOnce("success", heldCheck)
	if n := marks(t, outside); n != 1 {
		t.Errorf("the script ran %d times", n)
	}
}

func TestJobThatEndsWhileNothingRunsIsReportedOnce(t *testing.T) {
	t.Parallel()
	w, outside := heldWorld(t)
	first := w.up()
	w.openPull()
	w.untilFile(filepath.Join(outside, "began"))
	first.kill(t)
	w.write(filepath.Join(outside, "release"), "")
	w.untilFile(filepath.Join(outside, "finished"))
	w.up()
	if verdict := w.untilVerdict(); verdict != "success" {
		t.Errorf("verdict is %s", verdict)
	}
	w.expectOnce("success", heldCheck)
	if n := marks(t, outside); n != 1 {
		t.Errorf("the script ran %d times", n)
	}
}

func TestStopWithAJobInHandIsQuickAndClean(t *testing.T) {
	t.Parallel()
	w, outside := heldWorld(t)
	first := w.up()
	w.openPull()
	w.untilFile(filepath.Join(outside, "began"))
	if code := first.terminate(t); code != 0 {
		t.Errorf("exit code %d after SIGTERM:\n%s", code, first.logged())
	}
	w.write(filepath.Join(outside, "release"), "")
	second := w.up()
	w.untilVerdict()
	w.expectOnce("success", heldCheck)
	if n := marks(t, outside); n != 1 {
		t.Errorf("the script ran %d times", n)
	}
	if code := second.terminate(t); code != 0 {
		t.Errorf("exit code %d after SIGTERM with nothing in hand:\n%s", code, second.logged())
	}
}

// What the demo started goes with it: nobody would take it up.
func TestInterruptedDemoLeavesNoJob(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	w := newWorld(t, map[string]string{"held.yml": fmt.Sprintf("name: Held\nrun: |\n  echo $$ > %[1]s/pid.new\n  mv %[1]s/pid.new %[1]s/pid\n  sleep 600\n", outside)})
	demo := w.start("litci", "demo", "--repo", w.repo)
	w.untilFile(filepath.Join(outside, "pid"))
	pid, err := os.ReadFile(filepath.Join(outside, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	if err := demo.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	select {
	case <-demo.done:
	case <-time.After(patience):
		t.Fatalf("the demo did not stop within %s of Ctrl-C", patience)
	}
	if code := demo.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(filepath.Join("/proc", strings.TrimSpace(string(pid)))); err == nil {
		t.Errorf("the job runs on as %s", pid)
	}
}
