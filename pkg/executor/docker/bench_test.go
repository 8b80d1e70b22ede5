package docker

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/pkg/executor"
)

// BenchmarkEngineFirstLine says how long a job takes from Start to its script's first
// line, as a multiple of "docker run" of the same image:
//
//	LITCI_TEST_DOCKER=on go test -run - -bench EngineFirstLine -benchtime 5x ./executor/docker
func BenchmarkEngineFirstLine(b *testing.B) {
	e := newEngine(b, nil)
	begin(b, e, job("true\n")) // makes the network
	var ours, bare time.Duration
	for b.Loop() {
		began := time.Now()
		out, err := exec.CommandContext(b.Context(), "docker", "run", "--rm", "--network", e.networkName(), standIn, "bash", "-c", "echo $EPOCHREALTIME").Output()
		if err != nil {
			b.Fatal(err)
		}
		bare += printed(b, string(out)).Sub(began)

		began = time.Now()
		h := begin(b, e, job("echo $EPOCHREALTIME\n"))
		until(b, e, h, executor.Ended)
		ours += printed(b, output(b, e, h)).Sub(began)
	}
	info, err := os.Stat(e.options.Shim)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(ours.Milliseconds())/float64(b.N), "ms/job")
	b.ReportMetric(float64(bare.Milliseconds())/float64(b.N), "ms/docker-run")
	b.ReportMetric(float64(ours)/float64(bare), "ratio")
	b.ReportMetric(float64(info.Size()>>20), "MiB/shim")
}

// printed is the time that a job printed.
func printed(b *testing.B, text string) time.Time {
	b.Helper()
	d, err := time.ParseDuration(strings.TrimSpace(text) + "s")
	if err != nil {
		b.Fatal(err)
	}
	return time.Unix(0, int64(d))
}
