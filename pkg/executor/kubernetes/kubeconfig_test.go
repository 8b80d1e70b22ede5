package kubernetes

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestKubeconfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, content := range map[string]string{"ca.pem": "CA", "cert.pem": "CERT", "key.pem": "KEY"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	in := func(user string) string {
		return `apiVersion: v1
kind: Config
current-context: main
preferences: {}
contexts:
- name: other
  context: {cluster: far, user: me}
- name: main
  context: {cluster: near, user: me, namespace: ci}
clusters:
- name: near
  cluster:
    server: https://near.example:6443
    certificate-authority: ca.pem
    tls-server-name: kubernetes
- name: far
  cluster:
    server: https://far.example
    certificate-authority-data: ` + base64.StdEncoding.EncodeToString([]byte("FAR")) + `
    proxy-url: http://proxy.example:3128
users:
- name: me
  user: ` + user + "\n"
	}
	near := Cluster{Server: "https://near.example:6443", Namespace: "ci", CA: []byte("CA"), ServerName: "kubernetes"}
	with := func(c Cluster, change func(*Cluster)) Cluster {
		change(&c)
		return c
	}
	for name, test := range map[string]struct {
		content, context string
		want             Cluster
		fails            string
	}{
		"token": {content: in("{token: secret}"), want: with(near, func(c *Cluster) { c.Token = "secret" })},
		"a file beats a token": {content: in("{token: old, tokenFile: token}"), want: with(near, func(c *Cluster) {
			c.TokenFile = filepath.Join(dir, "token")
		})},
		"client certificate": {content: in("{client-certificate: cert.pem, client-key-data: " + base64.StdEncoding.EncodeToString([]byte("K")) + "}"), want: with(near, func(c *Cluster) {
			c.Certificate, c.Key = []byte("CERT"), []byte("K")
		})},
		"another context": {content: in("{token: secret}"), context: "other", want: Cluster{
			Server: "https://far.example", CA: []byte("FAR"), Proxy: "http://proxy.example:3128", Token: "secret",
		}},
		"a program":         {content: in("{exec: {command: aws}}"), fails: "from a program (exec), which litci does not run"},
		"an auth provider":  {content: in("{auth-provider: {name: gcp}}"), fails: "auth-provider"},
		"a password":        {content: in("{username: me, password: x}"), fails: "password"},
		"somebody else":     {content: in("{token: x, as: admin}"), fails: "acts as another one"},
		"no such context":   {content: in("{token: x}"), context: "third", fails: `no context "third"`},
		"no such file":      {content: in("{client-certificate: none.pem}"), fails: "client-certificate"},
		"not base64":        {content: in("{client-key-data: '***'}"), fails: "not base64"},
		"no current one":    {content: "apiVersion: v1\nkind: Config\n", fails: "no current-context"},
		"no such cluster":   {content: "current-context: a\ncontexts: [{name: a, context: {cluster: b}}]\n", fails: `no cluster "b"`},
		"no such user":      {content: "current-context: a\ncontexts: [{name: a, context: {cluster: b, user: c}}]\nclusters: [{name: b, cluster: {server: https://x}}]\n", fails: `no user "c"`},
		"without a user":    {content: "current-context: a\ncontexts: [{name: a, context: {cluster: b}}]\nclusters: [{name: b, cluster: {server: 'http://127.0.0.1:8001'}}]\n", want: Cluster{Server: "http://127.0.0.1:8001"}},
		"JSON":              {content: `{"current-context":"a","contexts":[{"name":"a","context":{"cluster":"b"}}],"clusters":[{"name":"b","cluster":{"server":"https://x","insecure-skip-tls-verify":true}}]}`, want: Cluster{Server: "https://x", Insecure: true}},
		"not YAML":          {content: "token: secret-in-the-file\n\t- [", fails: "not the YAML"},
		"neither map at it": {content: "clusters: secret-in-the-file\n", fails: "not the YAML"},
	} {
		path := filepath.Join(dir, "config")
		if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := Kubeconfig(path, test.context)
		if test.fails != "" {
			if err == nil || !strings.Contains(err.Error(), test.fails) || strings.Contains(err.Error(), "secret-in-the-file") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, %v; want %+v", name, got, err, test.want)
		}
	}
	if _, err := Kubeconfig(filepath.Join(dir, "none"), ""); err == nil {
		t.Error("a file that is not there is read")
	}
}

func TestInCluster(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env := map[string]string{"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
	getenv := func(name string) string { return env[name] }
	if _, err := inCluster(dir, func(string) string { return "" }); err == nil || !strings.Contains(err.Error(), "does not run in a cluster") {
		t.Errorf("outside: %v", err)
	}
	if _, err := inCluster(dir, getenv); err == nil {
		t.Error("a cluster without certificates is taken")
	}
	write(t, filepath.Join(dir, "ca.crt"), "CA")
	if _, err := inCluster(dir, getenv); err == nil || !strings.Contains(err.Error(), "automountServiceAccountToken") {
		t.Errorf("without a token: %v", err)
	}
	write(t, filepath.Join(dir, "token"), "x")
	write(t, filepath.Join(dir, "namespace"), "ci\n")
	got, err := inCluster(dir, getenv)
	want := Cluster{Server: "https://[fd00::1]:443", Namespace: "ci", CA: []byte("CA"), TokenFile: filepath.Join(dir, "token")}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("cluster is %+v, %v", got, err)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
