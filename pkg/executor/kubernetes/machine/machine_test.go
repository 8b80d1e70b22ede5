package machine_test

import (
	"strings"
	"testing"

	"github.com/litci/litci/pkg/executor/kubernetes/machine"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	tolerating := func(one machine.Toleration) machine.Kind {
		return machine.Kind{Spot: &machine.Nodes{Tolerations: []machine.Toleration{one}}}
	}
	for name, test := range map[string]struct {
		kind machine.Kind
		says string
	}{
		"nothing asked":     {machine.Kind{}, ""},
		"everything asked":  {machine.Kind{CPU: "500m", CPULimit: "2", Memory: "8Gi", Storage: "1.5T", Resources: map[string]string{"nvidia.com/gpu": "1"}}, ""},
		"bad quantity":      {machine.Kind{Memory: "8 GB"}, `memory: "8 GB"`},
		"resource of none":  {machine.Kind{Resources: map[string]string{"nvidia.com/gpu": ""}}, "no amount"},
		"tolerates a taint": {tolerating(machine.Toleration{Key: "gpu", Operator: "Exists", Effect: "NoSchedule"}), ""},
		"tolerates all":     {tolerating(machine.Toleration{Operator: "Exists"}), ""},
		"unknown operator":  {tolerating(machine.Toleration{Key: "gpu", Operator: "In"}), `"In"`},
		"value in vain":     {tolerating(machine.Toleration{Key: "gpu", Operator: "Exists", Value: "l4"}), "no value"},
		"no key":            {tolerating(machine.Toleration{Value: "l4"}), "Exists"},
		"unknown effect":    {tolerating(machine.Toleration{Key: "gpu", Effect: "No"}), `"No"`},
	} {
		err := test.kind.Check()
		if test.says == "" && err != nil || test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSpotIsAddedForInterruptibleJobs(t *testing.T) {
	t.Parallel()
	k := machine.Kind{
		Nodes: machine.Nodes{Selector: map[string]string{"gpu": "l4"}},
		Spot:  &machine.Nodes{Selector: map[string]string{"spot": "true"}},
	}
	if n := k.For(true).Nodes.Selector; n["gpu"] != "l4" || n["spot"] != "true" {
		t.Errorf("interruptible: %v", n)
	}
	if n := k.For(false).Nodes.Selector; len(n) != 1 {
		t.Errorf("not interruptible: %v", n)
	}
	if len(k.Nodes.Selector) != 1 {
		t.Error("the kind itself has changed")
	}
}
