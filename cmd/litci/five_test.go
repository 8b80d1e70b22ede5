package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/litci/litci/cmd/litci/internal/mesh"
)

// buildBinaries builds the five services' own programs, once for all tests, beside
// litci's, whose folder goes when the tests have ended.
var buildBinaries = sync.OnceValues(func() (dir string, err error) {
	litci, err := exec.LookPath("litci")
	if err != nil {
		return "", err
	}
	dir = filepath.Dir(litci)
	args := []string{"build", "-o", dir + "/"}
	for _, s := range mesh.Services() {
		args = append(args, "github.com/litci/litci/services/"+s+"/cmd/litci-"+s)
	}
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go %v: %w\n%s", args, err, out)
	}
	return dir, nil
})

// binaries is the folder of the five services' own programs.
func binaries(t *testing.T) (dir string) {
	t.Helper()
	dir, err := buildBinaries()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// natsServer starts the server as a process of its own.
func (w *world) natsServer() (url, data string) {
	w.t.Helper()
	address := freeAddress(w.t)
	data = filepath.Join(w.dir, "server")
	p := w.start("litci", "nats-server", "--nats-listen", address, "--data", data)
	w.until("nats server", func() bool { return strings.Contains(p.logged(), "provisioned") })
	return "nats://" + address, data
}

// The scenario of the demo with five processes, each of its own binary, started in
// the wrong order; beside them somebody tails the four subjects.
func TestFiveProcessesAndATail(t *testing.T) {
	t.Parallel()
	bin := binaries(t)
	w := newWorld(t, map[string]string{
		"tests.yml": "name: Tests\nparametrize:\n  matrix:\n    word: [one, two]\nrun: echo \"$word\"\n",
	})
	url, data := w.natsServer()
	w.env = append(w.env, "LITCI_NATS_URL="+url, "LITCI_NATS_NKEY="+filepath.Join(data, "nats", "litci.nk"))
	tail := w.tail(url, filepath.Join(data, "nats", "tail.nk"))

	services := mesh.Services()
	slices.Reverse(services)
	processes := map[string]*process{}
	for _, s := range services {
		admin := freeAddress(t)
		args := []string{"--admin-listen", admin}
		switch s {
		case "ingress":
			args = append(args, "--listen", w.hook)
		case "reporter":
			args = append(args, "--pages-listen", "127.0.0.1:0")
		}
		p := w.start(filepath.Join(bin, "litci-"+s), args...)
		w.ready(p, admin)
		processes[s] = p
	}
	w.openPull()
	if verdict := w.untilVerdict(); verdict != "success" {
		t.Errorf("verdict is %s", verdict)
	}
	w.expectOnce("success", "tests.yml / Tests (one)", "tests.yml / Tests (two)")
	for s, p := range processes {
		if code := p.terminate(t); code != 0 {
			t.Errorf("litci-%s: exit code %d after SIGTERM:\n%s", s, code, p.logged())
		}
	}
	tail.expect(w)
}

// tailing is what a person sees who subscribes to the four subjects.
type tailing struct {
	mu   sync.Mutex
	seen map[string][]*nats.Msg
	text bytes.Buffer
}

func (w *world) tail(url, key string) *tailing {
	w.t.Helper()
	option, err := nats.NkeyOptionFromSeed(key)
	if err != nil {
		w.t.Fatal(err)
	}
	nc, err := nats.Connect(url, option)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	tail := &tailing{seen: map[string][]*nats.Msg{}}
	for _, subject := range []string{"events.pr", "jobs.start", "jobs.status", "results"} {
		_, err := nc.Subscribe(subject, func(m *nats.Msg) {
			tail.mu.Lock()
			defer tail.mu.Unlock()
			tail.seen[m.Subject] = append(tail.seen[m.Subject], m)
			tail.print(m)
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		w.t.Fatal(err)
	}
	return tail
}

// print writes a message as `nats sub` does.
func (tail *tailing) print(m *nats.Msg) {
	n := 0
	for _, all := range tail.seen {
		n += len(all)
	}
	fmt.Fprintf(&tail.text, "[#%d] Received on %q\n", n, m.Subject)
	for _, name := range slices.Sorted(maps.Keys(m.Header)) {
		fmt.Fprintf(&tail.text, "%s: %s\n", name, m.Header.Get(name))
	}
	fmt.Fprintf(&tail.text, "\n%s\n\n", m.Data)
}

// count is how many different messages were seen on a subject: what comes again is
// published again, and its id says that it is the same.
func (tail *tailing) count(subject string) int {
	tail.mu.Lock()
	defer tail.mu.Unlock()
	ids := map[string]bool{}
	for _, m := range tail.seen[subject] {
		ids[m.Header.Get("Nats-Msg-Id")] = true
	}
	return len(ids)
}

// expect waits for what the documentation promises, and holds all that was seen against it.
func (tail *tailing) expect(w *world) {
	t := w.t
	t.Helper()
	// A job that ends at once is never seen running: two messages at least.
	want := map[string][2]int{"events.pr": {1, 1}, "jobs.start": {2, 2}, "jobs.status": {2, 4}, "results": {2, 2}}
	for subject, n := range want {
		w.until(subject+" in the tail", func() bool { return tail.count(subject) >= n[0] })
	}
	for subject, n := range want {
		if have := tail.count(subject); have > n[1] {
			t.Errorf("%d messages on %s, want %d to %d", have, subject, n[0], n[1])
		}
	}
	tail.mu.Lock()
	defer tail.mu.Unlock()
	for subject := range want {
		for _, m := range tail.seen[subject] {
			var body map[string]any
			if err := json.Unmarshal(m.Data, &body); err != nil {
				t.Errorf("message on %s is no JSON: %v", subject, err)
			}
			for _, name := range []string{"Litci-Delivery", "Litci-Repo", "Litci-Sha", "Nats-Msg-Id"} {
				if m.Header.Get(name) == "" {
					t.Errorf("message on %s has no header %s", subject, name)
				}
			}
		}
	}
	t.Logf("what a tail of the four subjects prints:\n%s", tail.text.String())
}
