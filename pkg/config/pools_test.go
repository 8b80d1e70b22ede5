package config_test

import (
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/executor/kubernetes/machine"
)

const someFile = `
slots: 3
retention: 2h
data: /data
public-url: https://ci.example.com
infra-retries: 1
kubernetes-machines: &machines
  L4: &l4 {cpu: "4", resources: {nvidia.com/gpu: 1}}
pools:
  desk:
    slots: 1
    allow-forks: true
  other-desk: {data: /other}
  cluster:
    executor: kubernetes
    kubernetes-namespace: ci
    kubernetes-pull-secrets: [one, two]
    kubernetes-annotations: {Sidecar.example.com/Inject: "false, please"}
    kubernetes-log-tail: 1048576
    kubernetes-machines:
      CPU: {cpu: 500m, memory: 1Gi}
      a100:
        <<: *l4
        spot:
          selector: {spot: "true"}
          tolerations: [{key: spot, operator: Exists}]
`

func TestPoolsHaveSettingsOfTheirOwn(t *testing.T) {
	t.Parallel()
	file := write(t, "litci.yaml", someFile)
	cfg, err := config.Load(flags(t, "--config", file, "--slots", "4", "--nats-url", "nats://x"), config.Options{Environ: []string{"LITCI_RETENTION=3h"}}, "launcher", "watcher")
	if err != nil {
		t.Fatal(err)
	}
	served := cfg.Served()
	names := make([]string, len(served))
	for i, c := range served {
		names[i] = c.Pool
		if c.InfraRetries != 1 || c.Retention != 3*time.Hour || c.NATS.URL != "nats://x" {
			t.Errorf("pool %q has not what is everywhere: %+v", c.Pool, c)
		}
	}
	if !reflect.DeepEqual(names, []string{"", "cluster", "desk", "other-desk"}) {
		t.Fatalf("served are %q", names)
	}
	unnamed, cluster, desk, other := served[0], served[1], served[2], served[3]
	if unnamed.Slots != 4 || unnamed.Executor != "local" || unnamed.Data != "/data" || unnamed.AllowForks || unnamed.Kubernetes.Machines["L4"].CPU != "4" {
		t.Errorf("the unnamed pool is %+v", unnamed)
	}
	if desk.Slots != 1 || desk.Data != filepath.Join("/data", "pools", "desk") || !desk.AllowForks || desk.Kubernetes.Machines["L4"].CPU != "4" {
		t.Errorf("desk is %+v", desk)
	}
	if other.Slots != 4 || other.Data != "/other" {
		t.Errorf("other-desk is %+v", other)
	}
	want := config.Kubernetes{
		Namespace: "ci", Profile: "restricted", User: 1000, PullSecrets: []string{"one", "two"}, StartDeadline: 30 * time.Minute, TroubleDeadline: 5 * time.Minute,
		Annotations: map[string]string{"Sidecar.example.com/Inject": "false, please"}, LogTail: 1 << 20,
		Machines: map[string]machine.Kind{
			"CPU": {CPU: "500m", Memory: "1Gi"},
			"a100": {
				CPU: "4", Resources: map[string]string{"nvidia.com/gpu": "1"},
				Spot: &machine.Nodes{Selector: map[string]string{"spot": "true"}, Tolerations: []machine.Toleration{{Key: "spot", Operator: "Exists"}}},
			},
		},
	}
	if cluster.Executor != "kubernetes" || !reflect.DeepEqual(cluster.Kubernetes, want) {
		t.Errorf("cluster is %+v\nwant %+v", cluster.Kubernetes, want)
	}
}

func TestPoolChoosesOne(t *testing.T) {
	t.Parallel()
	file := write(t, "litci.yaml", someFile)
	for name, slots := range map[string]int{"desk": 1, "elsewhere": 3} {
		cfg, err := config.Load(flags(t, "--config", file, "--pool", name), config.Options{Environ: []string{}})
		if err != nil {
			t.Fatal(err)
		}
		served := cfg.Served()
		if len(served) != 1 || served[0].Pool != name || served[0].Slots != slots {
			t.Errorf("--pool %s serves %d pools, the first is %+v", name, len(served), served[0])
		}
		if cfg.Data != "/data" {
			t.Errorf("the process keeps its data in %s", cfg.Data)
		}
	}
	_, err := config.Load(flags(t, "--config", file, "--pool", "desk", "--slots", "2"), config.Options{Environ: []string{}})
	if err == nil || !strings.Contains(err.Error(), "pool desk has it in configuration file "+file+":11 too; keep one") {
		t.Errorf("%v", err)
	}
}

