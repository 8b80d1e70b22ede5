package verdict

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/cancellation"
	"github.com/litci/litci/pkg/flow"
)

// FailFast asks for the end of the jobs that share a workflow with one that failed
// for good, where the workflow wants that. Call it with the verdict that stands,
// before that is published; calling it again asks for nothing new. Who decides
// that a failure is tried again must not call it.
func FailFast(ctx context.Context, b *bus.Bus, job flow.Job, result flow.Result) error {
	if !job.Options.FailFast || job.Options.ContinueOnError || !failed(result.Conclusion) {
		return nil
	}
	plan, err := bus.PlanOf(ctx, b, result.Run)
	if errors.Is(err, bus.ErrNotFound) {
		return nil // as old as that: nothing of it runs any more
	}
	if err != nil {
		return fmt.Errorf("jobs beside %s: %w", result.Job, err)
	}
	request := cancellation.Request{
		ID:     "fail-fast-" + flow.AttemptID(result.Job, result.Attempt),
		Reason: fmt.Sprintf("Stopped because %s failed (fail_fast).", result.Check),
		At:     result.FinishedAt,
	}
	for _, index := range siblings(plan, result.Index) {
		if err := stopSibling(ctx, b, result.Run, index, request); err != nil {
			return fmt.Errorf("jobs beside %s: %w", result.Job, err)
		}
	}
	return nil
}

func failed(c flow.Conclusion) bool { return c == flow.Failure || c == flow.TimedOut }

// siblings are the indices of the other jobs of a job's workflow.
func siblings(plan flow.Plan, index int) (others []int) {
	if index < 0 || index >= len(plan.Jobs) {
		return nil
	}
	for i, j := range plan.Jobs {
		if i != index && workflowOf(j) == workflowOf(plan.Jobs[index]) {
			others = append(others, i)
		}
	}
	return others
}

func workflowOf(j flow.PlannedJob) string {
	if j.Workflow == "" {
		return j.File
	}
	return j.Workflow
}

// stopSibling asks for the end of a job's newest attempt. A new one may be raised
// while it asks, hence the second look; one that is raised behind that look finds
// the request by Carry.
func stopSibling(ctx context.Context, b *bus.Bus, run string, index int, request cancellation.Request) error {
	for asked := 0; ; {
		record, err := RecordOf(ctx, b, run, index)
		if err != nil {
			return err
		}
		newest := max(record.Attempt, 1)
		if record.Result != nil || newest == asked || record.wantedAfter(request) {
			return nil
		}
		if err := cancellation.Job(ctx, b, run, index, newest, request); err != nil {
			return err
		}
		asked = newest
	}
}

// wantedAfter tells whether somebody wanted the job again after the request.
func (r Record) wantedAfter(request cancellation.Request) bool {
	return slices.ContainsFunc(r.Earlier, func(e flow.Earlier) bool { return e.Rerun && e.At.After(request.At) })
}

// Stop asks for the end of an attempt, and of one that litci itself raises from it
// meanwhile, as stopSibling does. It returns the last attempt that it asked of.
func Stop(ctx context.Context, b *bus.Bus, run string, index, attempt int, request cancellation.Request) (last int, err error) {
	for {
		if err := cancellation.Job(ctx, b, run, index, attempt, request); err != nil {
			return attempt, err
		}
		record, err := RecordOf(ctx, b, run, index)
		if err != nil || record.Attempt <= attempt || record.Result != nil || record.wantedAfterAttempt(attempt) {
			return attempt, err
		}
		attempt = record.Attempt
	}
}

// wantedAfterAttempt tells whether somebody wanted the job again after an attempt.
func (r Record) wantedAfterAttempt(attempt int) bool {
	return slices.ContainsFunc(r.Earlier, func(e flow.Earlier) bool { return e.Rerun && e.Attempt >= attempt })
}

// Carry lets a request for the end of an attempt concern the attempt that litci
// itself raised from it: who asked meant the job. Call it after Raise, and after
// Resume, without which a request that came while the attempt was raised would
// hit nothing. An attempt that somebody asked for is left alone.
func Carry(ctx context.Context, b *bus.Bus, run string, index, from int) error {
	record, err := RecordOf(ctx, b, run, index)
	if err != nil {
		return err
	}
	n := len(record.Earlier)
	if record.Attempt != from+1 || record.Result != nil || n == 0 || record.Earlier[n-1].Rerun {
		return nil
	}
	request, err := cancellation.Of(ctx, b, run, index, from)
	if err != nil || request == nil {
		return err
	}
	request.Spared = nil
	return cancellation.Job(ctx, b, run, index, record.Attempt, *request)
}
