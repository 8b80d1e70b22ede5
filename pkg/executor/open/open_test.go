package open

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/config"
)

// What the settings accept can be made.
func TestEveryKindIsMade(t *testing.T) {
	t.Parallel()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := `{current-context: a, contexts: [{name: a, context: {cluster: a}}], clusters: [{name: a, cluster: {server: "https://127.0.0.1:1"}}]}`
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{"": "local"}
	for _, kind := range config.Executors() {
		kinds[kind] = kind
	}
	for kind, want := range kinds {
		c := &config.Config{
			Executor: kind, Data: filepath.Join(t.TempDir(), "data"), Lightning: config.Lightning{APIKey: "key"},
			Kubernetes: config.Kubernetes{Kubeconfig: kubeconfig},
			Docker:     config.Docker{Shim: staticProgram(t), Machines: map[string]config.DockerLimits{"T4": {GPUs: 1}}},
		}
		e, err := Executor(c, nil, zap.NewNop())
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		if e.Name() != want {
			t.Errorf("%q makes %q", kind, e.Name())
		}
	}
}

func TestPoolsHaveInstancesOfTheirOwn(t *testing.T) {
	t.Parallel()
	for _, test := range [][3]string{{"", "", ""}, {"a", "", "a"}, {"", "gpu", "gpu"}, {"a", "gpu", "a-gpu"}} {
		if got := instance(test[0], test[1]); got != test[2] {
			t.Errorf("instance %q of pool %q is %q, want %q", test[0], test[1], got, test[2])
		}
	}
}

// staticProgram is as much of one as is looked at: this test may be linked
// dynamically.
func staticProgram(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	header := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: 1, Ehsize: 64}
	copy(header.Ident[:], "\x7fELF\x02\x01\x01")
	if err := binary.Write(&b, binary.LittleEndian, header); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "litci-shim")
	if err := os.WriteFile(path, b.Bytes(), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWhatCannotBeMadeIsNil(t *testing.T) {
	t.Parallel()
	for _, c := range []*config.Config{
		{Executor: "cloud"},
		{Executor: "docker", Docker: config.Docker{Shim: "/no/such/program"}},
		{Executor: "lightning"},
		{Executor: "kubernetes"}, // this test runs in no cluster
		{Executor: "kubernetes", Kubernetes: config.Kubernetes{Kubeconfig: filepath.Join(t.TempDir(), "none")}},
		{Executor: "local", Data: t.TempDir(), JobUser: "no such user"},
	} {
		if e, err := Executor(c, nil, zap.NewNop()); e != nil || err == nil {
			t.Errorf("%s: %v, %v", c.Executor, e, err)
		}
	}
}
