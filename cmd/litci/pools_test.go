package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// poolWorld has a repository whose workflows run in three pools: the unnamed one and
// "desk" on this machine, each with a folder of its own, and "cluster" on an emulated
// Kubernetes.
func poolWorld(t *testing.T) (w *world, c *cluster, file, pages string) {
	t.Helper()
	w = newWorld(t, map[string]string{
		"here.yml":  "name: Here\nparametrize:\n  matrix:\n    word: [one, two]\nrun: |\n  case $PWD in */data/jobs/*) ;; *) pwd; exit 1 ;; esac\n",
		"desk.yml":  "name: Desk\npool: desk\nparametrize:\n  matrix:\n    word: [one, two]\nrun: |\n  case $PWD in */data/pools/desk/jobs/*) ;; *) pwd; exit 1 ;; esac\n",
		"cloud.yml": "name: Cloud\npool: cluster\nimage: python:3.11\nparametrize:\n  matrix:\n    word: [one, two]\nrun: |\n  case $RUNNER_NAME in *kubernetes*) ;; *) env; exit 1 ;; esac\n",
	})
	c = newCluster(t, w.dir, "token")
	pages = freeAddress(t)
	file = filepath.Join(w.dir, "litci.yaml")
	w.write(file, "slots: 2\npublic-url: http://"+pages+`
pools:
  desk: {slots: 1}
  cluster:
    executor: kubernetes
    slots: 5
    kubernetes-kubeconfig: `+c.kubeconfig+`
`)
	return w, c, file, pages
}

// everyPoolServed is what GitHub must show of a pull request of a poolWorld.
func (w *world) everyPoolServed() {
	w.t.Helper()
	if verdict := w.untilVerdict(); verdict != "success" {
		w.t.Errorf("verdict is %s", verdict)
	}
	w.expectOnce("success", "cloud.yml / Cloud (one)", "cloud.yml / Cloud (two)", "desk.yml / Desk (one)", "desk.yml / Desk (two)", "here.yml / Here (one)", "here.yml / Here (two)")
}

// TestPoolsOfOneProcess serves three pools by one litci up.
func TestPoolsOfOneProcess(t *testing.T) {
	t.Parallel()
	w, c, file, pages := poolWorld(t)
	p := w.start("litci", "up", "--config", file, "--listen", w.hook, "--pages-listen", pages, "--admin-listen", w.admin, "--nats-listen", "127.0.0.1:0")
	w.ready(p, w.admin)
	w.openPull()
	w.everyPoolServed()
	if n := c.Pods(); n != 2 {
		t.Errorf("%d pods ran", n)
	}
	// A launcher learns by itself that a job has ended, and when it next looks.
	for _, want := range []string{`litci_slots{pool="",state="free"} 2`, `litci_slots{pool="desk",state="free"} 1`, `litci_slots{pool="cluster",state="free"} 5`} {
		w.until(want, func() bool {
			res, err := http.Get("http://" + w.admin + "/metrics")
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			metrics, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			return strings.Contains(string(metrics), want)
		})
	}
	if code := p.terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestPoolsApart serves each pool by processes of its own, which read the same file,
// against a NATS server of its own.
func TestPoolsApart(t *testing.T) {
	t.Parallel()
	w, _, file, pages := poolWorld(t)
	nats := freeAddress(t)
	w.env = append(w.env, "LITCI_CONFIG="+file)
	server := w.start("litci", "nats-server", "--nats-listen", nats, "--data", filepath.Join(w.dir, "server"))
	w.until("nats server", func() bool { return strings.Contains(server.logged(), "provisioned") })
	w.env = append(w.env, "LITCI_NATS_URL=nats://"+nats, "LITCI_NATS_NKEY="+filepath.Join(w.dir, "server", "nats", "litci.nk"))
	run := func(args ...string) (*process, string) {
		admin := freeAddress(t)
		return w.start("litci", append([]string{"up", "--admin-listen", admin}, args...)...), admin
	}
	pools := map[*process]string{}
	for _, args := range [][]string{
		{"--pool", "desk", "--service", "launcher", "--service", "watcher"},
		{"--pool", "cluster", "--service", "launcher"},
		{"--pool", "cluster", "--service", "watcher"},
	} {
		p, admin := run(args...)
		pools[p] = admin
	}
	for p, admin := range pools {
		w.ready(p, admin)
	}
	// The unnamed pool's own: the same file without its pools.
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	rest, _, _ := strings.Cut(string(text), "pools:")
	own := filepath.Join(w.dir, "unnamed.yaml")
	w.write(own, rest)
	p, admin := run("--config", own, "--listen", w.hook, "--pages-listen", pages,
		"--service", "ingress", "--service", "planner", "--service", "reporter", "--service", "launcher", "--service", "watcher")
	w.ready(p, admin)
	w.openPull()
	w.everyPoolServed()
}
