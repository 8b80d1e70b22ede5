package executor

import (
	"errors"
	"strings"
	"testing"
)

func TestQuantities(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"500m": 500, "0.5": 500, "2": 2000, "0.0001": 1, "1k": 1_000_000, "1.5Ki": 1_536_000, "4Gi": 4 << 30 * 1000, "0": 0,
	} {
		if got, err := Thousandths(text); got != want || err != nil {
			t.Errorf("%s is %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1", "1 Gi", "1e3", "Gi", "1.Gi", "1.2.3", "4gb", "99999999Pi"} {
		if got, err := Thousandths(text); err == nil {
			t.Errorf("%q is %d", text, got)
		}
	}
	for text, want := range map[string]int64{"500m": 1, "512Mi": 512 << 20, "1.5": 2, "0": 0} {
		if got, err := Whole(text); got != want || err != nil {
			t.Errorf("%s is %d whole, %v; want %d", text, got, err, want)
		}
	}
}

func TestResourcesWithinAMachine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		asks, has Resources
		want      string // in the refusal; empty is none
	}{
		{"nothing is asked", Resources{}, Resources{}, ""},
		{"no bound", Resources{MilliCPU: 64_000, Memory: 1 << 40}, Resources{}, ""},
		{"as much as there is", Resources{1000, 1 << 30, 2}, Resources{1000, 1 << 30, 2}, ""},
		{"all GPUs", Resources{GPUs: 8}, Resources{GPUs: EveryGPU}, ""},
		{"too many cores", Resources{MilliCPU: 2500}, Resources{MilliCPU: 2000}, "ask for 2.5 CPUs, and machine L4 of this pool gives 2"},
		{"too much memory", Resources{Memory: 2 << 30}, Resources{Memory: 1 << 30}, "ask for 2048 MiB of memory, and machine L4 of this pool gives 1024 MiB"},
		{"no GPU", Resources{GPUs: 1}, Resources{}, "ask for 1 GPUs, and machine L4 of this pool gives 0"},
	} {
		err := c.asks.Within("L4", c.has)
		var refused *StartError
		if c.want == "" && err != nil || c.want != "" && (!errors.As(err, &refused) || !strings.Contains(refused.Message, c.want)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
