package docker

import (
	"archive/tar"
	"bytes"
	"cmp"
	"crypto/rand"
	"debug/elf"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/volume"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/local"
)

// double is an engine without containers: it keeps the states of the Engine API with
// its answers, and does at a start what the supervisor would. Jobs run until end.
type double struct {
	t       *testing.T
	server  *httptest.Server
	version string

	mu         sync.Mutex
	containers map[string]*doubleContainer // by id
	volumes    map[string]volume.Volume
	networks   []network.Network
	images     map[string]bool
	requests   []string
	// runs is how often each job's script was begun.
	runs map[string]int
	// pull is the stream of a pull; nil says that there is no such image.
	pull func(w io.Writer, image string)
	// before is called before a request is answered, outside the lock; true means that
	// it answered itself. after is called behind it, before the answer is sent.
	before func(w http.ResponseWriter, q *http.Request) bool
	after  func(q *http.Request)
}

type doubleContainer struct {
	id, name string
	created  time.Time
	config   container.Config
	host     container.HostConfig
	state    container.State
	files    map[string]doubleFile
}

type doubleFile struct {
	header  tar.Header
	content []byte
}

func newDouble(t *testing.T) *double {
	d := &double{
		t: t, version: "1.41", containers: map[string]*doubleContainer{}, volumes: map[string]volume.Volume{},
		images: map[string]bool{"image:1": true}, runs: map[string]int{},
	}
	d.server = httptest.NewServer(d)
	t.Cleanup(d.server.Close)
	return d
}

// executor is one more launcher of the double.
func (d *double) executor(change func(*Options)) *Executor {
	d.t.Helper()
	e, err := New(d.options(change))
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { e.Close() })
	return e
}

func (d *double) options(change func(*Options)) Options {
	options := Options{Host: "tcp://" + strings.TrimPrefix(d.server.URL, "http://"), Shim: staticProgram(d.t), Image: "image:1", Network: "test", Call: waitLimit}
	if change != nil {
		change(&options)
	}
	return options
}

// staticProgram is as much of a program as is looked at.
func staticProgram(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	header := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Ehsize: 64}
	copy(header.Ident[:], "\x7fELF\x02\x01\x01")
	if err := binary.Write(&b, binary.LittleEndian, header); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "litci")
	if err := os.WriteFile(path, b.Bytes(), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func fail(w http.ResponseWriter, code int, format string, args ...any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]string{"message": fmt.Sprintf(format, args...)})
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}

// ServeHTTP answers as the engine does.
func (d *double) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if q.URL.Path == "/_ping" {
		w.Header().Set("Api-Version", d.version)
		w.Header().Set("Ostype", "linux")
		return
	}
	d.mu.Lock()
	d.requests = append(d.requests, q.Method+" "+q.URL.Path)
	before, after := d.before, d.after
	d.mu.Unlock()
	if before != nil && before(w, q) {
		return
	}
	body, err := io.ReadAll(q.Body)
	if err != nil {
		return // the client broke off
	}
	answered := httptest.NewRecorder()
	d.mu.Lock()
	d.handle(answered, q, body)
	d.mu.Unlock()
	if after != nil {
		after(q)
	}
	maps.Copy(w.Header(), answered.Header())
	w.WriteHeader(answered.Code)
	_, _ = w.Write(answered.Body.Bytes())
}

