package reporter

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/pkg/flow"
)

const zapLevel = zap.ErrorLevel + 1

// hand gives messages to the handlers, as the bus would, until each is taken.
func hand(t *testing.T, r *Reporter, messages ...any) {
	t.Helper()
	for _, m := range messages {
		if err := handle(t.Context(), r, m); err != nil {
			t.Fatalf("%T: %v", m, err)
		}
	}
}

func handle(ctx context.Context, r *Reporter, message any) error {
	switch m := message.(type) {
	case flow.Plan:
		return r.planned(ctx, m)
	case flow.Job:
		return r.queued(ctx, m)
	case flow.Status:
		return r.moved(ctx, m)
	case flow.Result:
		return r.ended(ctx, m)
	}
	panic(fmt.Sprintf("no handler for %T", message))
}

// A run from its plan to its verdicts, over the bus, as services publish it.
func TestRunIsReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	b := w.connect()
	w.run(w.reporter(nil))
	sha := w.shas[2]
	plan, jobs := w.plan("a", sha, 2, epoch)
	if err := bus.PublishPlan(t.Context(), b, plan, jobs); err != nil {
		t.Fatal(err)
	}
	w.await("both jobs queued, the aggregate open, a comment", func(s fakegithub.State) bool {
		return len(checksOf(s, sha, "ci / unit (0)")) == 1 && len(checksOf(s, sha, "ci / unit (1)")) == 1 &&
			len(checksOf(s, sha, "litci")) == 1 && len(s.Comments) == 1
	})
	publish(t, b, flow.States, running(jobs[0]))
	w.await("the first job in progress", func(s fakegithub.State) bool {
		return concluded(checksOf(s, sha, "ci / unit (0)")[0]) == "in_progress"
	})
	publish(t, b, flow.Results, endOf(jobs[0], flow.Failure))
	w.await("the aggregate fails at once", func(s fakegithub.State) bool {
		return concluded(checksOf(s, sha, "litci")[0]) == "failure"
	})
	publish(t, b, flow.Results, endOf(jobs[1], flow.Success))
	state := w.await("the comment says so", func(s fakegithub.State) bool {
		return concluded(checksOf(s, sha, "ci / unit (1)")[0]) == "success" && strings.Contains(s.Comments[0].Body, "1 failed, 1 passed") &&
			strings.Contains(*checksOf(s, sha, "litci")[0].Output.Title, "1 failed, 1 passed")
	})
	failed := w.only(sha, "ci / unit (0)")
	if *failed.Output.Title != "Failed: exit 1 — E: boom" || !strings.Contains(*failed.Output.Text, "E: boom\nbye") {
		t.Errorf("%s\n%s", *failed.Output.Title, *failed.Output.Text)
	}
	if failed.ExternalID != jobs[0].AttemptID() || !strings.Contains(failed.DetailsURL, "/runs/"+plan.Run+"/") {
		t.Errorf("%s %s", failed.ExternalID, failed.DetailsURL)
	}
	if len(state.CheckRuns) != 3 || len(state.Comments) != 1 {
		t.Errorf("too much:\n%s", shown(state))
	}
}

func publish[T flow.Message](t *testing.T, b *bus.Bus, subject flow.Subject[T], msg T) {
	t.Helper()
	if err := bus.Publish(t.Context(), b, subject, msg); err != nil {
		t.Fatal(err)
	}
}

func TestMessagesInReverseOrderAndTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	r := w.reporter(nil)
	sha := w.shas[2]
	plan, jobs := w.plan("a", sha, 1, epoch)
	messages := []any{plan, jobs[0], running(jobs[0]), endOf(jobs[0], flow.Success)}
	slices.Reverse(messages)
	hand(t, r, append(messages, messages...)...)
	if c := w.only(sha, "ci / unit (0)"); concluded(c) != "success" {
		t.Errorf("job %s", concluded(c))
	}
	if c := w.only(sha, "litci"); concluded(c) != "success" {
		t.Errorf("aggregate %s", concluded(c))
	}
	if s := w.hub.State(); len(s.Comments) != 1 || !strings.Contains(s.Comments[0].Body, "1 passed") {
		t.Errorf("comments:\n%s", shown(s))
	}
}

