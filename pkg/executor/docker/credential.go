package docker

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
)

// Credential opens a registry: a user name with a password, or an identity token.
type Credential struct{ Username, Password, IdentityToken string }

// dockerConfig is what matters of ~/.docker/config.json.
type dockerConfig struct {
	Auths map[string]struct {
		Auth          string `json:"auth"`
		Username      string `json:"username"`
		Password      string `json:"password"`
		IdentityToken string `json:"identitytoken"`
	} `json:"auths"`
}

// maxConfig bounds the file.
const maxConfig = 1 << 20

// readDockerConfig reads the credentials by host name. Programs that keep
// credentials (credsStore, credHelpers) are not asked: litci runs none.
func readDockerConfig(path string) (map[string]Credential, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("registry credentials: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxConfig))
	if err != nil {
		return nil, fmt.Errorf("registry credentials: %w", err)
	}
	var config dockerConfig
	if err := json.Unmarshal(data, &config); err != nil {
		// The decoder's error may show a piece of the file.
		return nil, fmt.Errorf("registry credentials: %s is not like ~/.docker/config.json", path)
	}
	all := map[string]Credential{}
	for host, entry := range config.Auths {
		c := Credential{entry.Username, entry.Password, entry.IdentityToken}
		if entry.Auth != "" {
			plain, err := base64.StdEncoding.DecodeString(entry.Auth)
			name, password, ok := strings.Cut(strings.TrimRight(string(plain), "\x00"), ":")
			if err != nil || !ok {
				return nil, fmt.Errorf("registry credentials: %s: the entry of %s is malformed", path, host)
			}
			c.Username, c.Password = name, password
		}
		if c != (Credential{}) {
			all[registryHost(host)] = c
		}
	}
	return all, nil
}

// hub is Docker's own registry, which has several names.
const hub = "docker.io"

// registryHost is the name by which images name a registry: files also have
// addresses there.
func registryHost(name string) string {
	name = strings.TrimPrefix(strings.TrimPrefix(name, "https://"), "http://")
	name, _, _ = strings.Cut(name, "/")
	switch name {
	case "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com":
		return hub
	}
	return name
}

// authorization is what a pull shows to the image's registry; empty is nothing.
func (e *Executor) authorization(image reference.Named) (string, error) {
	host := reference.Domain(image)
	credential, found := e.options.Credentials[host]
	if !found && e.options.DockerConfig != "" {
		all, err := readDockerConfig(e.options.DockerConfig)
		if err != nil {
			return "", err
		}
		credential, found = all[host]
	}
	if !found {
		return "", nil
	}
	address := host
	if host == hub {
		address = "https://index.docker.io/v1/"
	}
	return authconfig.Encode(registry.AuthConfig{
		Username: credential.Username, Password: credential.Password, IdentityToken: credential.IdentityToken, ServerAddress: address,
	})
}
