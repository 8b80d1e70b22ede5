package kubernetes

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/pkg/executor/kubernetes/fakekubernetes"
	"github.com/litci/litci/pkg/executor/kubernetes/machine"
)

// A token's file is read again when the old token is not taken any more.
func TestTokenIsReadAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakekubernetes.Options{})
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, "stale")
	e := w.executor(t, func(c *Config) { c.Cluster.Token, c.Cluster.TokenFile = "", file })
	if err := e.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "does not take the credentials") {
		t.Errorf("check: %v", err)
	}
	write(t, file, w.Options().Token+"\n")
	if err := e.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// Check names the Role where something is not allowed.
func TestCheck(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakekubernetes.Options{})
	if err := w.executor(t, nil).Check(t.Context()); err != nil {
		t.Error(err)
	}
	w.Fail(fakekubernetes.Fault{Path: "/pods", Status: http.StatusForbidden})
	if err := w.executor(t, nil).Check(t.Context()); err == nil || !strings.Contains(err.Error(), "role.yaml") {
		t.Errorf("check: %v", err)
	}
}

// What is missing of the Role is named.
func TestCheckNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	var rules []fakekubernetes.Rule
	for _, rule := range role(t) {
		switch {
		case slices.Contains(rule.Resources, "secrets"):
			continue
		case slices.Contains(rule.Resources, "pods"):
			rule.Verbs = []string{"list", "delete"}
		}
		rules = append(rules, rule)
	}
	w := newWorld(t, fakekubernetes.Options{Rules: rules})
	err := w.executor(t, nil).Check(t.Context())
	if err == nil || !strings.Contains(err.Error(), "may not patch pods, create secrets, delete secrets; bind the Role") {
		t.Errorf("check: %v", err)
	}
	// A cluster that does not tell is taken as it is.
	w.Fail(fakekubernetes.Fault{Path: "/selfsubjectaccessreviews", Status: http.StatusForbidden})
	if err := w.executor(t, nil).Check(t.Context()); err != nil {
		t.Errorf("check: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	good := Cluster{Server: "https://k.example"}
	for name, test := range map[string]struct {
		config Config
		says   string
	}{
		"no server":         {Config{}, "no address"},
		"plain text":        {Config{Cluster: Cluster{Server: "http://k.example"}}, "use https"},
		"malformed":         {Config{Cluster: Cluster{Server: "https://u:p@k.example"}}, "malformed"},
		"contradiction":     {Config{Cluster: Cluster{Server: "https://k.example", CA: []byte("x"), Insecure: true}}, "no sense"},
		"bad CA":            {Config{Cluster: Cluster{Server: "https://k.example", CA: []byte("x")}}, "not PEM"},
		"bad certificate":   {Config{Cluster: Cluster{Server: "https://k.example", Certificate: []byte("x")}}, "client certificate"},
		"bad profile":       {Config{Cluster: good, Profile: "privileged"}, "neither"},
		"bad namespace":     {Config{Cluster: good, Namespace: "a/b"}, "malformed"},
		"bad instance":      {Config{Cluster: good, Instance: "a,b"}, "letters"},
		"bad quantity":      {Config{Cluster: good, Machines: map[string]machine.Kind{"L4": {Memory: "16 GB"}}}, `machine L4: memory: "16 GB"`},
		"resource of none":  {Config{Cluster: good, Machines: map[string]machine.Kind{"L4": {Resources: map[string]string{"nvidia.com/gpu": ""}}}}, "no amount"},
		"resource of words": {Config{Cluster: good, Machines: map[string]machine.Kind{"L4": {Resources: map[string]string{"nvidia.com/gpu": "one"}}}}, "not a quantity"},
	} {
		if _, err := New(test.config); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A client certificate takes the place of a token, and the cluster's own certificates
// those of the system.
func TestCertificates(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) != 1 || r.TLS.PeerCertificates[0].Subject.CommonName != "litci" || r.Header.Get("Authorization") != "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write([]byte(`{"items":[]}`))
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	server.StartTLS()
	defer server.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	cluster := Cluster{Server: server.URL, CA: ca, Certificate: cert, Key: key}
	transport, err := cluster.transport()
	if err != nil {
		t.Fatal(err)
	}
	defer transport.CloseIdleConnections()
	e, err := New(Config{Cluster: cluster, Client: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// certificate is a client's, for the name litci.
func certificate(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "litci"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	rawKey, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: rawKey})
}
