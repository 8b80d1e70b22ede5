package planner

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-github/v62/github"
	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/cancellation"
	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/ghapp"
)

const pullsList = "GET /repos/{owner}/{repo}/pulls"

// looks is one round over all pull requests; its result is what must be said.
func (w *world) looks(say ...string) {
	w.t.Helper()
	if err := w.planner.lookAtPulls(w.t.Context(), "test", 0); err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(say); i += 2 {
		w.hears(say[i], say[i+1])
	}
	select {
	case s := <-w.log:
		w.t.Fatalf("the planner also says %+v", s)
	default:
	}
}

func TestMissedPullRequestIsPlannedOnce(t *testing.T) {
	w := setup(t)
	e := w.open(fakegithub.OpenPull{Head: "topic"}, w.commit("topic", "second", folder("a.yml", matrix(2))))
	w.looks("was missed", "", "planned", "")
	w.looks()
	w.does(e, "ignored", "planned already") // the webhook, late
	plans := w.plans()
	if len(plans) != 1 || plans[0].SHA != e.SHA() || plans[0].PullRequest != 1 || plans[0].HeadRef != "topic" || plans[0].Actor != "mona" {
		t.Fatalf("plans are %+v", plans)
	}
	if jobs := w.jobs(); len(jobs) != 2 {
		t.Errorf("%d jobs", len(jobs))
	}
	// Its next head is missed too: it ends the runs of the one before.
	second := w.commit("topic", "third", nil)
	late := w.moved(e, second)
	w.looks("was missed", "", "cancelled", "Superseded by "+second[:7], "planned", "")
	w.does(late, "ignored", "planned already")
	w.cancelled(plans[0].Run, "Superseded by "+second[:7]+".")
	// And so is the force-push back.
	w.moved(late, e.SHA())
	w.looks("was missed", "", "cancelled", "Superseded by "+e.SHA()[:7], "planned", "")
	w.looks()
	if plans := w.plans(); len(plans) != 3 || plans[2].SHA != e.SHA() || plans[2].Run == plans[0].Run {
		t.Errorf("plans are %+v", plans)
	}
}

// A round has no message that comes again after a crash.
func TestRoundThatCrashedBeforeItPublishedIsDoneAgain(t *testing.T) {
	w := setup(t)
	e := w.open(fakegithub.OpenPull{Head: "topic"}, w.commit("topic", "second", folder("a.yml", matrix(2))))
	if err := w.planner.note(t.Context(), asked(t, e), ""); err != nil {
		t.Fatal(err)
	}
	w.looks("was missed", "", "planned", "")
	w.looks()
}

func TestServiceLooksForMissedPullRequestsSoonAfterItsStart(t *testing.T) {
	w := setup(t)
	w.open(fakegithub.OpenPull{Head: "topic"}, w.commit("topic", "second", folder("a.yml", onAll)))
	w.planner.PullsInterval, w.planner.pullsDelay = time.Hour, time.Millisecond
	w.run()
	w.hears("was missed", "")
	w.hears("planned", "")
}