func TestWhatIsWrongInTheFileIsNamedByItsLine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		want []string
	}{
		"unknown key":              {"slots: 1\nslotz: 3\n", []string{`litci.yaml:2: unknown key "slotz"`}},
		"unknown key of a pool":    {"pools:\n  gpu:\n    slotz: 3\n", []string{`litci.yaml:3: pool gpu: unknown key "slotz"`}},
		"key of the process":       {"pools:\n  gpu:\n    nats-url: nats://x\n", []string{`litci.yaml:3: pool gpu: key "nats-url" is of the whole process`}},
		"name in a pool":           {"pools:\n  gpu:\n    pool: gpu\n", []string{`pool gpu: key "pool"`}},
		"malformed name":           {"pools:\n  gpu.desk:\n    slots: 1\n", []string{`litci.yaml:3: pool "gpu.desk"`, "letters, digits"}},
		"pool of no mapping":       {"pools:\n  gpu: 3\n", []string{"litci.yaml:2: pool gpu: want keys with values"}},
		"pools of no mapping":      {"pools: [gpu]\n", []string{"litci.yaml:1: pools: want keys with values"}},
		"value of a pool":          {"pools:\n  gpu: {slots: many, executor: cloud}\n", []string{`pool gpu: slots: "many"`, `pool gpu: executor: "cloud" is not known`}},
		"what a pool lacks":        {"pools:\n  gpu: {executor: lightning}\n", []string{"pool gpu: lightning-api-key is missing", "pool gpu: public-url is missing"}},
		"one folder for two":       {"pools:\n  a: {data: /x}\n  b: {data: /x/}\n", []string{"pool b: data: /x is the folder of pool a too"}},
		"folder of the unnamed":    {"data: /x\npools:\n  a: {data: /x}\n", []string{"pool a: data: /x is the folder of the unnamed pool too"}},
		"unknown key of a machine": {"kubernetes-machines:\n  L4:\n    cpus: 4\n", []string{"kubernetes-machines (in the configuration file)", "litci.yaml:1", `unknown field "cpus"`}},
		"quantity of a machine":    {"kubernetes-machines: {L4: {memory: 16 GB}}\n", []string{`machine L4: memory: "16 GB"`}},
		"twice":                    {"slots: 1\nslots: 2\n", []string{`litci.yaml: [2:1]`, "slots"}},
		"no YAML":                  {"webhook-secret: {canary\n", []string{"litci.yaml"}},
		"two documents":            {"slots: 1\n---\nslots: 2\n", []string{"more than one document"}},
		"profile":                  {"executor: kubernetes\nkubernetes-profile: root\npublic-url: https://x\n", []string{`"root" is neither restricted nor baseline`}},
		"context of no file":       {"executor: kubernetes\nkubernetes-context: a\n", []string{"--kubernetes-kubeconfig", "is missing", "--public-url"}},
	} {
		_, err := config.Load(flags(t, "--config", write(t, "litci.yaml", c.text), "--nats-url", "nats://x"), config.Options{Environ: []string{}}, "launcher", "watcher")
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q is missing in\n%v", name, want, err)
			}
		}
		if strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the file's text is quoted:\n%v", name, err)
		}
	}
}

// What is wrong everywhere is said once.
func TestPoolsRepeatNothing(t *testing.T) {
	t.Parallel()
	file := write(t, "litci.yaml", "queue-timeout: soon\ninfra-retries: 9\npools:\n  a: {slots: 1}\n  b: {slots: 2}\n")
	_, err := config.Load(flags(t, "--config", file, "--nats-url", "nats://x"), config.Options{Environ: []string{}}, "launcher")
	if err == nil || strings.Count(err.Error(), "queue-timeout") != 1 || strings.Count(err.Error(), "infra-retries") != 1 {
		t.Errorf("%v", err)
	}
}

func TestEmptyFileIsNoSettings(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "# nothing\n", "slots:\n", "pools:\n"} {
		cfg, err := config.Load(flags(t, "--config", write(t, "litci.yaml", text)), config.Options{Environ: []string{}})
		if err != nil || len(cfg.Pools) != 0 || cfg.Slots < 1 {
			t.Errorf("%q: %v", text, err)
		}
	}
}
