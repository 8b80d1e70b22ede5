package main

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/cmd/litci/internal/mesh"
	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/pkg/flow"
)

// failpointBinary builds litci with the points at which it kills itself.
func failpointBinary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "litci")
	if out, err := exec.Command("go", "build", "-tags", "failpoint", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// apart is a mesh in several processes, so that one can die alone. Its workflow has
// two jobs, which leave a mark each time they run and end when they are released.
type apart struct {
	*world
	binary  string
	outside string // where the marks are
	address string // of the NATS server
	server  *process
}

// apartWorld starts the server of a mesh.
func apartWorld(t *testing.T, binary string) *apart {
	t.Helper()
	outside := t.TempDir()
	a := &apart{binary: binary, outside: outside, address: freeAddress(t), world: newWorld(t, map[string]string{
		"marks.yml": strings.ReplaceAll(`name: Marks
timeout: 5
parametrize:
  matrix:
    word: [one, two]
run: |
  echo "$word" >> DIR/marks
  until [ -e DIR/release ]; do sleep 0.05; done
`, "DIR", outside),
	})}
	t.Cleanup(a.release) // no job outlives its test
	a.env = append(a.env,
		"LITCI_NATS_URL=nats://"+a.address, "LITCI_NATS_NKEY="+filepath.Join(a.serverData(), "nats", "litci.nk"),
		"LITCI_NATS_SYNC_ALWAYS=false", "LITCI_SWEEP_INTERVAL=1s", "LITCI_SLOTS=4",
	)
	a.serve()
	return a
}

func (a *apart) serverData() string { return filepath.Join(a.dir, "server") }

// serve starts the NATS server, again on what it stored before.
func (a *apart) serve() {
	a.t.Helper()
	p := a.start(a.binary, "nats-server", "--nats-listen", a.address, "--data", a.serverData())
	a.until("nats server", func() bool { return strings.Contains(p.logged(), "provisioned") })
	a.server = p
}

// run starts services as one process, with more in its environment, and does not
// wait for it.
func (a *apart) run(env []string, services ...string) (p *process, admin string) {
	a.t.Helper()
	admin = freeAddress(a.t)
	args := []string{"up", "--admin-listen", admin, "--listen", a.hook, "--pages-listen", "127.0.0.1:0"}
	for _, s := range services {
		args = append(args, "--service", s)
	}
	own := *a.world
	own.env = append(slices.Clone(a.env), env...)
	p = own.start(a.binary, args...)
	p.name = "litci up of " + strings.Join(services, ", ")
	return p, admin
}

// others starts every service but the named ones as one process.
func (a *apart) others(but ...string) (p *process, admin string) {
	a.t.Helper()
	return a.run(nil, slices.DeleteFunc(mesh.Services(), func(s string) bool { return slices.Contains(but, s) })...)
}

// release lets the jobs end, those that begin later too.
func (a *apart) release() {
	if err := os.WriteFile(filepath.Join(a.outside, "release"), nil, 0o600); err != nil {
		a.t.Error(err)
	}
}

// pull opens the pull request, whatever becomes of its webhook.
func (a *apart) pull() (taken bool) {
	a.t.Helper()
	if _, err := a.github.OpenPull(context.Background(), fakegithub.OpenPull{Owner: testOwner, Repo: testRepo, Head: testBranch, Base: "main"}); err != nil {
		a.t.Fatal(err)
	}
	// The first of the log: others may have come since, of check runs and of the sweep.
	for _, d := range a.github.State().Deliveries {
		if d.Event == "pull_request" {
			return d.StatusCode == http.StatusAccepted
		}
	}
	a.t.Fatal("the pull request had no webhook")
	return false
}

// ended waits until a process is gone and returns the signal that ended it.
func (a *apart) ended(p *process) syscall.Signal {
	a.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		a.t.Fatalf("%s still runs after %s", p.name, patience)
	}
	return p.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal()
}

// marks are the marks that the jobs left, in order of their names.
func (a *apart) marks() []string {
	a.t.Helper()
	text, err := os.ReadFile(filepath.Join(a.outside, "marks"))
	if err != nil {
		a.t.Fatal(err)
	}
	words := strings.Fields(string(text))
	slices.Sort(words)
	return words
}

// exactlyOnce holds everything that can be seen from outside against the promise:
// each job ran once and has one check run, beside one aggregate and one comment,
// and nothing is left to do that could change it.
func (a *apart) exactlyOnce() {
	a.t.Helper()
	if verdict := a.untilVerdict(); verdict != "success" {
		a.t.Errorf("verdict is %s", verdict)
	}
	a.settled()
	a.expectOnce("success", "marks.yml / Marks (one)", "marks.yml / Marks (two)")
	if words := a.marks(); !slices.Equal(words, []string{"one", "two"}) {
		a.t.Errorf("the scripts ran as %q", words)
	}
	a.onBus(func(ctx context.Context, b *bus.Bus) {
		letters, err := b.Letters(ctx)
		if err != nil {
			a.t.Error(err)
		}
		for _, l := range letters {
			a.t.Errorf("dead letter of %s: %s", l.Service, l.Reason)
		}
		pulls := 0
		err = bus.Scan(ctx, b, flow.Events, bus.From{}, func(_ bus.Meta, e flow.Event) bool {
			if e.Kind == "pull_request" {
				pulls++
			}
			return true
		})
		if err != nil || pulls != 1 {
			a.t.Errorf("the pull request's event is stored %d times, %v", pulls, err)
		}
	})
}

// onBus connects to the mesh's server for as long as fn runs.
func (a *apart) onBus(fn func(context.Context, *bus.Bus)) {
	a.t.Helper()
	b, err := bus.Connect(bus.Config{Name: "test", URL: "nats://" + a.address, NKey: filepath.Join(a.serverData(), "nats", "litci.nk")}, zap.NewNop(), nil)
	if err != nil {
		a.t.Fatal(err)
	}
	defer b.Close()
	fn(context.Background(), b)
}

// settled waits until nobody has anything in hand or waiting: what was to come
// again has come.
func (a *apart) settled() {
	a.t.Helper()
	a.onBus(func(ctx context.Context, b *bus.Bus) {
		quiet := 0 // times in a row: consumers are not asked at one moment
		a.until("a mesh with nothing left to do", func() bool {
			lags, err := b.Lags(ctx)
			quiet++
			if err != nil || len(lags) == 0 || slices.ContainsFunc(lags, func(l bus.Lag) bool { return l.Waiting+l.InHand > 0 }) {
				quiet = 0
			}
			return quiet >= 5
		})
	})
}
