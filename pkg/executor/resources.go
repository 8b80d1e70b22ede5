package executor

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
)

// Resources are what a job asks of its machine. Zero asks for nothing.
type Resources struct {
	// MilliCPU is in thousandths of a core.
	MilliCPU int64
	// Memory is in bytes.
	Memory int64
	// GPUs is a number of whole ones.
	GPUs int
}

// EveryGPU stands for all GPUs of a machine, however many it has.
const EveryGPU = math.MaxInt

// Within returns a StartError when a job asks for more than the machine of that name
// gives. Of GPUs a machine has what it says; no CPU or memory of it means no bound.
func (r Resources) Within(machine string, has Resources) error {
	if machine == "" {
		machine = "CPU"
	}
	refuse := func(asked, given string) error {
		return &StartError{Message: fmt.Sprintf("resources ask for %s, and machine %s of this pool gives %s to a job", asked, machine, given)}
	}
	switch {
	case has.MilliCPU > 0 && r.MilliCPU > has.MilliCPU:
		return refuse(cores(r.MilliCPU)+" CPUs", cores(has.MilliCPU))
	case has.Memory > 0 && r.Memory > has.Memory:
		return refuse(mebibytes(r.Memory)+" of memory", mebibytes(has.Memory))
	case r.GPUs > has.GPUs:
		return refuse(fmt.Sprintf("%d GPUs", r.GPUs), strconv.Itoa(has.GPUs))
	}
	return nil
}

func cores(milli int64) string { return strconv.FormatFloat(float64(milli)/1000, 'f', -1, 64) }

func mebibytes(bytes int64) string {
	return strconv.FormatFloat(math.Ceil(float64(bytes)/(1<<20)), 'f', 0, 64) + " MiB"
}

var quantity = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$`)

var units = map[string]float64{
	"m": 1, "": 1e3, "k": 1e6, "M": 1e9, "G": 1e12, "T": 1e15, "P": 1e18,
	"Ki": 1e3 * (1 << 10), "Mi": 1e3 * (1 << 20), "Gi": 1e3 * (1 << 30), "Ti": 1e3 * (1 << 40), "Pi": 1e3 * (1 << 50),
}

// Thousandths reads a quantity as Kubernetes writes it, such as 500m, 2 or 4Gi; a part
// of a thousandth counts as a whole one
// (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/).
func Thousandths(text string) (int64, error) {
	parts := quantity.FindStringSubmatch(text)
	if parts == nil {
		return 0, fmt.Errorf("%q is not a quantity like 500m, 4 or 8Gi", text)
	}
	number, err := strconv.ParseFloat(parts[1], 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a quantity: %w", text, err)
	}
	number = math.Ceil(number * units[parts[2]])
	if number >= math.MaxInt64 {
		return 0, fmt.Errorf("%q is too large a quantity", text)
	}
	return int64(number), nil
}

// Whole is Thousandths in whole units, the last begun one included.
func Whole(text string) (int64, error) {
	n, err := Thousandths(text)
	return n/1000 + min(n%1000, 1), err
}
