package chaos

import (
	"fmt"
	"strings"

	"github.com/litci/litci/pkg/flow"
)

// The generated workflow: its file, and the parameter that says what a job does.
const (
	workflowFile  = "chaos.yml"
	workParameter = "work"
)

// workflowText is a workflow file with a job for each value. A job leaves its mark
// before all else, in a file named after its attempt: one line each time it runs.
func workflowText(marks string, jobs []string) string {
	return fmt.Sprintf(`name: Chaos
timeout: 10
parametrize:
  matrix:
    %[1]s: [%[2]s]
run: |
  echo "$%[1]s" >> %[3]s/"$GITHUB_JOB-a$GITHUB_RUN_ATTEMPT"
  case "$%[1]s" in
    %[4]s-*) echo done ;;
    %[5]s-*) sleep 1 ;;
    %[6]s-*) for n in $(seq 3000); do echo "line $n of a long log"; done ;;
    %[7]s-*) echo 'Error: this job fails on purpose'; exit 3 ;;
    %[8]s-*) sleep 1; echo 'Error: this job fails on purpose, later'; exit 4 ;;
    *) exit 99 ;;
  esac
`, workParameter, strings.Join(jobs, ", "), quote(marks), Quick, Steady, Chatty, Fail, Crash)
}

// quote makes one word of a path for the shell.
func quote(path string) string { return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'" }

// checkOf is the name of a job's check run. Those of a push say so, since the
// workflow listens to pull requests too.
func (e Event) checkOf(job string) string {
	name := fmt.Sprintf("%s / Chaos (%s)", workflowFile, job)
	if e.Kind == Pushed {
		name += " [push]"
	}
	return name
}

// conclusionOf is the verdict that a job must get.
func conclusionOf(job string) flow.Conclusion {
	work, _, _ := strings.Cut(job, "-")
	if Work(work) == Fail || Work(work) == Crash {
		return flow.Failure
	}
	return flow.Success
}
