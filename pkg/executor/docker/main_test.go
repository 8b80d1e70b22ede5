package docker

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/litci/litci/pkg/leaktest"
)

// TestMain lets the test binary play a launcher that can be killed, and leaves the
// tests against a real engine out unless LITCI_TEST_DOCKER=on asks for them.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "launch" {
		if err := launchAndMaybeDie(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	if os.Getenv("LITCI_TEST_DOCKER") != "on" {
		if err := flag.Set("test.skip", "^TestEngine"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	code := leaktest.Run(m)
	if dir, ok := shimDir.Load().(string); ok {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}
