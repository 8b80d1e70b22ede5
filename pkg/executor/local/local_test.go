package local

import (
	"testing"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/executortest"
)

func TestSuite(t *testing.T) {
	executortest.Run(t, func(t *testing.T) executor.Executor { return newExecutor(t, nil) }, executortest.Options{
		Tombstone:   true,
		Environment: placeVariables(),
	})
}

func placeVariables() []string {
	return []string{
		"PATH", "HOME", "LANG", "TMPDIR",
		"GITHUB_WORKSPACE", "LITCI_WORKSPACE", "GITHUB_STEP_SUMMARY", "LITCI_STEP_SUMMARY",
		"RUNNER_TEMP", "RUNNER_NAME", "RUNNER_OS", "RUNNER_ARCH",
	}
}