// What GitHub shows already is not sent again.
func TestNothingIsSentTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	r := w.reporter(nil)
	plan, jobs := w.plan("a", w.shas[2], 1, epoch)
	messages := []any{plan, jobs[0], endOf(jobs[0], flow.Success)}
	hand(t, r, messages...)
	before := w.hub.State().Requests
	hand(t, r, messages...)
	if after := w.hub.State().Requests; fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("requests\n%v\n%v", before, after)
	}
}

func TestEndsWithoutJobs(t *testing.T) {
	tests := []struct {
		name       string
		cause      flow.Cause
		conclusion flow.Conclusion
		checks     map[string]string
		comments   int
	}{
		{"no workflow files: nothing", flow.CauseNoWorkflows, flow.Success, map[string]string{}, 0},
		{"nothing triggered", flow.CauseNotTriggered, flow.Success, map[string]string{"litci": "success", "ci / docs": "skipped"}, 1},
		{"bad files", flow.CauseConfig, flow.Failure, map[string]string{"litci": "failure", "litci / config": "failure"}, 1},
		{"gate", flow.CauseGate, flow.ActionRequired, map[string]string{"litci": "action_required"}, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, fakegithub.Limits{})
			r := w.reporter(nil)
			plan, _ := w.plan("a", w.shas[2], 0, epoch)
			end := flow.Result{Identity: plan.Identity, Cause: test.cause, Conclusion: test.conclusion, Message: "This is why.", FinishedAt: epoch}
			if test.cause == flow.CauseNotTriggered {
				end.Skipped = []flow.Skipped{{Check: "ci / docs", Reason: "no file matched paths"}}
			}
			hand(t, r, end, end)
			s := w.hub.State()
			got := map[string]string{}
			for _, c := range s.CheckRuns {
				got[c.Name] = concluded(c)
			}
			if fmt.Sprint(got) != fmt.Sprint(test.checks) || len(s.CheckRuns) != len(test.checks) || len(s.Comments) != test.comments {
				t.Errorf("checks %v, %d comments", got, len(s.Comments))
			}
		})
	}
}

// A re-run gets a check run of its own; an infrastructure retry, whose attempt
// never had a verdict, goes on in the same one.
func TestAttempts(t *testing.T) {
	t.Parallel()
	w := newWorld(t, fakegithub.Limits{})
	r := w.reporter(nil)
	sha := w.shas[2]
	plan, jobs := w.plan("a", sha, 1, epoch)
	second, third := jobs[0], jobs[0]
	second.Attempt, third.Attempt = 2, 3

	hand(t, r, plan, jobs[0], running(jobs[0]), second)
	if c := w.only(sha, "ci / unit (0)"); c.ExternalID != second.AttemptID() || concluded(c) != "queued" {
		t.Errorf("retry: %s %s", c.ExternalID, concluded(c))
	}
	hand(t, r, endOf(second, flow.Failure))
	if concluded(w.only(sha, "litci")) != "failure" {
		t.Error("the aggregate is not red")
	}
	hand(t, r, third)
	if c := w.only(sha, "litci"); concluded(c) != "in_progress" {
		t.Errorf("the aggregate is %s after a re-run", concluded(c))
	}
	hand(t, r, endOf(third, flow.Success))
	found := checksOf(w.hub.State(), sha, "ci / unit (0)")
	if len(found) != 2 || found[0].ExternalID != second.AttemptID() || concluded(found[0]) != "failure" ||
		found[1].ExternalID != third.AttemptID() || concluded(found[1]) != "success" {
		t.Errorf("%s", shown(w.hub.State()))
	}
	if c := w.only(sha, "litci"); concluded(c) != "success" {
		t.Errorf("the aggregate is %s", concluded(c))
	}
}