func (d *double) handle(w http.ResponseWriter, q *http.Request, body []byte) {
	parts := strings.Split(strings.Trim(q.URL.Path, "/"), "/")[1:] // without the version
	call := q.Method + " " + parts[0]
	switch {
	case call == "GET info":
		answer(w, 200, map[string]any{
			"ID": "ENGINE", "Name": "double", "OSType": "linux", "Architecture": "x86_64", "NCPU": 4, "MemTotal": 8 << 30,
			"MemoryLimit": true, "CpuCfsQuota": true, "PidsLimit": true,
		})
	case call == "POST containers" && parts[1] == "create":
		d.create(w, q.URL.Query().Get("name"), body)
	case call == "GET containers" && parts[1] == "json":
		list := []container.Summary{}
		for _, c := range d.containers {
			list = append(list, container.Summary{ID: c.id, Names: []string{"/" + c.name}, Labels: c.config.Labels, State: c.state.Status, Created: c.created.Unix()})
		}
		answer(w, 200, list)
	case strings.HasSuffix(call, " containers"):
		c := d.container(parts[1])
		if c == nil {
			fail(w, 404, "No such container: %s", parts[1])
			return
		}
		d.one(w, q, c, append(parts, "")[2], body)
	case call == "POST images":
		if d.pull == nil {
			fail(w, 404, "pull access denied for %s, repository does not exist or may require 'docker login'", q.URL.Query().Get("fromImage"))
			return
		}
		d.pull(w, q.URL.Query().Get("fromImage")+":"+q.URL.Query().Get("tag"))
	case call == "GET images":
		answer(w, 200, map[string]any{"Id": parts[1], "RepoDigests": []string{"image@" + digestOf(nil)}})
	case call == "GET networks" && len(parts) > 1:
		fail(w, 404, "network %s not found", parts[1])
	case call == "GET networks":
		answer(w, 200, d.networks)
	case call == "POST networks":
		var n network.Network
		if err := json.Unmarshal(body, &n); err != nil {
			fail(w, 400, "%v", err)
			return
		}
		n.ID, n.Created = rand.Text(), time.Now()
		d.networks = append(d.networks, n) // twice the same name, as before API 1.44
		answer(w, 201, map[string]string{"Id": n.ID})
	case call == "POST volumes":
		var v volume.Volume
		if err := json.Unmarshal(body, &v); err != nil {
			fail(w, 400, "%v", err)
			return
		}
		if _, there := d.volumes[v.Name]; !there {
			d.volumes[v.Name] = v
		}
		answer(w, 201, d.volumes[v.Name])
	case call == "GET volumes" && len(parts) == 1:
		list := []volume.Volume{}
		for _, v := range d.volumes {
			list = append(list, v)
		}
		answer(w, 200, map[string]any{"Volumes": list})
	case strings.HasSuffix(call, " volumes"):
		v, there := d.volumes[parts[1]]
		if !there {
			fail(w, 404, "get %s: no such volume", parts[1])
			return
		}
		if q.Method == "DELETE" {
			delete(d.volumes, parts[1])
			w.WriteHeader(204)
			return
		}
		answer(w, 200, v)
	default:
		fail(w, 404, "page not found: %s", q.URL.Path)
	}
}

func (d *double) container(ref string) *doubleContainer {
	for _, c := range d.containers {
		if c.id == ref || c.name == ref {
			return c
		}
	}
	return nil
}

func (d *double) create(w http.ResponseWriter, name string, body []byte) {
	var want struct {
		container.Config
		HostConfig container.HostConfig
	}
	if err := json.Unmarshal(body, &want); err != nil {
		fail(w, 400, "%v", err)
		return
	}
	switch {
	case d.container(name) != nil:
		fail(w, 409, "Conflict. The container name %q is already in use", "/"+name)
		return
	case !d.images[want.Image]:
		fail(w, 404, "No such image: %s", want.Image)
		return
	case want.HostConfig.NanoCPUs > 4e9:
		fail(w, 400, "Range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available")
		return
	}
	c := &doubleContainer{id: rand.Text(), name: name, created: time.Now(), config: want.Config, host: want.HostConfig, files: map[string]doubleFile{
		"/bin/bash": {header: tar.Header{Typeflag: tar.TypeReg, Name: "bash"}},
	}}
	c.state.Status = container.StateCreated
	d.containers[c.id] = c
	answer(w, 201, map[string]string{"Id": c.id})
}

// one is a request about one container.
func (d *double) one(w http.ResponseWriter, q *http.Request, c *doubleContainer, what string, body []byte) {
	running := c.state.Status == container.StateRunning
	switch q.Method + " " + what {
	case "GET json":
		answer(w, 200, container.InspectResponse{ID: c.id, Name: "/" + c.name, Created: c.created.Format(time.RFC3339Nano), Image: "sha256:image", State: &c.state, Config: &c.config, HostConfig: &c.host})
	case "POST start":
		switch {
		case running:
			w.WriteHeader(304)
		case len(c.host.DeviceRequests) > 0:
			fail(w, 500, `could not select device driver "" with capabilities: [[gpu]]`)
		default:
			d.begin(w, c)
		}
	case "POST kill":
		if !running {
			fail(w, 409, "Cannot kill container: %s: Container is not running", c.id)
			return
		}
		if q.URL.Query().Get("signal") == "SIGKILL" {
			c.exit(137)
		}
		w.WriteHeader(204)
	case "POST rename":
		name := q.URL.Query().Get("name")
		if d.container(name) != nil {
			fail(w, 409, "name %s is in use", name)
			return
		}
		c.name = name
		w.WriteHeader(204)
	case "DELETE ":
		if running && q.URL.Query().Get("force") != "1" {
			fail(w, 409, "You cannot remove a running container %s", c.id)
			return
		}
		delete(d.containers, c.id)
		w.WriteHeader(204)
	case "PUT archive":
		c.unpack(d.t, body)
	case "GET archive", "HEAD archive":
		name := q.URL.Query().Get("path")
		file, there := c.files[name]
		if !there {
			fail(w, 404, "Could not find the file %s in container %s", name, c.id)
			return
		}
		stat, _ := json.Marshal(container.PathStat{Name: path.Base(name), Size: int64(len(file.content)), Mtime: file.header.ModTime})
		w.Header().Set("X-Docker-Container-Path-Stat", base64.StdEncoding.EncodeToString(stat))
		if q.Method == "GET" {
			c.pack(d.t, w, name)
		}
	case "GET logs":
	default:
		fail(w, 404, "page not found: %s", q.URL.Path)
	}
}