func TestPullRequestsThatWereNotMissed(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(w *world) (say []string)
	}{
		{"planned", func(w *world) []string {
			w.opened()
			return nil
		}},
		{"cancelled by somebody", func(w *world) []string {
			_, run := w.opened()
			if err := cancellation.Run(w.t.Context(), w.bus, run, cancellation.Request{ID: "operator", Reason: "x"}); err != nil {
				w.t.Fatal(err)
			}
			return nil
		}},
		{"without a job", func(w *world) []string {
			w.does(w.open(fakegithub.OpenPull{Head: "topic"}, w.commit("topic", "second", nil)), "nothing to run", "no_workflows")
			return nil
		}},
		{"closed", func(w *world) []string {
			w.open(fakegithub.OpenPull{Head: "topic"}, w.commit("topic", "second", folder("a.yml", onAll)))
			if _, err := w.gh.ClosePull(w.t.Context(), "octo", "hello", 1, false); err != nil {
				w.t.Fatal(err)
			}
			return nil
		}},
		{"of a fork, which is gated", func(w *world) []string {
			w.open(fakegithub.OpenPull{Head: "topic", Fork: true}, w.commit("topic", "second", folder("a.yml", onAll)))
			return []string{"was missed", "", "nothing to run", "gate"}
		}},
		{"planned as a push alone", func(w *world) []string {
			head := w.commit("topic", "second", folder("a.yml", onAll))
			w.does(push("refs/heads/topic", zero, head), "planned", "")
			w.open(fakegithub.OpenPull{Head: "topic"}, head)
			return []string{"was missed", "", "planned", ""}
		}},
		{"with a label alone", func(w *world) []string {
			e := w.open(fakegithub.OpenPull{Head: "topic"}, w.commit("topic", "second", folder("a.yml", "name: x\ntrigger:\n  pull_request:\n    types: [labeled, synchronize]\nrun: 'true'\n")))
			e.Action = "labeled"
			w.does(e, "planned", "")
			return []string{"was missed", "", "planned", ""}
		}},
		{"with our check on GitHub, and the records lost", func(w *world) []string {
			e, _ := w.opened()
			w.check(e.SHA())
			if err := w.bus.Runs().Delete(w.t.Context(), commitKey(4711, e.SHA())); err != nil {
				w.t.Fatal(err)
			}
			return nil
		}},
		{"in an archived repository", func(w *world) []string {
			if err := w.gh.AddRepo(fakegithub.Repo{Owner: "octo", Name: "old", ID: 4712, Dir: w.dir, Installation: 42, Archived: true}); err != nil {
				w.t.Fatal(err)
			}
			w.commit("topic", "second", folder("a.yml", onAll))
			if _, err := w.gh.OpenPull(w.t.Context(), fakegithub.OpenPull{Owner: "octo", Repo: "old", Head: "topic", Silent: true}); err != nil {
				w.t.Fatal(err)
			}
			return nil
		}},
		{"in a suspended installation", func(w *world) []string {
			w.open(fakegithub.OpenPull{Head: "topic"}, w.commit("topic", "second", folder("a.yml", onAll)))
			if err := w.gh.Suspend(42, true); err != nil {
				w.t.Fatal(err)
			}
			return nil
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := setup(t)
			w.looks(c.make(w)...)
			w.looks()
		})
	}
}

