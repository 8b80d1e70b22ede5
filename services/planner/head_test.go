package planner

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/cancellation"
	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

func TestWhatADeliveryMakesOfTheHead(t *testing.T) {
	other := strings.Repeat("b", 40)
	by := func(action string, change ...func(*flow.Event)) ask {
		e := pullEvent(action)
		for _, c := range change {
			c(&e)
		}
		return asked(t, e)
	}
	replay := func(e *flow.Event) { e.Replay = "1" }
	first := by("opened")
	empty, own := first.run(""), first.run("guid")
	at := func(sha string, runs ...headRun) head { return head{SHA: sha, Runs: runs} }
	fresh := func(run string) headRun { return headRun{run, true} }
	for _, c := range []struct {
		name      string
		have      head
		ask       ask
		cancelled bool
		run       string
		listed    string // the runs that stand, separated by spaces
		gone      string // those that must end, with the reason
		ignored   string
	}{
		{name: "the first commit", ask: first, run: empty, listed: empty},
		{name: "a new head ends all that ran", have: at(other, fresh("x"), headRun{"label", false}), ask: by("synchronize"), run: empty, listed: empty, gone: "x Superseded by aaaaaaa. label Superseded by aaaaaaa."},
		{name: "the same delivery again", have: at(sha, fresh(empty)), ask: first, run: empty, listed: empty},
		{name: "the same code by another delivery", have: at(sha, fresh(empty)), ask: by("synchronize"), run: empty, listed: empty},
		{name: "back to a commit whose run was cancelled", have: at(other, fresh("x")), ask: by("synchronize"), cancelled: true, run: own, listed: own, gone: "x Superseded by aaaaaaa."},
		{name: "back to a commit whose run is about to be", have: head{SHA: other, Runs: []headRun{fresh("x")}, Gone: []goneRun{{Run: empty, Reason: "y"}}}, ask: by("synchronize"), run: own, listed: own, gone: empty + " y x Superseded by aaaaaaa."},
		{name: "that delivery again", have: at(sha, fresh(own)), ask: by("synchronize"), cancelled: true, run: own, listed: own},
		{name: "the commit's first delivery again after that", have: at(sha, fresh("z")), ask: first, cancelled: true, listed: "z", ignored: "the commit has the run z already"},
		{name: "back to a commit whose run came to its end", have: at(other, fresh("x")), ask: by("synchronize"), run: empty, listed: empty, gone: "x Superseded by aaaaaaa."},
		{name: "a label", have: at(sha, fresh(empty)), ask: by("labeled"), run: own, listed: empty},
		{name: "a label at a new head", have: at(other, fresh("x")), ask: by("labeled"), run: own, gone: "x Superseded by aaaaaaa."},
		{name: "the new head after its label", have: at(sha, headRun{"label", false}), ask: by("synchronize"), run: empty, listed: "label " + empty},
		{name: "a reopened one", have: head{SHA: sha, Closed: true}, ask: by("reopened"), run: own, listed: own},
		{name: "a reopened one whose end was not heard of", have: at(sha, fresh(empty)), ask: by("reopened"), run: own, listed: own, gone: empty + " " + closedReason},
		{name: "that delivery again", have: at(sha, fresh(own)), ask: by("reopened"), run: own, listed: own},
		{name: "the first delivery after a reopened one", have: at(sha, fresh("z")), ask: first, listed: "z", ignored: "already"},
		{name: "a replay", have: at(sha, fresh(empty)), ask: by("opened", replay), run: first.run("guid/1"), listed: empty + " " + first.run("guid/1")},
	} {
		t.Run(c.name, func(t *testing.T) {
			next, run, ignored := c.have.take(c.ask, c.cancelled)
			var listed, gone []string
			for _, r := range next.Runs {
				listed = append(listed, r.Run)
			}
			for _, g := range next.Gone {
				gone = append(gone, g.Run, g.Reason)
			}
			if run != c.run || strings.Join(listed, " ") != c.listed || strings.Join(gone, " ") != c.gone || !strings.Contains(ignored, c.ignored) || (ignored == "") != (c.ignored == "") {
				t.Errorf("run %s, ignored %q, listed %q, gone %q", run, ignored, listed, gone)
			}
			if next.SHA != sha || next.Closed {
				t.Errorf("the head is %+v", next)
			}
		})
	}
}

