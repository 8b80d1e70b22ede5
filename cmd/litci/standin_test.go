package main

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/litci/litci/pkg/config"
)

// withDocker says that tests use the Docker engine, which must then be there.
func withDocker() bool { return os.Getenv("LITCI_TEST_DOCKER") == "on" }

// standIn is an image with bash and the usual tools, for tests without a registry.
const standIn = "litci-standin-mesh:1"

// engine is an installation of a test's own on the Docker engine, with the image
// standIn. What it leaves goes with the test.
func engine(t testing.TB) config.Docker {
	t.Helper()
	d := config.Docker{Instance: "mesh-" + strings.ToLower(rand.Text()[:10]), Pull: "never", Shim: filepath.Join(t.TempDir(), "litci-shim")}
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", d.Shim, "github.com/litci/litci/pkg/executor/docker/cmd/litci-shim")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("program for the containers: %v\n%s", err, out)
	}
	if exec.Command("docker", "image", "inspect", standIn).Run() != nil {
		importStandIn(t)
	}
	t.Cleanup(func() {
		for _, id := range containers(t, d.Instance) {
			command(t, "docker", "rm", "-f", "-v", id)
		}
		for _, id := range labelled(t, d.Instance, "network", "ls") {
			command(t, "docker", "network", "rm", id)
		}
	})
	return d
}

// containers are those of an installation and its pools.
func containers(t testing.TB, instance string) []string {
	t.Helper()
	return labelled(t, instance, "ps", "-a")
}

func labelled(t testing.TB, instance string, list ...string) []string {
	t.Helper()
	var found []string
	all := command(t, "docker", append(list, "--filter", "label=litci.instance", "--format", `{{.ID}} {{.Label "litci.instance"}}`)...)
	for line := range strings.Lines(all) {
		if id, of, _ := strings.Cut(strings.TrimSpace(line), " "); of == instance || strings.HasPrefix(of, instance+"-") {
			found = append(found, id)
		}
	}
	return found
}

// command runs a program that must succeed, and returns what it prints.
func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			out = failed.Stderr
		}
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func importStandIn(t testing.TB) {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"bin", "etc", "root", "tmp"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(root, "tmp"), fs.ModeSticky|0o777); err != nil {
		t.Fatal(err)
	}
	for to, from := range map[string]string{"bash": "/bin/bash-static", "busybox": "/bin/busybox"} {
		program, err := os.ReadFile(from)
		if err != nil {
			t.Fatalf("%v\n(on Debian: apt-get install -y busybox-static bash-static)", err)
		}
		if err := os.WriteFile(filepath.Join(root, "bin", to), program, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name := range strings.FieldsSeq(command(t, "/bin/busybox", "--list")) {
		if name == "busybox" || name == "bash" {
			continue
		}
		if err := os.Symlink("busybox", filepath.Join(root, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "etc", "passwd"), []byte("root:x:0:0::/root:/bin/bash\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), "root.tar")
	command(t, "tar", "-C", root, "-cf", archive, ".")
	command(t, "docker", "import", "--change", "ENV PATH=/bin", archive, standIn)
}
