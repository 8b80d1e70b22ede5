package kubernetes

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"
)

// kubeconfig is what is read of such a file.
type kubeconfig struct {
	Current  string `yaml:"current-context"`
	Clusters []struct {
		Name    string `yaml:"name"`
		Cluster struct {
			Server     string `yaml:"server"`
			CAFile     string `yaml:"certificate-authority"`
			CA         string `yaml:"certificate-authority-data"`
			Insecure   bool   `yaml:"insecure-skip-tls-verify"`
			ServerName string `yaml:"tls-server-name"`
			Proxy      string `yaml:"proxy-url"`
		} `yaml:"cluster"`
	} `yaml:"clusters"`
	Contexts []struct {
		Name    string `yaml:"name"`
		Context struct {
			Cluster   string `yaml:"cluster"`
			User      string `yaml:"user"`
			Namespace string `yaml:"namespace"`
		} `yaml:"context"`
	} `yaml:"contexts"`
	Users []struct {
		Name string         `yaml:"name"`
		User kubeconfigUser `yaml:"user"`
	} `yaml:"users"`
}

type kubeconfigUser struct {
	Token           string `yaml:"token"`
	TokenFile       string `yaml:"tokenFile"`
	CertificateFile string `yaml:"client-certificate"`
	Certificate     string `yaml:"client-certificate-data"`
	KeyFile         string `yaml:"client-key"`
	Key             string `yaml:"client-key-data"`

	// Not supported, and said so.
	Exec     any    `yaml:"exec"`
	Provider any    `yaml:"auth-provider"`
	Username string `yaml:"username"`
	As       string `yaml:"as"`
}

// Kubeconfig reads a cluster from a kubeconfig file. An empty context means the file's
// current one.
func Kubeconfig(path, context string) (Cluster, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Cluster{}, fmt.Errorf("kubernetes: kubeconfig: %w", err)
	}
	var file kubeconfig
	if err := yaml.Unmarshal(data, &file); err != nil {
		// The parser's own words quote the file, with what is secret in it.
		return Cluster{}, fmt.Errorf("kubernetes: kubeconfig %s is not the YAML that was expected", path)
	}
	c, err := file.cluster(filepath.Dir(path), context)
	if err != nil {
		return Cluster{}, fmt.Errorf("kubernetes: kubeconfig %s: %w", path, err)
	}
	return c, nil
}

func (k kubeconfig) cluster(folder, context string) (Cluster, error) {
	context = cmp.Or(context, k.Current)
	if context == "" {
		return Cluster{}, errors.New("it has no current-context: name one")
	}
	var cluster, user string
	var c Cluster
	found := false
	for _, one := range k.Contexts {
		if one.Name == context {
			found, cluster, user, c.Namespace = true, one.Context.Cluster, one.Context.User, one.Context.Namespace
			break
		}
	}
	if !found {
		return Cluster{}, fmt.Errorf("there is no context %q", context)
	}
	found = false
	for _, one := range k.Clusters {
		if one.Name != cluster {
			continue
		}
		found = true
		c.Server, c.Insecure, c.ServerName, c.Proxy = one.Cluster.Server, one.Cluster.Insecure, one.Cluster.ServerName, one.Cluster.Proxy
		var err error
		if c.CA, err = content(folder, one.Cluster.CA, one.Cluster.CAFile); err != nil {
			return Cluster{}, fmt.Errorf("certificate-authority of cluster %q: %w", cluster, err)
		}
		break
	}
	if !found {
		return Cluster{}, fmt.Errorf("there is no cluster %q", cluster)
	}
	for _, one := range k.Users {
		if one.Name == user {
			err := one.User.add(&c, folder, user)
			return c, err
		}
	}
	if user != "" {
		return Cluster{}, fmt.Errorf("there is no user %q", user)
	}
	return c, nil
}

// add puts the user's credentials into a cluster.
func (u kubeconfigUser) add(c *Cluster, folder, name string) error {
	const instead = "litci uses a token, a token file or a client certificate; make a service account with the Role in deploy/kubernetes/role.yaml and use its token"
	switch {
	case u.Exec != nil:
		return fmt.Errorf("user %q gets credentials from a program (exec), which litci does not run: %s", name, instead)
	case u.Provider != nil:
		return fmt.Errorf("user %q gets credentials from an auth-provider, which Kubernetes has given up: %s", name, instead)
	case u.Username != "":
		return fmt.Errorf("user %q has a password, which Kubernetes does not take any more: %s", name, instead)
	case u.As != "":
		return fmt.Errorf("user %q acts as another one (as), which litci does not do: %s", name, instead)
	}
	c.Token, c.TokenFile = u.Token, u.TokenFile
	if c.TokenFile != "" {
		c.Token = "" // the file wins, as everywhere
		if !filepath.IsAbs(c.TokenFile) {
			c.TokenFile = filepath.Join(folder, c.TokenFile)
		}
	}
	var err error
	if c.Certificate, err = content(folder, u.Certificate, u.CertificateFile); err != nil {
		return fmt.Errorf("client-certificate of user %q: %w", name, err)
	}
	if c.Key, err = content(folder, u.Key, u.KeyFile); err != nil {
		return fmt.Errorf("client-key of user %q: %w", name, err)
	}
	return nil
}

// content is what is given in the file itself, or in another one beside it.
func content(folder, data, file string) ([]byte, error) {
	if data != "" {
		decoded, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			return nil, errors.New("it is not base64")
		}
		return decoded, nil
	}
	if file == "" {
		return nil, nil
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(folder, file)
	}
	return os.ReadFile(file)
}