func TestWhatADeliveryMakesOfAMergeGroup(t *testing.T) {
	a := asked(t, queueEvent("checks_requested"))
	h, ignored := head{}.takeGroup(a)
	if ignored != "" || !h.lists(a.Run) {
		t.Errorf("%q, %+v", ignored, h)
	}
	if again, ignored := h.takeGroup(a); ignored != "" || len(again.Runs) != 1 {
		t.Errorf("the same again: %q, %+v", ignored, again)
	}
	end := h.shut(asked(t, queueEvent("destroyed")), "done")
	if len(end.Runs) > 0 || !end.loses(a.Run) || !end.Closed {
		t.Errorf("its end: %+v", end)
	}
	if _, ignored := end.takeGroup(a); ignored == "" {
		t.Error("a group is tested after its end")
	}
}

// does gives the planner a delivery of its own and checks what it says, in order.
func (w *world) does(e flow.Event, say ...string) {
	w.t.Helper()
	w.count++
	e.Delivery = fmt.Sprint(w.t.Name(), "-", w.count)
	w.redoes(e, say...)
}

// redoes gives the planner a delivery as it is.
func (w *world) redoes(e flow.Event, say ...string) {
	w.t.Helper()
	if err := w.planner.plan(w.t.Context(), e); err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(say); i += 2 {
		w.hears(say[i], say[i+1])
	}
}

// moved moves the pull request's branch and returns the event that tells of it.
func (w *world) moved(e flow.Event, to string) flow.Event {
	w.t.Helper()
	if _, err := w.gh.Synchronize(w.t.Context(), "octo", "hello", e.PullRequest.Number, to); err != nil {
		w.t.Fatal(err)
	}
	detail := *e.PullRequest
	detail.HeadSHA = to
	e.Action, e.PullRequest = "synchronize", &detail
	return e
}

// opened is a pull request with one workflow of two jobs, planned.
func (w *world) opened() (e flow.Event, first string) {
	w.t.Helper()
	first = w.commit("topic", "second", folder("a.yml", matrix(2)))
	e = w.open(fakegithub.OpenPull{Head: "topic"}, first)
	w.does(e, "planned", "")
	return e, w.plans()[0].Run
}

func TestNewHeadEndsOlderRuns(t *testing.T) {
	w := setup(t)
	e, first := w.opened()
	second := w.commit("topic", "third", nil)
	w.does(w.moved(e, second), "cancelled", "Superseded by "+second[:7], "planned", "")
	w.cancelled(first, "Superseded by "+second[:7]+".")
	third := w.commit("topic", "fourth", nil)
	w.does(w.moved(e, third), "cancelled", "Superseded by "+third[:7], "planned", "")
	plans := w.plans()
	if len(plans) != 3 {
		t.Fatalf("%d plans", len(plans))
	}
	// The first run's reason stays: its end was asked for once.
	w.cancelled(first, "Superseded by "+second[:7]+".")
	w.cancelled(plans[1].Run, "Superseded by "+third[:7]+".")
	w.cancelled(plans[2].Run, "")
}

