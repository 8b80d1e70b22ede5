package main

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litci/litci/pkg/executor/kubernetes/fakekubernetes"
)

// cluster is an emulated one with the Role that operators are told to make, and the
// kubeconfig file for it.
type cluster struct {
	*fakekubernetes.Server
	kubeconfig string
}

func newCluster(t testing.TB, dir, token string) *cluster {
	t.Helper()
	bin := filepath.Join(dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "curl"), []byte(fetcher), 0o755); err != nil {
		t.Fatal(err)
	}
	rules, err := fakekubernetes.RoleOf(filepath.Join("..", "..", "deploy", "kubernetes", "role.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{kubeconfig: filepath.Join(dir, "kubeconfig")}
	c.Server = fakekubernetes.New(fakekubernetes.Options{
		Dir: filepath.Join(dir, "nodes"), Token: token, Rules: rules, Restricted: true, Path: bin + string(os.PathListSeparator) + os.Getenv("PATH"),
	})
	t.Cleanup(c.Close)
	web := httptest.NewServer(c.Server)
	t.Cleanup(web.Close)
	text := fmt.Sprintf(`current-context: ci
contexts:
  - name: ci
    context: {cluster: ci, user: litci, namespace: %s}
clusters:
  - name: ci
    cluster: {server: %q}
users:
  - name: litci
    user: {token: %s}
`, c.Options().Namespace, web.URL, token)
	if err := os.WriteFile(c.kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// TestMeshOnKubernetes runs a pull request's jobs on an emulated cluster, with the
// rights of the documented Role: their pods fetch the commit from the reporter, and
// neither token nor link is found in what litci says or stores.
func TestMeshOnKubernetes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]string{
		"tests.yml": "name: Tests\nimage: python:3.11\nmachine: MI300\nparametrize:\n  matrix:\n    word: [one, two]\nrun: |\n  grep -q image: .lightning/workflows/tests.yml\n  env | { ! grep -i -e canary -e /sources/; }\n",
	})
	c := newCluster(t, w.dir, "canary-token")
	pages := freeAddress(t)
	file := filepath.Join(w.dir, "litci.yaml")
	w.write(file, `executor: kubernetes
kubernetes-labels: {kueue.x-k8s.io/queue-name: ci}
kubernetes-machines:
  MI300:
    cpu: "4"
    memory: 16Gi
    resources: {amd.com/gpu: 1}
    nodes:
      selector: {example.com/accelerator: mi300}
      tolerations: [{key: amd.com/gpu, operator: Exists}]
`)
	w.env = append(w.env, "KUBECONFIG="+c.kubeconfig, "LITCI_PUBLIC_URL=http://"+pages, "LITCI_LOG_LEVEL=debug")
	p := w.start("litci", "up", "--config", file, "--listen", w.hook, "--pages-listen", pages, "--admin-listen", w.admin, "--nats-listen", "127.0.0.1:0")
	w.ready(p, w.admin)
	w.openPull()
	if verdict := w.untilVerdict(); verdict != "success" {
		t.Errorf("verdict is %s", verdict)
	}
	w.expectOnce("success", "tests.yml / Tests (one)", "tests.yml / Tests (two)")
	if code := p.terminate(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, violation := range c.Violations() {
		t.Error(violation)
	}
	jobs := map[string]bool{} // what is asked for twice is one
	for _, r := range c.Requests() {
		if r.Method != "POST" || !strings.HasSuffix(r.Path, "/jobs") {
			continue
		}
		var job struct{ Metadata struct{ Name string } }
		if err := json.Unmarshal([]byte(r.Body), &job); err != nil {
			t.Fatal(err)
		}
		jobs[job.Metadata.Name] = true
		for _, want := range []string{`"amd.com/gpu":"1"`, `"example.com/accelerator":"mi300"`, `"kueue.x-k8s.io/queue-name":"ci"`, `"16Gi"`} {
			if !strings.Contains(r.Body, want) {
				t.Errorf("job without %s: %s", want, r.Body)
			}
		}
	}
	if n := strings.Count(p.logged(), "source fetched"); len(jobs) != 2 || n != 2 {
		t.Errorf("%d jobs were made, %d sources were fetched", len(jobs), n)
	}
	if strings.Contains(p.logged(), "canary-token") {
		t.Error("the token was logged")
	}
	if out, err := exec.Command("grep", "-rlFa", "canary-token", filepath.Join(w.dir, "data"), filepath.Join(w.dir, "nodes")).CombinedOutput(); err == nil {
		t.Errorf("the token stands in %s", out)
	}
}
