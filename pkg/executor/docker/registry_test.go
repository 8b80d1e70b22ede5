package docker

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/moby/moby/client"

	"github.com/litci/litci/pkg/executor"
)

// registryDouble is a registry with a single image, on this machine, where engines need no TLS.
type registryDouble struct {
	address string
	// digest is the image's.
	digest string

	mu    sync.Mutex
	blobs map[string][]byte
	pulls int
	// hold keeps layers back until it is closed; nil keeps nothing.
	hold chan struct{}
}

const registryUser, registryPassword = "puller", "canary-9d27b1"

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func newRegistry(t *testing.T, files []byte) *registryDouble {
	t.Helper()
	var layer bytes.Buffer
	zipped := gzip.NewWriter(&layer)
	if _, err := zipped.Write(files); err != nil {
		t.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{
		"architecture": "amd64", "os": "linux",
		"config": map[string]any{"Env": []string{"PATH=/bin"}, "Labels": map[string]string{labelStandIn: "1"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digestOf(files)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	blob := func(kind string, data []byte) map[string]any {
		return map[string]any{"mediaType": "application/vnd.docker." + kind, "size": len(data), "digest": digestOf(data)}
	}
	const manifestType = "application/vnd.docker.distribution.manifest.v2+json"
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType,
		"config": blob("container.image.v1+json", config),
		"layers": []any{blob("image.rootfs.diff.tar.gzip", layer.Bytes())},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &registryDouble{digest: digestOf(manifest), blobs: map[string][]byte{digestOf(config): config, digestOf(layer.Bytes()): layer.Bytes()}}
	handler := http.NewServeMux()
	handler.HandleFunc("GET /v2/", func(w http.ResponseWriter, q *http.Request) {
		if user, password, _ := q.BasicAuth(); user != registryUser || password != registryPassword {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		name := q.URL.Path[strings.LastIndex(q.URL.Path, "/")+1:]
		switch {
		case q.URL.Path == "/v2/":
		case strings.HasPrefix(q.URL.Path, "/v2/team/tools/manifests/") && (name == "1" || name == r.digest):
			r.mu.Lock()
			r.pulls++
			r.mu.Unlock()
			w.Header().Set("Content-Type", manifestType)
			w.Header().Set("Docker-Content-Digest", r.digest)
			_, _ = w.Write(manifest)
		case strings.HasPrefix(q.URL.Path, "/v2/team/tools/blobs/") && r.blobs[name] != nil:
			data := r.blobs[name]
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			half := len(data) / 2
			_, _ = w.Write(data[:half])
			if r.hold != nil && half > 100_000 {
				w.(http.Flusher).Flush()
				select {
				case <-r.hold:
				case <-q.Context().Done():
				}
			}
			_, _ = w.Write(data[half:])
		default:
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`)
		}
	})
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	r.address = strings.TrimPrefix(server.URL, "http://")
	return r
}

// pulled is how often the image was asked for.
func (r *registryDouble) pulled() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pulls
}

// dockerLogin writes what "docker login" would.
func (r *registryDouble) dockerLogin(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	data := fmt.Sprintf(`{"auths":{"http://%s/v2/":{"auth":%q}}}`, r.address, basic(registryUser, registryPassword))
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func basic(user, password string) string {
	q := http.Request{Header: http.Header{}}
	q.SetBasicAuth(user, password)
	return strings.TrimPrefix(q.Header.Get("Authorization"), "Basic ")
}

// An image that is missing is pulled with the credentials of a Docker configuration,
// the job tells how far that is, and then which image it runs in.
func TestEnginePull(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, rootFS(t, map[string]string{"bin/bash": "/bin/bash-static"}))
	r.hold = make(chan struct{})
	image := r.address + "/team/tools:1"
	t.Cleanup(func() { removeImage(t, image) }) // behind its containers
	e := newEngine(t, func(o *Options) { o.Pull, o.DockerConfig = PullMissing, r.dockerLogin(t) })
	spec := job("echo in; read -r x <../script.sh; while [ ! -e stop ]; do :; done\n")
	spec.Image = image
	began := make(chan error, 1)
	go func() {
		_, err := e.Start(t.Context(), spec)
		began <- err
	}()
	h := executor.Handle{Executor: Kind, ID: spec.ID}
	wait(t, "progress of the pull", func() bool {
		state, err := e.Observe(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		return state.Phase == executor.Pending && strings.HasPrefix(state.Message, "pulling image "+image+": ") && strings.HasSuffix(state.Message, " %")
	})
	close(r.hold)
	if err := <-began; err != nil {
		t.Fatal(err)
	}
	state := until(t, e, h, executor.Running)
	if want := r.address + "/team/tools@" + r.digest; state.Image != want {
		t.Errorf("image is %q, want %q", state.Image, want)
	}
	if err := e.Stop(t.Context(), h, 0); err != nil {
		t.Fatal(err)
	}
	until(t, e, h, executor.Ended)

	pulled := r.pulled()
	again := spec
	again.ID, again.Script = job("").ID, []byte("true\n")
	run(t, e, again)
	if r.pulled() != pulled {
		t.Error("an image that is there was pulled")
	}
	always := newEngine(t, func(o *Options) {
		o.Pull, o.Credentials = PullAlways, map[string]Credential{r.address: {Username: registryUser, Password: registryPassword}}
	})
	again.ID = job("").ID
	run(t, always, again)
	if r.pulled() == pulled {
		t.Error("policy always did not ask the registry")
	}
}

func removeImage(t *testing.T, name string) {
	engine, err := client.New(client.FromEnv)
	if err != nil {
		t.Error(err)
		return
	}
	defer engine.Close()
	if _, err := engine.ImageRemove(context.Background(), name, client.ImageRemoveOptions{Force: true}); err != nil {
		t.Error(err)
	}
}

// Images that cannot be had are refused in words for the workflow's authors, and
// leave nothing; a registry that is away is not.
func TestEngineBadImages(t *testing.T) {
	t.Parallel()
	r := newRegistry(t, rootFS(t, map[string]string{"bin/bash": "/bin/bash-static"}))
	noBash := "litci-standin-nothing:1"
	t.Cleanup(func() { removeImage(t, noBash) })
	login := r.dockerLogin(t)
	for name, test := range map[string]struct {
		image, pull, login string
		says               string // empty means that a retry may help
	}{
		"no such tag":           {r.address + "/team/tools:2", PullMissing, login, "does not exist"},
		"no such repository":    {r.address + "/team/other:1", PullMissing, login, "does not exist"},
		"no credentials":        {r.address + "/team/tools:1", PullMissing, "", "credentials"},
		"not here, none pulled": {r.address + "/team/tools:1", PullNever, login, "pulls none"},
		"no bash":               {noBash, PullNever, "", "has no bash"},
		"malformed":             {"Not An Image", PullMissing, "", "malformed"},
		"registry away":         {"127.0.0.1:1/team/tools:1", PullMissing, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, func(o *Options) { o.Pull, o.DockerConfig = test.pull, test.login })
			if test.image == noBash {
				importImage(t, e, noBash, rootFS(t, nil))
			}
			spec := job("true\n")
			spec.Image = test.image
			_, err := e.Start(t.Context(), spec)
			refused, final := errors.AsType[*executor.StartError](err)
			if err == nil || final != (test.says != "") || final && !strings.Contains(refused.Message, test.says) {
				t.Errorf("start: %v", err)
			}
			if strings.Contains(fmt.Sprint(err), registryPassword) {
				t.Errorf("the password is in %v", err)
			}
			list, err := e.List(t.Context())
			if err != nil || len(list) != 0 {
				t.Errorf("left are %v, %v", list, err)
			}
		})
	}
}