// check makes the aggregate check of a commit, as the reporter does.
func (w *world) check(sha string) {
	w.t.Helper()
	app, err := ghapp.New(ghapp.Config{BaseURL: w.url, AppID: 1, PrivateKey: w.key, Permissions: map[string]string{"checks": "write"}})
	if err != nil {
		w.t.Fatal(err)
	}
	defer app.Close()
	client, err := app.Client(42, 4711)
	if err != nil {
		w.t.Fatal(err)
	}
	req, err := client.NewRequest(http.MethodPost, "repos/octo/hello/check-runs", map[string]any{"name": "litci", "head_sha": sha})
	if err == nil {
		_, err = client.Do(w.t.Context(), req, nil)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestOldPullRequestsWereNotMissed(t *testing.T) {
	w := setup(t)
	w.open(fakegithub.OpenPull{Head: "topic"}, w.commit("topic", "second", folder("a.yml", onAll)))
	client, err := w.planner.app.Client(42, 4711)
	if err != nil {
		t.Fatal(err)
	}
	repo, _, err := client.Repositories.Get(t.Context(), "octo", "hello")
	if err != nil {
		t.Fatal(err)
	}
	in := func(created time.Time) *github.Installation {
		return &github.Installation{ID: github.Int64(42), CreatedAt: &github.Timestamp{Time: created}}
	}
	if err := w.planner.lookAtRepository(t.Context(), in(time.Now().Add(time.Hour)), repo, time.Time{}); err != nil {
		t.Fatal(err)
	}
	select {
	case s := <-w.log:
		t.Errorf("of a pull request that is older than the installation the planner says %+v", s)
	default:
	}
	if err := w.planner.lookAtRepository(t.Context(), in(time.Now().Add(-2*pullsAge)), repo, time.Time{}); err != nil {
		t.Fatal(err)
	}
	w.hears("was missed", "")
	w.hears("planned", "")
}

// repo adds a repository with an open pull request whose webhook was missed.
func (w *world) repo(name string, id, installation int64) {
	w.t.Helper()
	if err := w.gh.AddRepo(fakegithub.Repo{Owner: "octo", Name: name, ID: id, Dir: w.dir, Installation: installation}); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.gh.OpenPull(w.t.Context(), fakegithub.OpenPull{Owner: "octo", Repo: name, Head: "topic", Silent: true}); err != nil {
		w.t.Fatal(err)
	}
}

func TestPausedInstallationIsPassedOverAndLookedAtLater(t *testing.T) {
	w := setup(t)
	w.planner.PullsInterval = time.Hour
	w.open(fakegithub.OpenPull{Head: "topic"}, w.commit("topic", "second", folder("a.yml", onAll)))
	w.repo("later", 4712, 42)
	w.repo("behind", 4713, 42)
	w.repo("others", 4714, 43)
	w.gh.AddFaults(fakegithub.Fault{Method: "GET", Path: "/repos/octo/later/pulls", Status: 403, Headers: map[string]string{"Retry-After": "1"}})
	err := w.planner.lookAtPulls(t.Context(), "test", 0)
	wait, paused := ghapp.Pause(err)
	if !paused {
		t.Fatalf("the round ends with %v", err)
	}
	for range 2 { // of octo/hello, and of octo/others behind the pause
		w.hears("was missed", "")
		w.hears("planned", "")
	}
	r, err := bus.Change(t.Context(), w.bus.Runs(), pullsKey, func(*round) bool { return false })
	if err != nil || !slices.Equal(r.Left, []place{{42, 4712}}) || r.Holder != "" || !r.Done.IsZero() {
		t.Fatalf("the round is %+v, %v", r, err)
	}
	before := w.gh.State().Requests[pullsList]
	for paused := true; paused; {
		select {
		case <-time.After(wait):
		case <-t.Context().Done():
			t.Fatal("the pause does not end")
		}
		err = w.planner.lookAtPulls(t.Context(), "another", time.Minute)
		wait, paused = ghapp.Pause(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		w.hears("was missed", "")
		w.hears("planned", "")
	}
	if n := w.gh.State().Requests[pullsList] - before; n != 2 {
		t.Errorf("%d repositories were looked at, want the two that were left", n)
	}
	if err := w.planner.lookAtPulls(t.Context(), "test", time.Hour); !errors.Is(err, errTaken) {
		t.Errorf("a round right after a round: %v", err)
	}
}

func TestPullRequestsOfARepositoryThatWasAddedLaterWereNotMissed(t *testing.T) {
	w := setup(t)
	w.open(fakegithub.OpenPull{Head: "topic"}, w.commit("topic", "second", folder("a.yml", onAll)))
	w.looks("was missed", "", "planned", "")
	w.repo("added", 4712, 42)
	// The last look came after the change of its pull request.
	if _, err := bus.Change(t.Context(), w.bus.Runs(), seenKey(42), func(s *seen) bool {
		s.At = time.Now().Add(time.Hour)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	w.looks()
	w.looks()
	// What changes afterwards may have been missed.
	if _, err := bus.Change(t.Context(), w.bus.Runs(), seenKey(42), func(s *seen) bool {
		s.Repos[4712] = time.Now().Add(-time.Hour).Unix()
		return true
	}); err != nil {
		t.Fatal(err)
	}
	w.looks("was missed", "", "planned", "")
}

func TestOnePlannerLooksAtATime(t *testing.T) {
	w := setup(t)
	p, ctx := w.planner, t.Context()
	if _, err := p.takeRound(ctx, "one", 0); err != nil {
		t.Fatal(err)
	}
	other := New(w.bus, p.app, zap.NewNop())
	if err := other.lookAtPulls(ctx, "two", 0); !errors.Is(err, errTaken) {
		t.Errorf("two at a time: %v", err)
	}
	// The holder died: another one takes over, and it hears of it should it live.
	if _, err := bus.Change(ctx, w.bus.Runs(), pullsKey, func(r *round) bool {
		r.Until = time.Now().Add(-time.Second)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if _, err := other.takeRound(ctx, "two", 0); err != nil {
		t.Fatal(err)
	}
	if err := p.keepRound(ctx, "one"); !errors.Is(err, errTaken) {
		t.Errorf("the first one goes on: %v", err)
	}
	if err := other.keepRound(ctx, "two"); err != nil {
		t.Error(err)
	}
	if _, err := bus.Change(ctx, w.bus.Runs(), pullsKey, func(r *round) bool {
		*r = round{Done: time.Now()}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if err := p.lookAtPulls(ctx, "one", time.Hour); !errors.Is(err, errTaken) {
		t.Errorf("a round right after a round: %v", err)
	}
}

func TestPreviewPublishesAndStoresNothing(t *testing.T) {
	w := setup(t)
	first := w.commit("topic", "second", folder("a.yml", matrix(2)))
	e := w.open(fakegithub.OpenPull{Head: "topic"}, first)
	e.Delivery = "one"
	preview := func(e flow.Event) Preview {
		t.Helper()
		before := w.keys()
		v, err := w.planner.Preview(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		if after := w.keys(); after != before {
			t.Errorf("stored: %s, before: %s", after, before)
		}
		return v
	}
	v := preview(e)
	if v.Ignored != "" || v.Plan == nil || len(v.Jobs) != 2 || v.Result != nil || v.Plan.Run != v.Jobs[0].Run {
		t.Errorf("%+v", v)
	}
	if plans := w.plans(); len(plans) > 0 {
		t.Fatalf("%d plans", len(plans))
	}
	w.redoes(e, "planned", "")
	run := w.plans()[0].Run
	if run != v.Plan.Run {
		t.Errorf("run %s, foreseen %s", run, v.Plan.Run)
	}
	if v = preview(e); v.Ignored != reasonPlanned {
		t.Errorf("%+v", v)
	}
	replay := e
	replay.Replay = "1"
	if v = preview(replay); v.Plan == nil || v.Plan.Run == run {
		t.Errorf("%+v", v)
	}
	w.ends(w.jobs()[0], flow.Failure, flow.CauseExit)
	if v = preview(click(first, "")); fmt.Sprint(v.Again) != "["+run+"-0-a2]" {
		t.Errorf("%+v", v)
	}
	late := w.moved(e, w.commit("topic", "third", nil))
	if v = preview(late); fmt.Sprint(v.Ends) != "["+run+"]" || v.Plan == nil {
		t.Errorf("%+v", v)
	}
	if v = preview(replay); !strings.Contains(v.Ignored, "stale") {
		t.Errorf("%+v", v)
	}
	if v = preview(push("refs/heads/topic", zero, late.SHA())); !strings.Contains(v.Ignored, "open pull request") {
		t.Errorf("%+v", v)
	}
	if v = preview(push("refs/tags/v1", zero, w.commit("aside", "bad", folder("a.yml", broken)))); v.Result == nil || v.Result.Cause != flow.CauseConfig {
		t.Errorf("%+v", v)
	}
	w.cancelled(run, "")
	if _, err := w.gh.ClosePull(t.Context(), "octo", "hello", 1, false); err != nil {
		t.Fatal(err)
	}
	late.Action = "closed"
	if v = preview(late); fmt.Sprint(v.Ends) != "["+run+"]" || v.Ignored != "" {
		t.Errorf("%+v", v)
	}
	gate := w.open(fakegithub.OpenPull{Head: "topic", Fork: true}, late.SHA())
	w.does(gate, "nothing to run", "gate")
	if v = preview(click(gate.SHA(), "")); len(v.Replanned) != 1 {
		t.Errorf("%+v", v)
	}
}

// keys are the keys that the planner has written, with their values.
func (w *world) keys() string {
	w.t.Helper()
	all, err := w.bus.Runs().List(w.t.Context(), ">")
	if err != nil {
		w.t.Fatal(err)
	}
	return fmt.Sprintf("%s", all)
}
