// Package machine says what the machines that workflows name mean on a Kubernetes
// cluster. It stands apart from the executor, so that settings which hold machines
// link no more than this.
package machine

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/litci/litci/pkg/executor"
)

// Default is the name of the machine of workflows that name none.
const Default = "CPU"

// Kind is what one name means. Quantities are written as Kubernetes does: "500m",
// "4", "8Gi".
type Kind struct {
	// CPU is requested, and CPULimit the most that is given; an empty limit is none.
	CPU      string `yaml:"cpu"`
	CPULimit string `yaml:"cpu_limit"`
	// Memory is requested and the limit at once.
	Memory string `yaml:"memory"`
	// Storage bounds what workspace, temporary files and log take of the node's disk.
	Storage string `yaml:"storage"`
	// SharedMemory is the size of /dev/shm, a part of Memory; empty means the runtime's
	// 64 MiB.
	SharedMemory string `yaml:"shared_memory"`
	// Resources are others, by name: nvidia.com/gpu.
	Resources map[string]string `yaml:"resources"`
	// Nodes chooses the nodes.
	Nodes Nodes `yaml:"nodes"`
	// Spot is added for interruptible jobs. Without it they run as all others.
	Spot *Nodes `yaml:"spot"`
	// RuntimeClass and PriorityClass name such objects of the cluster.
	RuntimeClass  string `yaml:"runtime_class"`
	PriorityClass string `yaml:"priority_class"`
}

// Nodes chooses nodes.
type Nodes struct {
	// Selector are labels that a node must have.
	Selector map[string]string `yaml:"selector"`
	// Tolerations are the taints that a node may have.
	Tolerations []Toleration `yaml:"tolerations"`
}

// Toleration is one of Kubernetes.
type Toleration struct {
	Key      string `json:"key,omitempty" yaml:"key"`
	Operator string `json:"operator,omitempty" yaml:"operator"`
	Value    string `json:"value,omitempty" yaml:"value"`
	Effect   string `json:"effect,omitempty" yaml:"effect"`
}

// Check refuses what the cluster would refuse with every job.
func (k Kind) Check() error {
	all := map[string]string{"cpu": k.CPU, "cpu_limit": k.CPULimit, "memory": k.Memory, "storage": k.Storage, "shared_memory": k.SharedMemory}
	for name, amount := range k.Resources {
		if strings.Trim(name, " ") == "" || amount == "" {
			return errors.New("a resource has no name or no amount")
		}
		all["resource "+name] = amount
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if amount := all[name]; amount != "" {
			if _, err := executor.Thousandths(amount); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	nodes := []Nodes{k.Nodes}
	if k.Spot != nil {
		nodes = append(nodes, *k.Spot)
	}
	for _, n := range nodes {
		for _, t := range n.Tolerations {
			if err := t.check(); err != nil {
				return fmt.Errorf("toleration of %q: %w", t.Key, err)
			}
		}
	}
	return nil
}

// check is the API's own rule.
func (t Toleration) check() error {
	switch {
	case !slices.Contains([]string{"", "Equal", "Exists"}, t.Operator):
		return fmt.Errorf("operator %q is neither Equal nor Exists", t.Operator)
	case t.Operator == "Exists" && t.Value != "":
		return errors.New("operator Exists takes no value")
	case t.Operator != "Exists" && t.Key == "":
		return errors.New("without a key the operator is Exists")
	case !slices.Contains([]string{"", "NoSchedule", "PreferNoSchedule", "NoExecute"}, t.Effect):
		return fmt.Errorf("effect %q is none of NoSchedule, PreferNoSchedule and NoExecute", t.Effect)
	}
	return nil
}

// GPU is the name of the machine's GPUs: those that vendors' device plugins give them
// (https://kubernetes.io/docs/tasks/manage-gpus/scheduling-gpus/).
func (k Kind) GPU() string {
	for _, name := range slices.Sorted(maps.Keys(k.Resources)) {
		if vendor, kind, ok := strings.Cut(name, "/"); ok && (vendor == "nvidia.com" || strings.HasPrefix(kind, "gpu") && (vendor == "amd.com" || strings.HasSuffix(vendor, "intel.com"))) {
			return name
		}
	}
	return ""
}

// For is the kind for one job: with the nodes of Spot where the job may be
// interrupted.
func (k Kind) For(interruptible bool) Kind {
	if !interruptible || k.Spot == nil {
		return k
	}
	selector := map[string]string{}
	maps.Copy(selector, k.Nodes.Selector)
	maps.Copy(selector, k.Spot.Selector)
	k.Nodes = Nodes{Selector: selector, Tolerations: slices.Concat(k.Nodes.Tolerations, k.Spot.Tolerations)}
	return k
}
