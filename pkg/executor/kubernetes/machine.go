package kubernetes

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/kubernetes/machine"
)

// machine is the kind that a job asks for.
func (e *Executor) machine(spec executor.Spec) (machine.Kind, error) {
	name := cmp.Or(spec.Machine, machine.Default)
	kind, known := e.config.Machines[name]
	switch {
	case known:
	case name == machine.Default:
		kind = machine.Kind{CPU: "1", Memory: "2Gi"}
	default:
		names := slices.Collect(maps.Keys(e.config.Machines))
		if _, own := e.config.Machines[machine.Default]; !own {
			names = append(names, machine.Default)
		}
		slices.Sort(names)
		return machine.Kind{}, &executor.StartError{Message: fmt.Sprintf("this cluster has no machine %q; it has %s", name, strings.Join(names, ", "))}
	}
	kind, err := grant(kind, name, spec.Resources, known)
	if err != nil {
		return machine.Kind{}, err
	}
	return kind.For(spec.Interruptible), nil
}

// grant gives a job what it asks for. A machine that an operator described bounds it;
// the one that stands for none does not: the cluster's own quotas do.
func grant(kind machine.Kind, name string, asks executor.Resources, bounded bool) (machine.Kind, error) {
	var has executor.Resources
	// An operator's quantities were checked, and an empty one is no bound.
	if bounded {
		has.MilliCPU, _ = executor.Thousandths(cmp.Or(kind.CPULimit, kind.CPU))
		has.Memory, _ = executor.Whole(kind.Memory)
	}
	gpu := kind.GPU()
	if gpu != "" {
		amount, _ := executor.Whole(kind.Resources[gpu])
		has.GPUs = int(amount)
	}
	if err := asks.Within(name, has); err != nil {
		return kind, err
	}
	if asks.MilliCPU > 0 {
		kind.CPU = strconv.FormatInt(asks.MilliCPU, 10) + "m"
	}
	if asks.Memory > 0 {
		kind.Memory = strconv.FormatInt(asks.Memory, 10)
	}
	if asks.GPUs > 0 {
		kind.Resources = maps.Clone(kind.Resources)
		kind.Resources[gpu] = strconv.Itoa(asks.GPUs)
	}
	return kind, nil
}

// wantsDriver says that the machine has a GPU of those whose driver the job's wrapper
// looks for.
func wantsDriver(kind machine.Kind) bool { return strings.HasPrefix(kind.GPU(), "nvidia.com/") }

// resourcesOf are requests and limits. What is limited alone is requested by it.
func resourcesOf(kind machine.Kind) resources {
	r := resources{Requests: map[string]string{}, Limits: map[string]string{}}
	set := func(name, request, limit string) {
		if request != "" {
			r.Requests[name] = request
		}
		if limit != "" {
			r.Limits[name] = limit
		}
	}
	set("cpu", kind.CPU, kind.CPULimit)
	set("memory", kind.Memory, kind.Memory)
	set("ephemeral-storage", kind.Storage, kind.Storage)
	for name, amount := range kind.Resources {
		set(name, amount, amount)
	}
	return r
}
