package fakegithub

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// manifestCode is what a person who agreed to a manifest brings back.
type manifestCode struct {
	manifest map[string]json.RawMessage
	expires  time.Time
}

// manifestLife is how long a manifest's code may be exchanged.
const manifestLife = time.Hour

// AddManifest agrees to an App manifest as a person would on GitHub's page,
// and returns the code to exchange, once and within the hour.
func (s *Server) AddManifest(manifest []byte) (code string, err error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(manifest, &fields); err != nil {
		return "", fmt.Errorf("manifest: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	code = secret(20)
	s.manifests[code] = manifestCode{manifest: fields, expires: s.cfg.Now().Add(manifestLife)}
	return code, nil
}

// convertManifest hands out the App of this server: its id, key and secret.
func (c *call) convertManifest() (reply, error) {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	code, found := s.manifests[c.params["code"]]
	delete(s.manifests, c.params["code"])
	if !found || !s.cfg.Now().Before(code.expires) {
		return reply{}, notFound()
	}
	if s.hookSecret == "" {
		s.hookSecret = secret(20)
	}
	shown := s.app(c.urls)
	if name, has := code.manifest["name"]; has {
		shown["name"] = name
	}
	shown["client_secret"] = secret(20)
	shown["webhook_secret"] = s.hookSecret
	shown["pem"] = string(EncodeKey(s.cfg.PrivateKey))
	return reply{status: http.StatusCreated, body: shown}, nil
}

func (c *call) getMeta() (reply, error) {
	loopback := []string{"127.0.0.0/8", "::1/128"}
	return ok(object{
		"verifiable_password_authentication": false,
		"hooks":                              loopback, "web": loopback, "api": loopback, "git": loopback,
	})
}

func (c *call) getVersions() (reply, error) { return ok(apiVersions()) }
