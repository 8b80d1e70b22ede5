package lightning

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// defaultMachine is what a job without a machine gets.
const defaultMachine = "CPU"

// instanceName is the service's name for a machine of the workflow language. Names
// that are not known, a provider's own for instance, are passed through.
func instanceName(machine string) string {
	switch machine {
	case "CPU", "CPU_X_4":
		return "cpu-4"
	case "CPU_SMALL", "CPU_X_2":
		return "cpu-2"
	case "CPU_X_8":
		return "cpu-8"
	case "CPU_X_16":
		return "cpu-16"
	case "DATA_PREP":
		return "data-prep-mid"
	case "DATA_PREP_MAX":
		return "data-prep-max-large"
	case "DATA_PREP_ULTRA":
		return "data-prep-ultra-extra-large"
	case "T4_SMALL":
		return "lit-t4-1-small"
	}
	family, count := split(machine)
	stem := ""
	switch family {
	case "T4", "L4", "L40S", "A100", "H100":
		stem = "lit-" + strings.ToLower(family)
	case "A10G":
		stem = "lit-a10g"
	case "RTXP_6000":
		stem = "lit-rtx-6000-pro"
	case "A100_40GB", "A100_80GB":
		stem = "lit-a100-" + strings.ToLower(strings.TrimPrefix(family, "A100_"))
	case "H200", "B200":
		stem = "lit-" + strings.ToLower(family) + "x"
	}
	if stem == "" || count == 0 {
		return machine
	}
	return stem + "-" + strconv.Itoa(count)
}

// split takes "A100_X_4" apart; a name without a number means one.
func split(machine string) (family string, count int) {
	family, digits, many := strings.Cut(machine, "_X_")
	if !many {
		return machine, 1
	}
	switch digits {
	case "2", "4", "8":
		return family, int(digits[0] - '0')
	}
	return family, 0
}

// hasGPU says whether a machine of that name must show a GPU. A provider's own name
// says nothing about it.
func hasGPU(instance string) bool { return strings.HasPrefix(instance, "lit-") }

type accelerator struct {
	Slug      string `json:"slug"`
	Family    string `json:"family"`
	Resources struct {
		GPU integer `json:"gpu"`
	} `json:"resources"`
}

// catalogs remembers which machines the cloud account sells.
type catalogs struct {
	mu   sync.Mutex
	list []accelerator
	at   time.Time
}

// catalogAge is how long a list of machines is believed.
const catalogAge = time.Hour

// instance chooses the machine: what the configuration says, then what the account
// sells where the service's own names differ by cloud, then the table.
func (e *Executor) instance(ctx context.Context, p place, machine string) string {
	if machine == "" {
		machine = defaultMachine
	}
	if own, ok := e.config.Machines[machine]; ok {
		return own
	}
	name := instanceName(machine)
	family, count := split(machine)
	switch family {
	case "H100", "H200", "B200":
		return pick(e.catalog(ctx, p), family, count, name)
	}
	return name
}

// pick is the first machine of a family with that many GPUs, preferably of the usual
// name.
func pick(list []accelerator, family string, count int, usual string) string {
	chosen := ""
	for _, a := range list {
		if a.Slug == usual {
			return usual
		}
		if chosen == "" && a.Slug != "" && strings.EqualFold(a.Family, family) && int(a.Resources.GPU) == count {
			chosen = a.Slug
		}
	}
	if chosen == "" {
		return usual
	}
	return chosen
}

// catalog is the list of machines, empty where the service does not tell.
func (e *Executor) catalog(ctx context.Context, p place) []accelerator {
	e.catalogs.mu.Lock()
	defer e.catalogs.mu.Unlock()
	if time.Since(e.catalogs.at) < catalogAge {
		return e.catalogs.list
	}
	path, query := "/v1/core/accelerators", url.Values{"cloudProvider": {"MACHINE"}, "projectId": {p.project}}
	if e.config.Cluster != "" {
		path = "/v1/projects/" + url.PathEscape(p.project) + "/clusters/" + url.PathEscape(e.config.Cluster) + "/accelerators"
		query = url.Values{"enabledOnly": {"true"}}
	}
	var answer struct {
		Accelerators []accelerator `json:"accelerator"`
	}
	if err := e.client.call(ctx, http.MethodGet, path, query, nil, &answer); err != nil {
		return e.catalogs.list
	}
	e.catalogs.list, e.catalogs.at = answer.Accelerators, time.Now()
	return e.catalogs.list
}
