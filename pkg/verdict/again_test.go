package verdict_test

import (
	"testing"

	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

func TestAgain(t *testing.T) {
	t.Parallel()
	lost := func(n int, cause flow.Cause) (list []flow.Earlier) {
		for i := range n {
			list = append(list, flow.Earlier{Attempt: i + 1, Cause: cause})
		}
		return list
	}
	number := func(n int) *int { return &n }
	for _, c := range []struct {
		name    string
		earlier []flow.Earlier
		retry   flow.Retry
		cause   flow.Cause
		exit    *int
		want    bool
	}{
		{name: "a lost machine is tried again", cause: flow.CauseInfrastructure, want: true},
		{name: "so is a preempted one, for the second time", earlier: lost(1, flow.CausePreempted), cause: flow.CauseInfrastructure, want: true},
		{name: "the third time is the last", earlier: lost(2, flow.CauseInfrastructure), cause: flow.CausePreempted},
		{name: "the workflow allows more", earlier: lost(3, flow.CausePreempted), retry: flow.Retry{Infra: number(4)}, cause: flow.CausePreempted, want: true},
		{name: "five attempts are the end", earlier: lost(4, flow.CausePreempted), retry: flow.Retry{Infra: number(9)}, cause: flow.CausePreempted},
		{name: "the workflow allows none", retry: flow.Retry{Infra: number(0)}, cause: flow.CauseInfrastructure},
		{name: "a failing script is final", cause: flow.CauseExit, exit: number(1)},
		{name: "a listed exit code is tried again", retry: flow.Retry{OnExit: []int{75}}, cause: flow.CauseExit, exit: number(75), want: true},
		{name: "another one is not", retry: flow.Retry{OnExit: []int{75}}, cause: flow.CauseExit, exit: number(1)},
		{name: "once by default", earlier: lost(1, flow.CauseExit), retry: flow.Retry{OnExit: []int{75}}, cause: flow.CauseExit, exit: number(75)},
		{name: "up to the limit", earlier: lost(1, flow.CauseExit), retry: flow.Retry{OnExit: []int{75}, Limit: 2}, cause: flow.CauseExit, exit: number(75), want: true},
		{name: "lost machines do not count as exits", earlier: lost(1, flow.CausePreempted), retry: flow.Retry{OnExit: []int{75}}, cause: flow.CauseExit, exit: number(75), want: true},
		{name: "success is final whatever is listed", retry: flow.Retry{OnExit: []int{0}}, cause: flow.CauseExit, exit: number(0)},
		{name: "a wish begins anew", earlier: append(lost(2, flow.CauseInfrastructure), flow.Earlier{Attempt: 3, Rerun: true}), cause: flow.CauseInfrastructure, want: true},
		{name: "who was stopped stays stopped", cause: flow.CauseStopped},
		{name: "out of time is final", cause: flow.CauseDeadline},
		{name: "out of memory is final", cause: flow.CauseMemory},
		{name: "a refused job is final", cause: flow.CauseRefused},
		{name: "no capacity is final", cause: flow.CauseNoCapacity},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			job := flow.Job{Earlier: c.earlier, Options: flow.Options{Retry: c.retry}}
			if got := verdict.Again(job, flow.Result{Cause: c.cause, ExitCode: c.exit}, verdict.DefaultInfraRetries); got != c.want {
				t.Errorf("again is %v", got)
			}
		})
	}
}
