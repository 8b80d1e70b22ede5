package kubernetes

import (
	"cmp"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/executortest"
	"github.com/litci/litci/pkg/executor/kubernetes/fakekubernetes"
)

// The suite runs against a real cluster when LITCI_TEST_KUBERNETES is "on": the one of
// KUBECONFIG, else that of the user's file. Further settings:
//
//	LITCI_TEST_KUBERNETES_NAMESPACE  where, if not where the kubeconfig says
//	LITCI_TEST_KUBERNETES_IMAGE      in what; it needs bash and coreutils
//	LITCI_TEST_KUBERNETES_NODE       "play", for a bare API server with the job
//	                                 controller: the test is scheduler and kubelet, and
//	                                 answers for logs
func TestSuiteOnCluster(t *testing.T) {
	if os.Getenv("LITCI_TEST_KUBERNETES") != "on" {
		return // not selected
	}
	cluster := testCluster(t)
	namespace := cmp.Or(os.Getenv("LITCI_TEST_KUBERNETES_NAMESPACE"), cluster.Namespace, "default")
	transport, err := cluster.transport()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	if os.Getenv("LITCI_TEST_KUBERNETES_NODE") == "play" {
		cluster = play(t, cluster, namespace, client)
		direct := &http.Transport{}
		t.Cleanup(direct.CloseIdleConnections)
		client = &http.Client{Transport: direct}
	}
	instance := "suite-" + time.Now().UTC().Format("20060102-150405")
	create := func(t *testing.T) *Executor {
		e, err := New(Config{Cluster: cluster, Namespace: namespace, Instance: instance, Client: client, Pace: Pace{Fresh: 200 * time.Millisecond}})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	if err := create(t).Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := create(t).Collect(ctx, time.Now().Add(time.Hour)); err != nil {
			t.Error(err)
		}
	})
	o := suiteOptions(cmp.Or(os.Getenv("LITCI_TEST_KUBERNETES_IMAGE"), "docker.io/library/debian:bookworm-slim"))
	o.Output, o.Wait = 5_000_000, 5*time.Minute
	executortest.Run(t, func(t *testing.T) executor.Executor { return create(t) }, o)
}

func testCluster(t *testing.T) Cluster {
	t.Helper()
	path := os.Getenv("KUBECONFIG")
	if path == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Fatal(err)
		}
		path = filepath.Join(home, ".kube", "config")
	}
	cluster, err := Kubeconfig(path, "")
	if err != nil {
		t.Fatal(err)
	}
	return cluster
}

// withToken adds a cluster's token to requests.
type withToken struct {
	token string
	next  http.RoundTripper
}

func (w withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	if w.token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+w.token)
	}
	return w.next.RoundTrip(r)
}

// play runs a cluster's pods, and gives the address at which their logs are known too.
func play(t *testing.T, cluster Cluster, namespace string, client *http.Client) Cluster {
	t.Helper()
	node, err := fakekubernetes.NewNode(cluster.Server, &http.Client{Transport: withToken{cluster.Token, client.Transport}}, namespace, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- node.Run(ctx) }()
	server := httptest.NewServer(node)
	t.Cleanup(func() {
		server.Close()
		cancel()
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
	return Cluster{Server: server.URL}
}
