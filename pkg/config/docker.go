package config

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Docker says which engine runs jobs, and what they may use. Empty values take the
// defaults of package docker.
type Docker struct {
	// Host is the engine's address.
	Host string
	// Instance tells installations on one engine apart.
	Instance string
	// Shim is the static program that is copied into containers; empty means this one.
	Shim string
	// Image is for jobs whose workflow names none.
	Image string
	// Pull says when images are pulled.
	Pull string
	// Config is a file with the credentials of registries.
	Config string
	// Network is where jobs are.
	Network string
	// User runs the jobs, Capabilities are left to them.
	User         string
	Capabilities []string
	// Limits bound a job; Machines are those of machine types.
	Limits   DockerLimits
	Machines map[string]DockerLimits
}

// DockerLimits are what a job may use. Zero is no limit, or the default.
type DockerLimits struct {
	CPUs float64
	// Memory is in bytes.
	Memory int64
	PIDs   int64
	Files  int64
	// Shm is in bytes.
	Shm int64
	// GPUs is a number, -1 for all. Devices names them instead.
	GPUs    int
	Devices []string
}

// pulls are when images are pulled.
var pulls = []string{"missing", "always", "never"}

func (r *reader) docker() Docker {
	d := Docker{
		Host: r.text("docker-host"), Instance: r.text("docker-instance"), Shim: r.text("docker-shim"), Image: r.text("docker-image"),
		Pull: r.text("docker-pull"), Config: r.text("docker-config"), Network: r.text("docker-network"),
		User: r.text("docker-user"), Limits: r.limits("docker-limits", r.text("docker-limits")),
	}
	for name := range strings.SplitSeq(r.text("docker-capabilities"), ",") {
		if name = strings.TrimSpace(name); name != "" {
			d.Capabilities = append(d.Capabilities, name)
		}
	}
	for name, text := range r.pairs("docker-machines", "A100=gpus:1 memory:64GiB") {
		if d.Machines == nil {
			d.Machines = map[string]DockerLimits{}
		}
		d.Machines[name] = r.limits("docker-machines", text)
	}
	return d
}

// limits takes WHAT:VALUE, separated by spaces: "cpus:2 memory:4GiB".
func (r *reader) limits(key, text string) (l DockerLimits) {
	for part := range strings.FieldsSeq(text) {
		what, value, _ := strings.Cut(part, ":")
		var err error
		switch what {
		case "cpus":
			l.CPUs, err = strconv.ParseFloat(value, 64)
			if err != nil || l.CPUs < 0 || math.IsInf(l.CPUs, 0) || math.IsNaN(l.CPUs) {
				err = fmt.Errorf("%q is not a number of processors such as 2 or 0.5", value)
			}
		case "memory":
			l.Memory, err = parseBytes(value)
		case "shm":
			l.Shm, err = parseBytes(value)
		case "pids":
			l.PIDs, err = parseCount(value)
		case "files":
			l.Files, err = parseCount(value)
		case "gpus":
			l.GPUs, err = parseGPUs(value)
		case "device":
			l.Devices = append(l.Devices, value)
		default:
			err = fmt.Errorf("it is not one of cpus, memory, pids, files, shm, gpus and device, as in %q", "cpus:2 memory:4GiB")
		}
		if err != nil {
			r.problem(key, "%s: %v", part, err)
		}
	}
	if l.GPUs != 0 && len(l.Devices) > 0 {
		r.problem(key, "gpus and device exclude each other: GPUs are asked for by number or by name")
	}
	return l
}

func parseCount(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q is not a whole number of 1 or more", text)
	}
	return n, nil
}

func parseGPUs(text string) (int, error) {
	if text == "all" {
		return -1, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return 0, fmt.Errorf(`%q is neither "all" nor a number of 1 or more`, text)
	}
	return n, nil
}

// parseBytes takes 512MiB, 4GiB and 4g, as docker run does: units are powers of 1024.
func parseBytes(text string) (int64, error) {
	lower := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(text), "b"), "i")
	digits := strings.TrimRight(lower, "kmgt")
	unit, known := map[string]float64{"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}[lower[len(digits):]]
	n, err := strconv.ParseFloat(digits, 64)
	if size := n * unit; err == nil && known && size >= 1 && size < math.MaxInt64 {
		return int64(size), nil
	}
	return 0, fmt.Errorf("%q is not a size such as 512MiB or 4GiB", text)
}

func (c *Config) checkDocker(wrong func(bad bool, key, format string, args ...any)) {
	d := c.Docker
	wrong(!slices.Contains(pulls, cmp.Or(d.Pull, pulls[0])), "docker-pull", ": %q is not known; images are pulled if %s", d.Pull, strings.Join(pulls, ", or "))
	wrong(d.Network == "host" || strings.HasPrefix(d.Network, "container:"), "docker-network", ": %q would give jobs the host, or each other; leave it out for a network of their own", d.Network)
	wrong(d.Limits.Memory > 0 && d.Limits.Memory < leastMemory, "docker-limits", ": %d bytes of memory are too few for any job", d.Limits.Memory)
	for _, m := range d.Machines {
		wrong(m.Memory > 0 && m.Memory < leastMemory, "docker-machines", ": %d bytes of memory are too few for any job", m.Memory)
	}
}

// leastMemory is what package docker lets a job have at least, in bytes.
const leastMemory = 32 << 20