func (c *doubleContainer) exit(code int) {
	c.state.Status, c.state.Running, c.state.ExitCode = container.StateExited, false, code
	c.state.FinishedAt = time.Now().UTC().Format(time.RFC3339Nano)
}

// begin is a start, of a container that may have run before, with what the entrypoint
// does.
func (d *double) begin(w http.ResponseWriter, c *doubleContainer) {
	ready, there := c.files[readyPath]
	from := path.Join(root, ready.header.Linkname)
	if _, entry := c.files[path.Join(from, shimName)]; !there || !entry {
		fail(w, 400, "OCI runtime create failed: exec: %q: no such file or directory", shimPath)
		return
	}
	c.state.Status, c.state.Running = container.StateRunning, true
	c.state.StartedAt = time.Now().UTC().Format(time.RFC3339Nano)
	w.WriteHeader(204)
	if _, begun := c.files[jobPath]; begun {
		c.exit(local.ExitRefused)
		return
	}
	for name, file := range maps.Clone(c.files) {
		if name == from || strings.HasPrefix(name, from+"/") {
			delete(c.files, name)
			c.files[jobPath+strings.TrimPrefix(name, from)] = file
		}
	}
	d.runs[c.config.Labels[labelJob]]++
	c.record(executor.State{Phase: executor.Running, StartedAt: time.Now().UTC()})
}

// record writes the state file.
func (c *doubleContainer) record(state executor.State) {
	data, _ := json.Marshal(map[string]any{"id": c.config.Labels[labelJob], "state": state})
	c.files[path.Join(jobPath, local.StateFile)] = doubleFile{tar.Header{Typeflag: tar.TypeReg, Name: local.StateFile}, data}
}

func (c *doubleContainer) unpack(t *testing.T, data []byte) {
	for archive := tar.NewReader(bytes.NewReader(data)); ; {
		header, err := archive.Next()
		if err != nil {
			return // what a copy that broke off has brought stays
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			t.Logf("archive: %v", err)
			return
		}
		c.files[path.Join("/", header.Name)] = doubleFile{*header, content}
	}
}

func (c *doubleContainer) pack(t *testing.T, w io.Writer, name string) {
	archive := tar.NewWriter(w)
	for full, file := range c.files {
		if full != name && !strings.HasPrefix(full, name+"/") {
			continue
		}
		header := file.header
		header.Name, header.Size = strings.TrimPrefix(full, path.Dir(name)+"/"), int64(len(file.content))
		if err := archive.WriteHeader(&header); err != nil {
			t.Error(err)
		}
		_, _ = archive.Write(file.content)
	}
	if err := archive.Close(); err != nil {
		t.Error(err)
	}
}

// change works on the container of a name.
func (d *double) change(name string, change func(c *doubleContainer)) {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.container(name)
	if c == nil {
		d.t.Fatalf("no container %s", name)
	}
	change(c)
}

// end lets a job's script exit.
func (d *double) end(name string, code int) {
	d.t.Helper()
	d.change(name, func(c *doubleContainer) {
		now := time.Now().UTC()
		c.record(executor.State{Phase: executor.Ended, Reason: executor.ReasonExit, ExitCode: &code, StartedAt: now, FinishedAt: now})
		c.exit(0)
	})
}

// ran is how often a job's script was begun.
func (d *double) ran(id string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.runs[id]
}

// count is how many requests there were of a kind: "POST start".
func (d *double) count(what string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	method, end, _ := strings.Cut(what, " ")
	n := 0
	for _, request := range d.requests {
		if strings.HasPrefix(request, method+" ") && strings.HasSuffix(request, "/"+end) {
			n++
		}
	}
	return n
}

// once runs f at the first request that ends so; answered says whether f answers.
func (d *double) once(what string, f func(w http.ResponseWriter) (answered bool)) {
	method, end, _ := strings.Cut(what, " ")
	var done atomic.Bool
	d.mu.Lock()
	defer d.mu.Unlock()
	d.before = func(w http.ResponseWriter, q *http.Request) bool {
		return q.Method == method && strings.HasSuffix(q.URL.Path, "/"+end) && done.CompareAndSwap(false, true) && f(w)
	}
}

// loseAnswer drops the connection behind the first request that ends so, which has
// had its effect.
func (d *double) loseAnswer(what string) {
	method, end, _ := strings.Cut(what, " ")
	var done atomic.Bool
	d.mu.Lock()
	defer d.mu.Unlock()
	d.after = func(q *http.Request) {
		if q.Method == method && strings.HasSuffix(q.URL.Path, "/"+end) && done.CompareAndSwap(false, true) {
			panic(http.ErrAbortHandler)
		}
	}
}

// plain is a job for the double.
func plain(id string) executor.Spec {
	return executor.Spec{ID: cmp.Or(id, "litci-job"), Hash: "h", Script: []byte("true\n")}
}
