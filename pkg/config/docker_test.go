package config_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/litci/litci/pkg/config"
)

func TestDocker(t *testing.T) {
	t.Parallel()
	env := []string{"DOCKER_HOST=tcp://engine:2376", "LITCI_DOCKER_PULL=always"}
	cfg, err := config.Load(flags(t, "--nats-url", "nats://x", "--executor", "docker", "--docker-limits", "cpus:1.5 memory:512MiB pids:100",
		"--docker-machines", "A100=gpus:all memory:64g, T4=device:GPU-1 device:GPU-2,*=cpus:4", "--docker-capabilities", "CHOWN, SETUID"),
		config.Options{Environ: env}, "launcher", "watcher")
	if err != nil {
		t.Fatal(err)
	}
	want := config.Docker{
		Host: "tcp://engine:2376", Pull: "always", Capabilities: []string{"CHOWN", "SETUID"},
		Limits: config.DockerLimits{CPUs: 1.5, Memory: 512 << 20, PIDs: 100},
		Machines: map[string]config.DockerLimits{
			"A100": {GPUs: -1, Memory: 64 << 30}, "T4": {Devices: []string{"GPU-1", "GPU-2"}}, "*": {CPUs: 4},
		},
	}
	if !reflect.DeepEqual(cfg.Docker, want) {
		t.Errorf("%+v, want %+v", cfg.Docker, want)
	}
}

func TestDockerProblems(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ flag, value, want string }{
		{"--docker-pull", "sometimes", `--docker-pull (LITCI_DOCKER_PULL): "sometimes" is not known`},
		{"--docker-network", "host", "give jobs the host"},
		{"--docker-network", "container:db", "give jobs the host"},
		{"--docker-limits", "cpus:many", `cpus:many: "many" is not a number of processors`},
		{"--docker-limits", "cpus:-1", "not a number of processors"},
		{"--docker-limits", "cpus:NaN", "not a number of processors"},
		{"--docker-limits", "memory:4X", `"4X" is not a size`},
		{"--docker-limits", "memory:-4g", `"-4g" is not a size`},
		{"--docker-limits", "memory:9999999t", "is not a size"},
		{"--docker-limits", "memory:1MiB", "too few for any job"},
		{"--docker-limits", "pids:0", "1 or more"},
		{"--docker-limits", "gpus:-2", `neither "all" nor a number`},
		{"--docker-limits", "disk:1GiB", "it is not one of cpus, memory"},
		{"--docker-limits", "gpus:1 device:0", "exclude each other"},
		{"--docker-machines", "T4", `"T4" is not a pair such as A100=gpus:1`},
		{"--docker-machines", "T4=memory:1k", "--docker-machines (LITCI_DOCKER_MACHINES): 1024 bytes of memory are too few"},
	} {
		_, err := config.Load(flags(t, "--nats-url", "nats://x", "--executor", "docker", test.flag, test.value), config.Options{Environ: []string{}}, "launcher")
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s %s: %v, want %q", test.flag, test.value, err, test.want)
		}
	}
}
