package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/moby/moby/client"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/executortest"
)

// Tests against a real engine. It is the one of the environment; the images are made
// here, from static programs of the machine.

// standIn is an image with bash and the usual tools.
const standIn = "litci-standin-bash:1"

// labelStandIn marks images that tests may replace.
const labelStandIn = "litci.standin"

// newEngine is an executor on the real engine, for an installation of its own.
func newEngine(t testing.TB, change func(*Options)) *Executor {
	t.Helper()
	options := Options{Instance: "test-" + strings.ToLower(rand.Text()[:10]), Shim: shimProgram(t), ShimArgs: []string{}, Pull: PullNever, Call: waitLimit}
	if change != nil {
		change(&options)
	}
	e, err := New(options)
	if err == nil {
		err = e.meet(t.Context())
	}
	if err != nil {
		t.Fatalf("%v\n(on Debian: apt-get install -y docker.io && dockerd &)", err)
	}
	t.Cleanup(func() { sweepEngine(t, e) })
	importStandIn(t, e)
	return e
}

// sweepEngine leaves nothing of the installation.
func sweepEngine(t testing.TB, e *Executor) {
	if err := e.Clear(context.Background()); err != nil {
		t.Error(err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// shimProgram builds what is copied into containers, once.
func shimProgram(t testing.TB) string {
	t.Helper()
	path, err := buildShim()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// shimDir is where it was built, if it was.
var shimDir atomic.Value

var buildShim = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "litci-shim-*")
	if err != nil {
		return "", err
	}
	shimDir.Store(dir)
	path := filepath.Join(dir, "shim")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "./cmd/litci-shim")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("program for the containers: %w: %s", err, out)
	}
	return path, nil
})

var imported sync.Mutex

// importStandIn makes the image unless it is there.
func importStandIn(t testing.TB, e *Executor) {
	t.Helper()
	imported.Lock()
	defer imported.Unlock()
	found, err := e.engine.ImageInspect(t.Context(), standIn)
	if err == nil {
		if found.Config == nil || found.Config.Labels[labelStandIn] != "1" {
			t.Fatalf("the engine has an image %s that is not a stand-in: remove it", standIn)
		}
		return
	}
	if !isMissing(err) {
		t.Fatal(err)
	}
	importImage(t, e, standIn, rootFS(t, map[string]string{"bin/bash": "/bin/bash-static", "bin/busybox": "/bin/busybox"}), "ENV PATH=/usr/bin:/bin", "ENV FROM_IMAGE=yes")
}

func importImage(t testing.TB, e *Executor, name string, files []byte, changes ...string) {
	t.Helper()
	repository, tag, _ := strings.Cut(name, ":")
	answer, err := e.engine.ImageImport(t.Context(), client.ImageImportSource{Source: bytes.NewReader(files), SourceName: "-"}, repository,
		client.ImageImportOptions{Tag: tag, Changes: append(changes, "LABEL "+labelStandIn+"=1")})
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Close()
	var said bytes.Buffer
	if _, err := said.ReadFrom(answer); err != nil || strings.Contains(said.String(), `"error"`) {
		t.Fatalf("image %s: %v: %s", name, err, said.String())
	}
}

// rootFS is a file system of static programs. Busybox gets all its names.
func rootFS(t testing.TB, programs map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	archive := tar.NewWriter(&b)
	add := func(header tar.Header, content []byte) {
		header.Size = int64(len(content))
		if err := archive.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"bin/", "etc/", "root/", "home/", "home/someone/", "tmp/"} {
		add(tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: map[bool]int64{true: 0o1777, false: 0o755}[dir == "tmp/"]}, nil)
	}
	add(tar.Header{Name: "etc/passwd", Mode: 0o644}, []byte("root:x:0:0::/root:/bin/bash\nsomeone:x:1234:5678::/home/someone:/bin/bash\n"))
	add(tar.Header{Name: "etc/group", Mode: 0o644}, []byte("root:x:0:\nothers:x:4321:\n"))
	for name, path := range programs {
		program, err := os.ReadFile(path)
		if err != nil {
			t.Fatalf("%v\n(on Debian: apt-get install -y busybox-static bash-static)", err)
		}
		add(tar.Header{Name: name, Mode: 0o755}, program)
	}
	if busybox := programs["bin/busybox"]; busybox != "" {
		list, err := exec.Command(busybox, "--list").Output()
		if err != nil {
			t.Fatal(err)
		}
		for name := range strings.Lines(string(list)) {
			if name = strings.TrimSpace(name); name != "busybox" && name != "bash" {
				add(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + name, Linkname: "busybox", Mode: 0o777}, nil)
			}
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestEngineSuite(t *testing.T) {
	e := newEngine(t, nil)
	executortest.Run(t, func(*testing.T) executor.Executor { return e }, executortest.Options{
		Prepare:   func(s *executor.Spec) { s.Image = standIn },
		Tombstone: true,
		Environment: slices.Concat([]string{"PATH", "HOME", "FROM_IMAGE"}, []string{
			"GITHUB_WORKSPACE", "LITCI_WORKSPACE", "GITHUB_STEP_SUMMARY", "LITCI_STEP_SUMMARY",
			"RUNNER_TEMP", "RUNNER_NAME", "RUNNER_OS", "RUNNER_ARCH",
		}),
	})
}
