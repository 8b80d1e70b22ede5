package concurrency

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
	"github.com/litci/litci/pkg/cancellation"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/leaktest"
	"github.com/litci/litci/pkg/verdict"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func member(run string, jobs ...int) Member {
	if jobs == nil {
		jobs = []int{0}
	}
	return Member{Run: run, Workflow: "deploy.yml", Jobs: jobs, At: time.Now().UTC()}
}

func rerun(run string, index, attempt int) Member {
	m := member(run, index)
	m.Attempts = map[int]int{index: attempt}
	return m
}

func (m Member) begun() Member             { m.Begun = true; return m }
func (m Member) leaving(why string) Member { m.Leaves, m.By = why, "x"; return m }
func (m Member) of(workflow string) Member { m.Workflow = workflow; return m }

// show writes members as r1:0,1 with ! for begun and - for leaving.
func show(members []Member) string {
	var out []string
	for _, m := range members {
		text := m.Run + ":"
		for i, index := range m.Jobs {
			if i > 0 {
				text += ","
			}
			text += fmt.Sprint(index)
			if a := m.attempt(index); a > 1 {
				text += fmt.Sprint("a", a)
			}
		}
		if m.Begun {
			text += "!"
		}
		if m.Leaves != "" {
			text += "-"
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

func TestEntering(t *testing.T) {
	many := []Member{member("r0").begun()}
	for i := range full {
		many = append(many, member(fmt.Sprint("r", i+1)))
	}
	for name, test := range map[string]struct {
		have []Member
		c    flow.Concurrency
		m    Member
		want string
	}{
		"an empty group":                   {nil, flow.Concurrency{}, member("r1"), "r1:0"},
		"behind what runs":                 {[]Member{member("r1").begun()}, flow.Concurrency{}, member("r2"), "r1:0! r2:0"},
		"behind who comes next":            {[]Member{member("r1")}, flow.Concurrency{}, member("r2"), "r1:0 r2:0"},
		"what waits is replaced":           {[]Member{member("r1").begun(), member("r2")}, flow.Concurrency{}, member("r3"), "r1:0! r2:0- r3:0"},
		"queue all keeps it":               {[]Member{member("r1").begun(), member("r2")}, flow.Concurrency{Queue: "all"}, member("r3"), "r1:0! r2:0 r3:0"},
		"what runs is replaced":            {[]Member{member("r1").begun(), member("r2")}, flow.Concurrency{CancelInProgress: true}, member("r3"), "r1:0!- r2:0- r3:0"},
		"the same again":                   {[]Member{member("r1").begun(), member("r2")}, flow.Concurrency{}, member("r2"), "r1:0! r2:0"},
		"the same when replaced":           {[]Member{member("r1").leaving("x"), member("r2")}, flow.Concurrency{}, member("r1"), "r1:0- r2:0"},
		"a sibling replaces nobody":        {[]Member{member("r1").begun(), member("r2").of("a"), member("r2").of("b")}, flow.Concurrency{CancelInProgress: true}, member("r2"), "r1:0!- r2:0 r2:0 r2:0"},
		"a re-run beside its run":          {[]Member{member("r1", 0, 1).begun()}, flow.Concurrency{}, rerun("r1", 1, 2), "r1:0,1a2!"},
		"a re-run of what leaves":          {[]Member{member("r1", 0, 1).begun().leaving("x"), member("r2")}, flow.Concurrency{}, rerun("r1", 1, 2), "r1:0,1!- r2:0- r1:1a2"},
		"a re-run of what leaves, again":   {[]Member{member("r1", 0, 1).leaving("x"), rerun("r1", 1, 2)}, flow.Concurrency{}, rerun("r1", 1, 2), "r1:0,1- r1:1a2"},
		"whoever leaves does not count":    {[]Member{member("r1").leaving("x"), member("r2")}, flow.Concurrency{}, member("r3"), "r1:0- r2:0 r3:0"},
		"who must leave is not replaced":   {[]Member{member("r1").begun().leaving("x"), member("r2")}, flow.Concurrency{}, member("r3"), "r1:0!- r2:0- r3:0"},
		"a hundred and first is refused":   {many, flow.Concurrency{Queue: "all"}, member("r"), show(many) + " r:0-"},
		"one that takes the place of many": {many[:2], flow.Concurrency{}, member("r"), "r0:0! r1:0- r:0"},
	} {
		g := group{Members: slices.Clone(test.have)}
		changed := g.enter(test.c, test.m)
		if got := show(g.Members); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
		if changed != (show(test.have) != test.want) {
			t.Errorf("%s: changed is %t", name, changed)
		}
	}
}

func TestWhoWaitsForWhom(t *testing.T) {
	for name, test := range map[string]struct {
		have  []Member
		place int
		want  int
	}{
		"alone":                          {[]Member{member("r1")}, 0, -1},
		"the oldest":                     {[]Member{member("r1"), member("r2")}, 0, -1},
		"the second":                     {[]Member{member("r1"), member("r2")}, 1, 0},
		"behind who never begins":        {[]Member{member("r1").leaving("x"), member("r2")}, 1, -1},
		"behind who must leave and runs": {[]Member{member("r1").begun().leaving("x"), member("r2")}, 1, 0},
		"having begun":                   {[]Member{member("r1").begun(), member("r2")}, 0, -1},
		"a sibling that waits":           {[]Member{member("r1").of("a"), member("r1")}, 1, -1},
		"a sibling that runs":            {[]Member{member("r1").of("a").begun(), member("r1")}, 1, 0},
		"a later sibling that runs":      {[]Member{member("r1").of("a"), member("r1").begun()}, 0, 1},
		"another run before a sibling":   {[]Member{member("r2"), member("r1").of("a"), member("r1")}, 2, 0},
	} {
		g := group{Members: test.have}
		if got := g.blocker(test.place); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

func TestOver(t *testing.T) {
	verdictOf := &flow.Result{}
	for name, test := range map[string]struct {
		record  verdict.Record
		attempt int
		want    bool
	}{
		"nothing recorded":            {verdict.Record{}, 1, false},
		"a verdict":                   {verdict.Record{Attempt: 1, Result: verdictOf}, 1, true},
		"tried again":                 {verdict.Record{Attempt: 2, Earlier: []flow.Earlier{{Attempt: 1}}}, 1, false},
		"tried again, with a verdict": {verdict.Record{Attempt: 2, Result: verdictOf, Earlier: []flow.Earlier{{Attempt: 1}}}, 1, true},
		"run again":                   {verdict.Record{Attempt: 2, Earlier: []flow.Earlier{{Attempt: 1, Rerun: true}}}, 1, true},
		"the re-run":                  {verdict.Record{Attempt: 2, Earlier: []flow.Earlier{{Attempt: 1, Rerun: true}}}, 2, false},
		"the re-run, not raised":      {verdict.Record{Attempt: 1, Result: verdictOf}, 2, false},
	} {
		if got := over(test.record, test.attempt); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestKeysIgnoreCase(t *testing.T) {
	a, b := Key(7, flow.Concurrency{Group: "Deploy / Main"}), Key(7, flow.Concurrency{Group: "deploy / main"})
	if a != b || a == Key(8, flow.Concurrency{Group: "deploy / main"}) || strings.ContainsAny(a, " /*>") {
		t.Errorf("keys %s, %s", a, b)
	}
}

// world is a group on a real bus.
type world struct {
	t   *testing.T
	bus *bus.Bus
	c   flow.Concurrency
}

func setup(t *testing.T, c flow.Concurrency) *world {
	t.Parallel()
	c.Group = "deploy"
	return &world{t, bustest.New(t), c}
}

func (w *world) enter(m Member) {
	w.t.Helper()
	if err := Enter(w.t.Context(), w.bus, 7, w.c, m); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) turn(m Member) (bool, string) {
	w.t.Helper()
	mine, ahead, err := Turn(w.t.Context(), w.bus, 7, w.c, m)
	if err != nil {
		w.t.Fatal(err)
	}
	return mine, ahead.Run
}

func (w *world) end(run string, index, attempt int) {
	w.t.Helper()
	r := flow.Result{Identity: flow.Identity{Run: run}, Job: flow.JobID(run, index), Index: index, Attempt: attempt, Conclusion: flow.Success}
	if _, err := verdict.Settle(w.t.Context(), w.bus, r); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) cancelled(run string, index, attempt int) string {
	w.t.Helper()
	r, err := cancellation.Of(w.t.Context(), w.bus, run, index, attempt)
	if err != nil {
		w.t.Fatal(err)
	}
	if r == nil {
		return ""
	}
	return r.Reason
}

const replaced = "Replaced by a newer run of group deploy."

func TestMembersRunOneAfterTheOther(t *testing.T) {
	w := setup(t, flow.Concurrency{Queue: "all"})
	w.enter(member("r1", 0, 1))
	w.enter(member("r2"))
	w.enter(member("r3"))
	if mine, ahead := w.turn(member("r2")); mine || ahead != "r1" {
		t.Errorf("r2: %t, behind %s", mine, ahead)
	}
	if mine, _ := w.turn(member("r1", 1)); !mine {
		t.Error("r1 has not its turn")
	}
	w.end("r1", 1, 1)
	if mine, ahead := w.turn(member("r2")); mine || ahead != "r1" {
		t.Errorf("r2: %t, behind %s", mine, ahead)
	}
	w.end("r1", 0, 1)
	if mine, ahead := w.turn(member("r3")); mine || ahead != "r2" {
		t.Errorf("r3: %t, behind %s", mine, ahead)
	}
	if mine, _ := w.turn(member("r2")); !mine {
		t.Error("r2 has not its turn")
	}
	for _, run := range []string{"r1", "r2", "r3"} {
		if reason := w.cancelled(run, 0, 1); reason != "" {
			t.Errorf("%s: %s", run, reason)
		}
	}
}

func TestTheNewestReplacesWhatWaits(t *testing.T) {
	w := setup(t, flow.Concurrency{})
	w.enter(member("r1"))
	w.turn(member("r1"))
	w.enter(member("r2", 0, 1))
	w.enter(member("r3"))
	if a, b := w.cancelled("r2", 0, 1), w.cancelled("r2", 1, 1); a != replaced || b != replaced {
		t.Errorf("r2: %q %q", a, b)
	}
	if w.cancelled("r1", 0, 1) != "" || w.cancelled("r3", 0, 1) != "" {
		t.Error("too much is cancelled")
	}
	w.end("r1", 0, 1)
	if mine, _ := w.turn(member("r2", 0)); mine {
		t.Error("what was replaced has its turn")
	}
	// r2 has not ended: it never began, and must not keep r3 waiting.
	if mine, ahead := w.turn(member("r3")); !mine {
		t.Errorf("r3 waits for %s", ahead)
	}
}

func TestWhatRunsIsReplacedAndWaitedFor(t *testing.T) {
	w := setup(t, flow.Concurrency{CancelInProgress: true})
	w.enter(member("r1"))
	w.turn(member("r1"))
	w.enter(member("r2"))
	w.enter(member("r2"))
	if reason := w.cancelled("r1", 0, 1); reason != replaced {
		t.Errorf("r1: %q", reason)
	}
	if mine, ahead := w.turn(member("r2")); mine || ahead != "r1" {
		t.Errorf("r2: %t, behind %s", mine, ahead)
	}
	w.end("r1", 0, 1)
	if mine, _ := w.turn(member("r2")); !mine {
		t.Error("r2 has not its turn")
	}
}

// TestARaisedAttemptOfAReplacedMemberIsStoppedToo has a job that was tried again at
// the moment at which it was replaced.
func TestARaisedAttemptOfAReplacedMemberIsStoppedToo(t *testing.T) {
	w := setup(t, flow.Concurrency{CancelInProgress: true})
	w.enter(member("r1"))
	w.turn(member("r1"))
	w.enter(member("r2"))
	if _, err := bus.Change(t.Context(), w.bus.Runs(), verdict.Key("r1", 0), func(r *verdict.Record) bool {
		*r = verdict.Record{Attempt: 2, Earlier: []flow.Earlier{{Attempt: 1, Cause: flow.CausePreempted}}}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	second := flow.Job{Identity: flow.Identity{Run: "r1"}, Attempt: 2, Earlier: []flow.Earlier{{Attempt: 1, Cause: flow.CausePreempted}}}
	if mine, _ := w.turn(MemberOf(second, "deploy.yml")); mine || w.cancelled("r1", 0, 2) != replaced {
		t.Errorf("mine is %t, cancelled %q", mine, w.cancelled("r1", 0, 2))
	}
}

func TestAReRunEntersAnew(t *testing.T) {
	w := setup(t, flow.Concurrency{Queue: "all"})
	w.enter(member("r1"))
	w.turn(member("r1"))
	w.end("r1", 0, 1)
	w.enter(member("r2"))
	w.turn(member("r2"))
	w.enter(rerun("r1", 0, 2))
	w.enter(rerun("r1", 0, 2))
	if mine, ahead := w.turn(rerun("r1", 0, 2)); mine || ahead != "r2" {
		t.Errorf("the re-run: %t, behind %s", mine, ahead)
	}
	w.end("r2", 0, 1)
	if mine, _ := w.turn(rerun("r1", 0, 2)); !mine {
		t.Error("the re-run has not its turn")
	}
	w.end("r1", 0, 2)
	// Its event comes again when all is over.
	w.enter(rerun("r1", 0, 2))
	w.enter(member("r3"))
	if mine, ahead := w.turn(member("r3")); !mine {
		t.Errorf("r3 waits for %s", ahead)
	}
}

func TestWhoNeverEnteredEntersWhenItAsks(t *testing.T) {
	w := setup(t, flow.Concurrency{})
	w.enter(member("r1"))
	if mine, ahead := w.turn(member("r2", 0)); mine || ahead != "r1" {
		t.Errorf("r2: %t, behind %s", mine, ahead)
	}
	w.end("r1", 0, 1)
	for _, index := range []int{0, 1} {
		if mine, _ := w.turn(member("r2", index)); !mine {
			t.Errorf("job %d of r2 has not its turn", index)
		}
	}
}

func TestAMemberWithoutAPlanIsDropped(t *testing.T) {
	w := setup(t, flow.Concurrency{})
	old := member("r1")
	old.At = time.Now().Add(-patience + time.Hour)
	w.enter(old)
	w.enter(member("r2"))
	if mine, ahead := w.turn(member("r2")); mine || ahead != "r1" {
		t.Errorf("r2: %t, behind %s", mine, ahead)
	}
	w.end("r1", 0, 1)
	w.end("r2", 0, 1)

	lost, unraised, planned := member("r3"), rerun("r2", 0, 2), member("r4")
	for _, m := range []*Member{&lost, &unraised, &planned} {
		m.At = time.Now().Add(-patience - time.Minute)
	}
	id := flow.Identity{Run: "r4"}
	err := bus.PublishPlan(t.Context(), w.bus, flow.Plan{Identity: id, Jobs: []flow.PlannedJob{{Job: "r4-0"}}}, []flow.Job{{Identity: id, Job: "r4-0", Attempt: 1}})
	if err != nil {
		t.Fatal(err)
	}
	w.c.Queue = "all"
	for _, m := range []Member{lost, unraised, planned} {
		w.enter(m)
	}
	if mine, ahead := w.turn(member("r5")); mine || ahead != "r4" {
		t.Errorf("r5: %t, behind %s", mine, ahead)
	}
}

func TestAFullGroupRefusesTheNewest(t *testing.T) {
	w := setup(t, flow.Concurrency{Queue: "all"})
	for i := range full + 1 {
		w.enter(member(fmt.Sprint("r", i)))
	}
	w.enter(member("late"))
	w.enter(member("late"))
	if reason := w.cancelled("late", 0, 1); reason != "Group deploy is full." {
		t.Errorf("late: %q", reason)
	}
	if w.cancelled("r0", 0, 1) != "" || w.cancelled("r100", 0, 1) != "" {
		t.Error("somebody else is cancelled")
	}
}
