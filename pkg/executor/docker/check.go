package docker

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/moby/client"
)

// meet asks the engine who it is, until it has said so once.
func (e *Executor) meet(ctx context.Context) error {
	if e.known.Load() != nil {
		return nil
	}
	info, err := e.askInfo(ctx)
	if err == nil {
		err = e.shim.runsOn(info.arch)
	}
	if err != nil {
		return err
	}
	e.known.CompareAndSwap(nil, &info)
	return nil
}

// info is what the engine said when it was met.
func (e *Executor) info() engineInfo {
	if known := e.known.Load(); known != nil {
		return *known
	}
	return engineInfo{}
}

func (e *Executor) askInfo(ctx context.Context) (engineInfo, error) {
	ctx, cancel := e.call(ctx)
	defer cancel()
	// Later requests would hide that the two have no version in common.
	_, err := e.engine.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true})
	var found client.SystemInfoResult
	if err == nil {
		found, err = e.engine.Info(ctx, client.InfoOptions{})
	}
	if err != nil {
		return engineInfo{}, fmt.Errorf("docker: no engine answers at %s: %w (start it, set DOCKER_HOST, or give this user the right to use it)", e.engine.DaemonHost(), err)
	}
	if found.Info.OSType != "" && found.Info.OSType != "linux" {
		return engineInfo{}, fmt.Errorf("docker: the engine runs %s containers, and jobs need linux", found.Info.OSType)
	}
	info := engineInfo{id: found.Info.ID, name: found.Info.Name, arch: found.Info.Architecture}
	if info.id == "" {
		info.id = info.name
	}
	if info.id == "" {
		return engineInfo{}, errors.New("docker: the engine does not say who it is")
	}
	return info, nil
}

// Check asks the engine whether it can do what the options ask for. Its error says
// what to do.
func (e *Executor) Check(ctx context.Context) error {
	if err := e.meet(ctx); err != nil {
		return err
	}
	limited, cancel := e.call(ctx)
	defer cancel()
	found, err := e.engine.Info(limited, client.InfoOptions{})
	if err != nil {
		return fmt.Errorf("docker: no engine answers at %s: %w (start it, or set DOCKER_HOST)", e.engine.DaemonHost(), err)
	}
	var wrong []error
	limits := []Limits{e.options.Limits}
	for _, machine := range e.options.Machines {
		limits = append(limits, machine.over(e.options.Limits))
	}
	var cpus float64
	var memory int64
	gpu := false
	for _, l := range limits {
		cpus, memory, gpu = max(cpus, l.CPUs), max(memory, l.Memory), gpu || l.hasGPU()
	}
	info := found.Info
	if cpus > float64(info.NCPU) {
		wrong = append(wrong, fmt.Errorf("a job may use %g CPUs, and the engine has %d: lower the limit", cpus, info.NCPU))
	}
	if memory > info.MemTotal && info.MemTotal > 0 {
		wrong = append(wrong, fmt.Errorf("a job may use %d MiB of memory, and the engine has %d: lower the limit", memory>>20, info.MemTotal>>20))
	}
	if memory > 0 && !info.MemoryLimit {
		wrong = append(wrong, errors.New("the engine cannot limit memory: enable its memory cgroup, or leave the limit out"))
	}
	if cpus > 0 && !info.CPUCfsQuota {
		wrong = append(wrong, errors.New("the engine cannot limit CPUs: enable its cpu cgroup, or leave the limit out"))
	}
	if !info.PidsLimit {
		wrong = append(wrong, errors.New("the engine cannot limit processes: enable its pids cgroup"))
	}
	if _, nvidia := info.Runtimes["nvidia"]; gpu && !nvidia && len(info.CDISpecDirs) == 0 {
		wrong = append(wrong, errors.New("a machine has a GPU, and the engine has no NVIDIA runtime: install the NVIDIA Container Toolkit"))
	}
	if err := e.checkNetwork(ctx); err != nil {
		wrong = append(wrong, err)
	}
	if e.options.DockerConfig != "" {
		if _, err := readDockerConfig(e.options.DockerConfig); err != nil {
			wrong = append(wrong, err)
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	texts := make([]string, len(wrong))
	for i, err := range wrong {
		texts[i] = err.Error()
	}
	return fmt.Errorf("docker engine %s: %s", e.info().name, strings.Join(texts, "; "))
}

// checkNetwork looks for the network that was named. The jobs' own is made when the
// first of them comes.
func (e *Executor) checkNetwork(ctx context.Context) error {
	name := e.options.Network
	if name == "" || name == NetworkNone {
		return nil
	}
	ctx, cancel := e.call(ctx)
	defer cancel()
	_, err := e.engine.NetworkInspect(ctx, name, client.NetworkInspectOptions{})
	if isMissing(err) {
		return fmt.Errorf("network %s is not there: create it, or leave the setting out", name)
	}
	return err
}