func TestHeadsInReverseOrderByTwoPlanners(t *testing.T) {
	w := setup(t)
	first := w.commit("topic", "second", folder("a.yml", matrix(2)))
	e := w.open(fakegithub.OpenPull{Head: "topic"}, first)
	e.Delivery = "one"
	second := w.commit("topic", "third", nil)
	late := w.moved(e, second)
	late.Delivery = "two"
	other := New(w.bus, w.planner.app, zap.New(w.log))
	if err := other.plan(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	w.hears("planned", "")
	w.redoes(e, "ignored", "stale")
	plans := w.plans()
	if len(plans) != 1 || plans[0].SHA != second {
		t.Fatalf("plans are %+v", plans)
	}
	w.cancelled(plans[0].Run, "")
}

// The planner whose answer of GitHub is older finds the record changed.
func TestPlannerWithTheOlderAnswerStartsOver(t *testing.T) {
	w := setup(t)
	e, _ := w.opened()
	second := w.commit("topic", "third", nil)
	e = w.moved(e, second)
	a := asked(t, e)
	key := headKey(a.Identity)
	repo, err := w.planner.repository(a)
	if err != nil {
		t.Fatal(err)
	}
	have, revision, err := w.planner.record(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	next, ignored, err := w.planner.look(t.Context(), repo, &a, have)
	if err != nil || ignored != "" {
		t.Fatal(ignored, err)
	}
	third := w.commit("topic", "fourth", nil)
	w.does(w.moved(e, third), "cancelled", "", "planned", "")
	if done, err := w.planner.write(t.Context(), key, next, revision); done || err != nil {
		t.Errorf("the older answer was written: %t, %v", done, err)
	}
	if ignored, err := w.planner.claim(t.Context(), zap.NewNop(), repo, &a); err != nil || !strings.Contains(ignored, "stale") {
		t.Errorf("%q, %v", ignored, err)
	}
}

// A crash between moving the head and asking for the end of what ran before.
func TestCrashBeforeTheOlderRunsEnd(t *testing.T) {
	for _, c := range []struct {
		name string
		then func(w *world, e flow.Event) (by string)
	}{
		{"and the delivery comes again", func(w *world, e flow.Event) string {
			w.redoes(e, "cancelled", "Superseded", "planned", "")
			return e.SHA()
		}},
		{"and the next head comes", func(w *world, e flow.Event) string {
			next := w.moved(e, w.commit("topic", "fourth", nil))
			w.does(next, "cancelled", "Superseded by "+e.SHA()[:7], "cancelled", "Superseded", "planned", "")
			w.redoes(e, "ignored", "stale")
			return e.SHA()
		}},
		{"and the head goes back", func(w *world, e flow.Event) string {
			back := w.moved(e, w.plans()[0].SHA)
			w.does(back, "cancelled", "Superseded by "+e.SHA()[:7], "cancelled", "Superseded", "planned", "")
			return e.SHA()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := setup(t)
			e, first := w.opened()
			e = w.moved(e, w.commit("topic", "third", nil))
			e.Delivery = "crashed"
			a := asked(t, e)
			key := headKey(a.Identity)
			repo, err := w.planner.repository(a)
			if err != nil {
				t.Fatal(err)
			}
			have, revision, err := w.planner.record(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			next, _, err := w.planner.look(t.Context(), repo, &a, have)
			if err != nil {
				t.Fatal(err)
			}
			if done, err := w.planner.write(t.Context(), key, next, revision); !done || err != nil {
				t.Fatal(done, err)
			}
			w.cancelled(first, "")
			by := c.then(w, e)
			w.cancelled(first, "Superseded by "+by[:7]+".")
			if h, _, err := w.planner.record(t.Context(), key); err != nil || len(h.Gone) > 0 || len(h.Runs) != 1 {
				t.Errorf("the record is %+v, %v", h, err)
			}
		})
	}
}

func TestForcePushBack(t *testing.T) {
	t.Run("to a commit whose run was cancelled", func(t *testing.T) {
		w := setup(t)
		e, first := w.opened()
		was := e.SHA()
		e.Delivery = "first"
		away := w.moved(e, w.commit("topic", "third", nil))
		w.does(away, "cancelled", "", "planned", "")
		back := w.moved(e, was)
		back.Delivery = "back"
		w.redoes(back, "cancelled", "", "planned", "")
		w.redoes(back, "ignored", "planned already")
		e.Delivery = "another of the first"
		w.redoes(e, "ignored", "already")
		plans := w.plans()
		if len(plans) != 3 || plans[2].SHA != was || plans[2].Run == first {
			t.Fatalf("%d plans", len(plans))
		}
		w.cancelled(plans[2].Run, "")
	})
	t.Run("to a commit whose run came to its end", func(t *testing.T) {
		w := setup(t)
		e, first := w.opened()
		was := e.SHA()
		for _, job := range w.jobs() {
			w.ends(job, flow.Success, flow.CauseExit)
		}
		w.does(w.moved(e, w.commit("topic", "third", nil)), "cancelled", "", "planned", "")
		w.does(w.moved(e, was), "cancelled", "", "ignored", "planned already")
		if h, _, err := w.planner.record(t.Context(), "head.4711.1"); err != nil || h.SHA != was || !h.lists(first) {
			t.Errorf("the record is %+v, %v", h, err)
		}
	})
}

// ends gives a job its verdict.
func (w *world) ends(job flow.Job, conclusion flow.Conclusion, cause flow.Cause) {
	w.t.Helper()
	if _, err := verdict.Settle(w.t.Context(), w.bus, flow.ResultOf(job, conclusion, cause, "", time.Now())); err != nil {
		w.t.Fatal(err)
	}
}

func TestClosing(t *testing.T) {
	shut := func(w *world, e flow.Event, merged bool) flow.Event {
		if _, err := w.gh.ClosePull(w.t.Context(), "octo", "hello", e.PullRequest.Number, merged); err != nil {
			w.t.Fatal(err)
		}
		e.Action = "closed"
		return e
	}
	for reason, merged := range map[string]bool{"The pull request was closed.": false, "The pull request was merged.": true} {
		t.Run(reason, func(t *testing.T) {
			w := setup(t)
			e, run := w.opened()
			w.does(shut(w, e, merged), "cancelled", reason)
			w.cancelled(run, reason)
			e.Action = "synchronize"
			w.does(e, "ignored", "closed")
		})
	}
	t.Run("and opening again", func(t *testing.T) {
		w := setup(t)
		e, first := w.opened()
		closed := shut(w, e, false)
		closed.Delivery = "closed"
		w.redoes(closed, "cancelled", closedReason)
		if _, err := w.gh.ReopenPull(t.Context(), "octo", "hello", 1); err != nil {
			t.Fatal(err)
		}
		w.redoes(closed, "ignored", "the pull request is open")
		e.Action = "reopened"
		w.does(e, "planned", "")
		w.redoes(closed, "ignored", "the pull request is open")
		plans := w.plans()
		if len(plans) != 2 || plans[1].Run == first {
			t.Fatalf("%d plans", len(plans))
		}
		w.cancelled(plans[1].Run, "")
		e.Action, e.Delivery = "opened", "another of the first"
		w.redoes(e, "ignored", "already")
	})
	t.Run("heard of after the opening again", func(t *testing.T) {
		w := setup(t)
		e, first := w.opened()
		closed := shut(w, e, false)
		if _, err := w.gh.ReopenPull(t.Context(), "octo", "hello", 1); err != nil {
			t.Fatal(err)
		}
		e.Action = "reopened"
		w.does(e, "cancelled", closedReason, "planned", "")
		w.does(closed, "ignored", "the pull request is open")
		w.cancelled(first, closedReason)
		w.cancelled(w.plans()[1].Run, "")
	})
}

func TestRunThatIsUnwantedBeforeItIsPublishedIsNot(t *testing.T) {
	for _, c := range []struct {
		name, ignored string
		meanwhile     func(w *world, e flow.Event, a ask)
	}{
		{"since a newer head came", "stale", func(w *world, e flow.Event, _ ask) {
			w.does(w.moved(e, w.commit("topic", "third", nil)), "cancelled", "", "planned", "")
		}},
		{"since it was closed", "closed", func(w *world, e flow.Event, _ ask) {
			if _, err := w.gh.ClosePull(w.t.Context(), "octo", "hello", 1, false); err != nil {
				w.t.Fatal(err)
			}
			e.Action = "closed"
			w.does(e, "cancelled", closedReason)
		}},
		{"since somebody cancelled it", "cancelled", func(w *world, _ flow.Event, a ask) {
			if err := cancellation.Run(w.t.Context(), w.bus, a.Run, cancellation.Request{ID: "x", Reason: "y"}); err != nil {
				w.t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := setup(t)
			e := w.open(fakegithub.OpenPull{Head: "topic"}, w.commit("topic", "second", folder("a.yml", matrix(2))))
			a := asked(t, e)
			repo, err := w.planner.repository(a)
			if err != nil {
				t.Fatal(err)
			}
			if ignored, err := w.planner.claim(t.Context(), zap.NewNop(), repo, &a); ignored != "" || err != nil {
				t.Fatal(ignored, err)
			}
			found, err := w.planner.decide(t.Context(), repo, &a)
			if err != nil {
				t.Fatal(err)
			}
			c.meanwhile(w, e, a)
			if ignored, err := w.planner.start(t.Context(), zap.NewNop(), a, found); err != nil || !strings.Contains(ignored, c.ignored) {
				t.Errorf("%q, %v", ignored, err)
			}
			if _, err := bus.PlanOf(t.Context(), w.bus, a.Run); !errors.Is(err, bus.ErrNotFound) {
				t.Errorf("the run is published: %v", err)
			}
		})
	}
}

// A read may come from a server that is behind, and a delivery that is ignored never
// comes again: what a read says is believed when a write has found it unchanged.
func TestNoDeliveryIsIgnoredByWhatOneReadSays(t *testing.T) {
	for name, ignore := range map[string]func(w *world, e flow.Event) (ignored string){
		"a head that moved while its run was planned": func(w *world, e flow.Event) string {
			ignored, err := w.planner.hold(w.t.Context(), ask{Identity: flow.Identity{
				Repo: e.Repo, Event: e.Kind, PullRequest: e.PullRequest.Number, SHA: strings.Repeat("c", 40), Run: "x",
			}})
			if err != nil {
				w.t.Fatal(err)
			}
			return ignored
		},
		"a commit that has its run": func(w *world, e flow.Event) string {
			w.does(e, "ignored", reasonPlanned)
			return reasonPlanned
		},
		"a commit that has another run": func(w *world, e flow.Event) string {
			w.does(e, "ignored", "the commit has the run z already")
			return "z"
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := setup(t)
			e, run := w.opened()
			if strings.HasSuffix(name, "another run") {
				if err := cancellation.Run(t.Context(), w.bus, run, cancellation.Request{ID: "x", Reason: "y"}); err != nil {
					t.Fatal(err)
				}
				if _, err := bus.Change(t.Context(), w.bus.Runs(), "head.4711.1", func(h *head) bool {
					h.Runs = []headRun{{"z", true}}
					return true
				}); err != nil {
					t.Fatal(err)
				}
			}
			_, before, err := w.planner.record(t.Context(), "head.4711.1")
			if err != nil {
				t.Fatal(err)
			}
			ignored := ignore(w, e)
			h, after, err := w.planner.record(t.Context(), "head.4711.1")
			if err != nil || ignored == "" || h.SHA != e.SHA() {
				t.Fatalf("ignored %q, head %+v, %v", ignored, h, err)
			}
			if after <= before {
				t.Errorf("ignored by a read alone: %s", ignored)
			}
		})
	}
}

func TestLabelledRunEndsWithItsHead(t *testing.T) {
	w := setup(t)
	e := w.open(fakegithub.OpenPull{Head: "topic"}, w.commit("topic", "second", folder("a.yml", "name: x\ntrigger:\n  pull_request:\n    types: [labeled]\nrun: 'true'\n")))
	e.Action = "labeled"
	w.does(e, "planned", "")
	w.does(w.moved(e, w.commit("topic", "third", nil)), "cancelled", "Superseded", "nothing to run", "not_triggered")
	w.cancelled(w.plans()[0].Run, w.reasonOf(t))
}

// reasonOf is why the branch's newest commit ends what ran before.
func (w *world) reasonOf(t *testing.T) string {
	t.Helper()
	return "Superseded by " + w.git("rev-parse", "topic")[:7] + "."
}

func TestPushesEndNothing(t *testing.T) {
	w := setup(t)
	first := w.commit("main", "second", folder("a.yml", onAll))
	w.does(push("refs/heads/main", zero, first), "planned", "")
	w.does(push("refs/heads/main", first, w.commit("main", "third", nil)), "planned", "")
	for _, plan := range w.plans() {
		w.cancelled(plan.Run, "")
	}
}

func TestMergeGroupThatEndedFirstIsNotTested(t *testing.T) {
	w := setup(t)
	e := queueEvent("destroyed")
	e.MergeGroup.HeadSHA, e.MergeGroup.BaseSHA = w.commit("topic", "second", folder("a.yml", onMain)), w.git("rev-parse", "main")
	w.does(e)
	e.Action = "checks_requested"
	w.does(e, "ignored", "done with the group")
}
