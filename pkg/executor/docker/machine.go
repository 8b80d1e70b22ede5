package docker

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/container"

	"github.com/litci/litci/pkg/executor"
)

// Limits are what a job may use. Zero means no limit, or the default where one is
// named.
type Limits struct {
	// CPUs is a number of processors, parts of one too.
	CPUs float64
	// Memory is in bytes; there is no swap beyond it.
	Memory int64
	// PIDs bounds processes and threads; zero means 4096.
	PIDs int64
	// Files bounds the open files of a process; zero means what the engine gives. It
	// cannot be more than the engine itself may have, unless that may raise its own.
	Files int64
	// Shm is the size of /dev/shm in bytes; zero means 1 GiB.
	Shm int64
	// GPUs is a number of GPUs, -1 for all. Devices names them instead.
	GPUs    int
	Devices []string
}

func defaultLimits() Limits { return Limits{PIDs: 4096, Shm: 1 << 30} }

// over fills what is zero from usual.
func (l Limits) over(usual Limits) Limits {
	l.CPUs = cmp.Or(l.CPUs, usual.CPUs)
	l.Memory = cmp.Or(l.Memory, usual.Memory)
	l.PIDs = cmp.Or(l.PIDs, usual.PIDs)
	l.Files = cmp.Or(l.Files, usual.Files)
	l.Shm = cmp.Or(l.Shm, usual.Shm)
	if l.GPUs == 0 && len(l.Devices) == 0 {
		l.GPUs, l.Devices = usual.GPUs, usual.Devices
	}
	return l
}

func (l Limits) check() error {
	switch {
	case l.CPUs < 0, l.Memory < 0, l.PIDs < 0, l.Files < 0, l.Shm < 0:
		return errors.New("a limit is negative")
	case l.Memory > 0 && l.Memory < 32<<20:
		return fmt.Errorf("%d bytes of memory are not enough for any job", l.Memory)
	case l.GPUs < -1:
		return errors.New("the number of GPUs is -1 for all, or how many")
	case l.GPUs != 0 && len(l.Devices) > 0:
		return errors.New("GPUs are asked for by number or by name, not both")
	}
	return nil
}

func (l Limits) hasGPU() bool { return l.GPUs != 0 || len(l.Devices) > 0 }

// anyMachine is the name in the map for all that are not in it.
const anyMachine = "*"

// limits are those of a machine type. A name that promises a GPU which nobody
// configured is refused: the job would fail without one, and later.
func (o *Options) limits(machine string) (Limits, error) {
	if found, ok := o.Machines[machine]; ok {
		return found.over(o.Limits), nil
	}
	if found, ok := o.Machines[anyMachine]; ok {
		return found.over(o.Limits), nil
	}
	if machine == "" || strings.HasPrefix(machine, "CPU") || strings.HasPrefix(machine, "DATA_PREP") {
		return o.Limits, nil
	}
	has := []string{"CPU"}
	for _, name := range slices.Sorted(maps.Keys(o.Machines)) {
		if name != "CPU" {
			has = append(has, name)
		}
	}
	return Limits{}, &executor.StartError{
		Message: fmt.Sprintf("machine %s is not known to this pool, which has %s", machine, strings.Join(has, ", ")),
	}
}

// grant gives a job what it asks for of what its machine allows.
func (l Limits) grant(machine string, asks executor.Resources) (Limits, error) {
	has := executor.Resources{MilliCPU: int64(math.Round(l.CPUs * 1000)), Memory: l.Memory, GPUs: max(l.GPUs, len(l.Devices))}
	if l.GPUs < 0 {
		has.GPUs = executor.EveryGPU
	}
	if err := asks.Within(machine, has); err != nil {
		return l, err
	}
	if asks.MilliCPU > 0 {
		l.CPUs = float64(asks.MilliCPU) / 1000
	}
	l.Memory = cmp.Or(asks.Memory, l.Memory)
	switch {
	case asks.GPUs == 0:
	case len(l.Devices) > 0:
		l.Devices = l.Devices[:asks.GPUs]
	default:
		l.GPUs = asks.GPUs
	}
	if err := l.check(); err != nil {
		return l, &executor.StartError{Message: "resources: " + err.Error()}
	}
	return l, nil
}

// hostConfig is a container that has what the limits allow and nothing else.
func (o *Options) hostConfig(limits Limits, network string) *container.HostConfig {
	no := false
	host := &container.HostConfig{
		// Its log has only what a supervisor says that cannot work.
		LogConfig:     container.LogConfig{Type: "local", Config: map[string]string{"max-size": "1m", "max-file": "1", "compress": "false"}},
		NetworkMode:   container.NetworkMode(network),
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyDisabled},
		CapDrop:       []string{"ALL"},
		CapAdd:        o.Capabilities,
		SecurityOpt:   []string{"no-new-privileges:true"},
		IpcMode:       container.IPCModePrivate,
		ShmSize:       limits.Shm,
		Init:          &no,
		Resources: container.Resources{
			NanoCPUs: int64(limits.CPUs * 1e9), Memory: limits.Memory, MemorySwap: limits.Memory, PidsLimit: &limits.PIDs,
			Ulimits: []*container.Ulimit{{Name: "core"}},
		},
	}
	if limits.Files > 0 {
		host.Ulimits = append(host.Ulimits, &container.Ulimit{Name: "nofile", Soft: limits.Files, Hard: limits.Files})
	}
	if limits.hasGPU() {
		host.DeviceRequests = []container.DeviceRequest{{
			Count: limits.GPUs, DeviceIDs: limits.Devices, Capabilities: [][]string{{"gpu"}},
		}}
	}
	return host
}
