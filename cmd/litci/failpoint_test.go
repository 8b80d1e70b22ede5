package main

import (
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// row is a line of the failure table: a service that is killed at one step.
type row struct {
	name           string
	service, point string
	// held: the jobs end only after the kill.
	held bool
	// unanswered: GitHub gets no answer to the webhook.
	unanswered bool
}

func failureTable() []row {
	return []row{
		// First the longest: another reporter waits for the lease of one that died.
		{name: "reporter before the first call to GitHub", service: "reporter", point: "reporter.before-call"},
		{name: "reporter after GitHub accepted the first call, before it is recorded", service: "reporter", point: "reporter.after-call"},
		{name: "reporter after GitHub accepted the second call, before it is recorded", service: "reporter", point: "reporter.after-call:2"},
		{name: "reporter after GitHub accepted the third call, before it is recorded", service: "reporter", point: "reporter.after-call:3"},
		{name: "reporter after GitHub accepted the fourth call, before it is recorded", service: "reporter", point: "reporter.after-call:4"},

		{name: "ingress before the publish", service: "ingress", point: "ingress.before-publish", unanswered: true},
		{name: "ingress after the publish, before the answer", service: "ingress", point: "ingress.after-publish", unanswered: true},

		{name: "planner before the batch", service: "planner", point: "planner.before-batch"},
		{name: "planner in the middle of the batch", service: "planner", point: "bus.mid-batch"},
		{name: "planner after the batch, before anything else", service: "planner", point: "planner.after-batch"},
		{name: "planner before the ack", service: "planner", point: "planner.before-ack"},

		{name: "launcher before the slot", service: "launcher", point: "launcher.before-slot"},
		{name: "launcher with the slot, before the job starts", service: "launcher", point: "launcher.slot-taken"},
		{name: "launcher after the job started, before anything is recorded", service: "launcher", point: "launcher.started", held: true},
		{name: "launcher after the job started and ended, before anything is recorded", service: "launcher", point: "launcher.started"},
		{name: "launcher after the publish, before the ack", service: "launcher", point: "launcher.published"},

		{name: "watcher while it holds a job", service: "watcher", point: "watcher.holding", held: true},
		{name: "watcher after the job's end, before the log's upload", service: "watcher", point: "watcher.ended"},
		{name: "watcher after the log, before the verdict", service: "watcher", point: "watcher.log-stored"},
		{name: "watcher after the verdict, before the result", service: "watcher", point: "watcher.settled"},
		{name: "watcher after the result, before the ack", service: "watcher", point: "watcher.published"},
	}
}

// atOnce is how many lines are tried at the same time: they mostly wait.
const atOnce = 6

// The failure table: whoever is killed at whatever step, each job runs once and is
// reported once.
func TestFailureTable(t *testing.T) {
	t.Parallel()
	binary := failpointBinary(t)
	var running sync.WaitGroup
	places := make(chan struct{}, atOnce)
	try := func(name string, test func(*testing.T)) {
		places <- struct{}{}
		running.Go(func() {
			defer func() { <-places }()
			t.Run(name, test)
		})
	}
	for _, r := range failureTable() {
		try(r.name, func(t *testing.T) { r.test(t, binary) })
	}
	try("server while jobs run", func(t *testing.T) { serverWhileJobsRun(t, binary) })
	try("server right after the acks", func(t *testing.T) { serverAfterTheAcks(t, binary) })
	try("two reporters at once", func(t *testing.T) { twoReporters(t, binary) })
	try("watcher that comes back late", func(t *testing.T) { lateWatcher(t, binary) })
	running.Wait()
}

func (r row) test(t *testing.T, binary string) {
	a := apartWorld(t, binary)
	if !r.held {
		a.release()
	}
	once := filepath.Join(a.dir, "killed")
	rest, restAdmin := a.others(r.service)
	victim, admin := a.run([]string{"LITCI_FAILPOINT=" + r.point, "LITCI_FAILPOINT_ONCE=" + once}, r.service)
	a.ready(rest, restAdmin)
	a.ready(victim, admin)

	if taken := a.pull(); taken == r.unanswered {
		t.Errorf("webhook answered: %v", taken)
	}
	if signal := a.ended(victim); signal != syscall.SIGKILL {
		t.Fatalf("%s ended by %s, not at %s", victim.name, signal, r.point)
	}
	if _, err := os.Stat(once); err != nil {
		t.Fatalf("not killed at %s: %v", r.point, err)
	}
	victim, admin = a.run(nil, r.service)
	a.ready(victim, admin)
	a.release()
	a.exactlyOnce()
}

// The server is killed while jobs run, and starts again on what it stored: services
// reconnect by themselves, and nothing that it acknowledged is lost.
func serverWhileJobsRun(t *testing.T, binary string) {
	a := apartWorld(t, binary)
	all, admin := a.others()
	a.ready(all, admin)
	if !a.pull() {
		t.Fatal("webhook not taken")
	}
	a.untilFile(filepath.Join(a.outside, "marks"))
	a.server.kill(t)
	a.release()
	a.serve()
	a.exactlyOnce()
}

// The server is killed right after everything was acked. It forgets the acks of the
// last moments, so what was done comes again.
func serverAfterTheAcks(t *testing.T, binary string) {
	a := apartWorld(t, binary)
	a.release()
	all, admin := a.others()
	a.ready(all, admin)
	if !a.pull() {
		t.Fatal("webhook not taken")
	}
	a.untilVerdict()
	a.server.kill(t)
	a.serve()
	a.exactlyOnce()
}

// Two reporters share the work on the same checks and the same comment.
func twoReporters(t *testing.T, binary string) {
	a := apartWorld(t, binary)
	a.release()
	all, admin := a.others()
	second, secondAdmin := a.run(nil, "reporter")
	a.ready(all, admin)
	a.ready(second, secondAdmin)
	if !a.pull() {
		t.Fatal("webhook not taken")
	}
	a.exactlyOnce()
}

// A watcher stands still, as behind a broken network, until another has reported
// its jobs, and then goes on as if nothing had happened.
func lateWatcher(t *testing.T, binary string) {
	a := apartWorld(t, binary)
	rest, restAdmin := a.others("watcher")
	late, admin := a.run(nil, "watcher")
	a.ready(rest, restAdmin)
	a.ready(late, admin)
	if !a.pull() {
		t.Fatal("webhook not taken")
	}
	a.until("both jobs running", func() bool {
		text, err := os.ReadFile(filepath.Join(a.outside, "marks"))
		return err == nil && len(text) == len("one\ntwo\n")
	})
	if err := late.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	second, secondAdmin := a.run(nil, "watcher")
	a.ready(second, secondAdmin)
	a.release()
	a.exactlyOnce()
	if err := late.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	// It is back when it has nothing in hand any more and can stop like any other.
	a.settled()
	if code := late.terminate(t); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	a.exactlyOnce()
}
