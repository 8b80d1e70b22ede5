package kubernetes

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Cluster is an API server with the credentials for it.
type Cluster struct {
	// Server is its address.
	Server string
	// Namespace is the one that the credentials are meant for; it may be empty.
	Namespace string
	// CA are the certificates that vouch for the server, in PEM; empty means the
	// system's. Insecure takes any certificate.
	CA       []byte
	Insecure bool
	// ServerName is the name in the server's certificate, where it is another one.
	ServerName string
	// Proxy is the address of a proxy; empty means that of the environment.
	Proxy string
	// Token is a bearer token, TokenFile a file with one that is replaced now and then.
	Token, TokenFile string
	// Certificate and Key are a client's certificate, in PEM.
	Certificate, Key []byte
}

// accountFolder is where a pod finds its service account.
const accountFolder = "/var/run/secrets/kubernetes.io/serviceaccount"

// InCluster is the cluster whose pod this process runs in.
func InCluster() (Cluster, error) { return inCluster(accountFolder, os.Getenv) }

func inCluster(folder string, getenv func(string) string) (Cluster, error) {
	host, port := getenv("KUBERNETES_SERVICE_HOST"), getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return Cluster{}, errors.New("kubernetes: this process does not run in a cluster (KUBERNETES_SERVICE_HOST is not set): name a kubeconfig file")
	}
	ca, err := os.ReadFile(filepath.Join(folder, "ca.crt"))
	if err != nil {
		return Cluster{}, fmt.Errorf("kubernetes: certificates of the cluster: %w", err)
	}
	c := Cluster{Server: "https://" + net.JoinHostPort(host, port), CA: ca, TokenFile: filepath.Join(folder, "token")}
	if _, err := os.Stat(c.TokenFile); err != nil {
		return Cluster{}, fmt.Errorf("kubernetes: token of the service account: %w; set automountServiceAccountToken for this pod", err)
	}
	if namespace, err := os.ReadFile(filepath.Join(folder, "namespace")); err == nil {
		c.Namespace = strings.TrimSpace(string(namespace))
	}
	return c, nil
}

// check refuses what could not work or would show credentials to the network.
func (c Cluster) check() error {
	base, err := url.Parse(c.Server)
	switch {
	case c.Server == "":
		return errors.New("kubernetes: no address of the API server")
	case err != nil || base.Host == "" || base.User != nil || base.RawQuery != "":
		return errors.New("kubernetes: the address of the API server is malformed")
	case base.Scheme != "https" && (base.Scheme != "http" || !loopback(base.Hostname())):
		return fmt.Errorf("kubernetes: %s would show credentials to the network: use https", c.Server)
	case c.Insecure && len(c.CA) > 0:
		return errors.New("kubernetes: certificates of the cluster make no sense beside insecure-skip-tls-verify")
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// transport speaks to the cluster with its certificates.
func (c Cluster) transport() (*http.Transport, error) {
	usual, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		usual = &http.Transport{Proxy: http.ProxyFromEnvironment}
	}
	t := usual.Clone()
	t.MaxIdleConnsPerHost = 16
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName, InsecureSkipVerify: c.Insecure} //nolint:gosec // only when the kubeconfig says so
	if len(c.CA) > 0 {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(c.CA) {
			return nil, errors.New("kubernetes: the cluster's certificates are not PEM")
		}
		t.TLSClientConfig.RootCAs = pool
	}
	if len(c.Certificate) > 0 || len(c.Key) > 0 {
		pair, err := tls.X509KeyPair(c.Certificate, c.Key)
		if err != nil {
			return nil, fmt.Errorf("kubernetes: client certificate: %w", err)
		}
		t.TLSClientConfig.Certificates = []tls.Certificate{pair}
	}
	if c.Proxy != "" {
		proxy, err := url.Parse(c.Proxy)
		if err != nil {
			return nil, errors.New("kubernetes: the proxy's address is malformed")
		}
		t.Proxy = http.ProxyURL(proxy)
	}
	return t, nil
}
