package verdict

import (
	"slices"

	"github.com/litci/litci/pkg/flow"
)

const (
	// DefaultInfraRetries is how often a job is tried again whose machine failed, where
	// neither the workflow nor the operator says.
	DefaultInfraRetries = 2
	// maxTries bounds the attempts that nobody asked for.
	maxTries = 5
)

// Again decides whether litci itself tries a job again: after a failure of the
// machine up to the workflow's retry.infra (or infra, the operator's), after an
// exit code that the workflow lists up to its limit, and never after anything else.
// The job carries its earlier attempts; what somebody asked to run again counts from
// there.
func Again(job flow.Job, result flow.Result, infra int) bool {
	tries := sinceRerun(job.Earlier)
	if len(tries)+1 >= maxTries {
		return false
	}
	used := func(causes ...flow.Cause) (n int) {
		for _, e := range tries {
			if slices.Contains(causes, e.Cause) {
				n++
			}
		}
		return n
	}
	switch result.Cause {
	case flow.CauseInfrastructure, flow.CausePreempted:
		return used(flow.CauseInfrastructure, flow.CausePreempted) < InfraRetries(job, infra)
	case flow.CauseExit:
		if result.ExitCode == nil || *result.ExitCode == 0 || !slices.Contains(job.Options.Retry.OnExit, *result.ExitCode) {
			return false
		}
		limit := job.Options.Retry.Limit
		if limit <= 0 {
			limit = 1
		}
		return used(flow.CauseExit) < limit
	}
	return false
}

// InfraRetries is how often a job may be tried again after failures of its machine.
func InfraRetries(job flow.Job, infra int) int {
	if own := job.Options.Retry.Infra; own != nil {
		return *own
	}
	return infra
}

// sinceRerun are the earlier attempts that nobody asked for, back to the last one
// that somebody did.
func sinceRerun(earlier []flow.Earlier) []flow.Earlier {
	for i, e := range slices.Backward(earlier) {
		if e.Rerun {
			return earlier[i+1:]
		}
	}
	return earlier
}

// lastTry tells whether a job has lost two machines to their provider, which must
// not happen a third time: the next one is not interruptible.
func lastTry(job flow.Job) bool {
	lost := 0
	for _, e := range sinceRerun(job.Earlier) {
		if e.Cause == flow.CausePreempted {
			lost++
		}
	}
	return lost >= 2
}
