package launcher

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/verdict"
)

// held are the leases that stand in KV, by key.
func (w *world) held() map[string]lease {
	w.t.Helper()
	all, err := w.bus.Slots().List(w.t.Context(), ">")
	if err != nil {
		w.t.Fatal(err)
	}
	held := map[string]lease{}
	for key, data := range all {
		if strings.HasPrefix(key, alivePrefix) || key == limitsKey {
			continue
		}
		var one lease
		if err := json.Unmarshal(data, &one); err != nil {
			w.t.Fatal(err)
		}
		held[key] = one
	}
	return held
}

// awaitHeld waits until the leases are as wanted.
func (w *world) awaitHeld(want func(map[string]lease) bool) map[string]lease {
	w.t.Helper()
	changed := make(chan struct{}, 1)
	ctx, cancel := context.WithTimeout(w.t.Context(), waitLimit)
	defer cancel()
	done := make(chan struct{})
	defer func() { cancel(); <-done }()
	go func() {
		defer close(done)
		w.bus.Slots().Follow(ctx, bus.Following{Patterns: []string{">"}}, func(bus.Entry) {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	}()
	for {
		if held := w.held(); want(held) {
			return held
		}
		select {
		case <-changed:
		case <-ctx.Done():
			w.t.Fatalf("the leases are %v", w.held())
		}
	}
}

func (w *world) jobs(repo int64, n int) (jobs []flow.Job) {
	for i := range n {
		j := w.job(repo, i)
		j.Repo.Name, j.Source = fmt.Sprint(repo), ""
		jobs = append(jobs, j)
	}
	return jobs
}

func TestAJobWithoutALimitTakesNoLease(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	w.run()
	jobs := w.jobs(7, 2)
	w.publish(jobs...)
	for range jobs {
		m.end(<-m.begun)
	}
	// The launcher says that it lives, at a moment of its own.
	var keys map[string][]byte
	for len(keys) == 0 {
		var err error
		if keys, err = w.bus.Slots().List(t.Context(), ">"); err != nil {
			t.Fatal(err)
		}
	}
	for key := range keys {
		if !strings.HasPrefix(key, alivePrefix) {
			t.Errorf("keys %v", keys)
		}
	}
}

// TestALimitHoldsOverAllLaunchers has two executors with more slots than a
// repository may use.
func TestALimitHoldsOverAllLaunchers(t *testing.T) {
	for name, set := range map[string]func(*Options){
		"of the repository":   func(o *Options) { o.RepositoryJobs = 2 },
		"of the installation": func(o *Options) { o.InstallationJobs = 2 },
		"of both":             func(o *Options) { o.RepositoryJobs, o.InstallationJobs = 2, 3 },
	} {
		t.Run(name, func(t *testing.T) {
			one, two := newMachine(), newMachine()
			two.begun = one.begun
			w := setup(t, one)
			w.options.Slots = 5
			set(&w.options)
			w.run()
			w.executor = two
			w.run()
			jobs := w.jobs(7, 20)
			w.publish(jobs...)
			running := map[string]bool{}
			for range jobs {
				id := <-one.begun
				running[id] = true
				if len(running) > 2 {
					t.Fatalf("%d run", len(running))
				}
				if len(running) < 2 {
					continue
				}
				for id := range running {
					delete(running, id) // before its end frees the place
					for _, m := range []*machine{one, two} {
						m.mu.Lock()
						_, has := m.jobs[id]
						m.mu.Unlock()
						if has {
							m.end(id)
						}
					}
					break
				}
			}
			if a, b := one.peak(), two.peak(); a > 2 || b > 2 {
				t.Errorf("%d and %d ran at once", a, b)
			}
		})
	}
}

func (m *machine) peak() int {
	_, most := m.begunJobs()
	return most
}

// TestARepositoryAtItsLimitDelaysNobody has 500 jobs of one repository before a
// single one of another, with and without a limit.
func TestARepositoryAtItsLimitDelaysNobody(t *testing.T) {
	for name, limit := range map[string]int{"at its limit": 2, "without a limit": 0} {
		t.Run(name, func(t *testing.T) {
			m := newMachine()
			w := setup(t, m)
			w.options.Slots, w.options.RepositoryJobs, w.options.Tell = 4, limit, time.Millisecond
			w.run()
			w.publish(w.jobs(7, 500)...)
			most := w.options.Slots
			if limit > 0 {
				most = limit
			}
			var running []string
			for len(running) < most {
				running = append(running, <-m.begun)
			}
			single := w.jobs(8, 1)[0]
			w.publish(single)
			// Under its limit the large one leaves two slots free. Otherwise the first that
			// comes free is the single job's.
			next := ""
			if limit == 0 {
				await(t, w.bus, flow.States, func(s flow.Status) bool { return s.Job == single.Job && s.State == flow.Queued })
				m.end(running[0])
			}
			if next = <-m.begun; next != external(single) {
				t.Errorf("%s was started before the single job", next)
			}
		})
	}
}

// TestALauncherTakesOverTheLeasesOfOneThatDied has a launcher that finds the job of
// a dead one running on its executor.
func TestALauncherTakesOverTheLeasesOfOneThatDied(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	w.options.Slots, w.options.RepositoryJobs, w.options.InstallationJobs, w.options.HolderLife = 4, 1, 5, time.Second
	stop := w.run()
	jobs := w.jobs(7, 2)
	w.publish(jobs[0])
	w.started(jobs[0])
	before := w.held()
	first := before["repo.7.0"]
	if len(before) != 2 || first.Attempt != jobs[0].AttemptID() || before["inst.1.0"] != first {
		t.Fatalf("leases %v", before)
	}
	stop()
	w.run()
	w.publish(jobs[1])
	w.awaitHeld(func(held map[string]lease) bool {
		now := held["repo.7.0"]
		return len(held) == 2 && now.Attempt == first.Attempt && now.Holder != first.Holder && held["inst.1.0"] == now
	})
	w.wantRuns(m, jobs[0])
	m.end(external(jobs[0]))
	w.started(jobs[1])
	m.end(external(jobs[1]))
	w.awaitHeld(func(held map[string]lease) bool { return len(held) == 0 })
}

// slowCount is a machine whose first list takes as long as a lease of the dead, which
// nobody must take for void meanwhile, could stay.
type slowCount struct {
	*machine
	once sync.Once
	wait func()
}

func (s *slowCount) List(ctx context.Context) ([]executor.Handle, error) {
	s.once.Do(s.wait)
	return s.machine.List(ctx)
}

// TestALeaseIsNotVoidBeforeTheJobsAreCounted has the job of a dead launcher, which runs
// on an executor that takes its time to list its jobs.
func TestALeaseIsNotVoidBeforeTheJobsAreCounted(t *testing.T) {
	m := &slowCount{machine: newMachine()}
	w := setup(t, m)
	w.options.Slots, w.options.RepositoryJobs, w.options.HolderLife = 4, 1, time.Second
	jobs := w.jobs(7, 2)
	dead := lease{jobs[0].AttemptID(), "dead"}
	value, err := json.Marshal(dead)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.bus.Slots().Put(t.Context(), "repo.7.0", value, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Start(t.Context(), executor.Spec{ID: external(jobs[0])}); err != nil {
		t.Fatal(err)
	}
	m.wait = func() {
		// Four times as long as a lease of the dead stays.
		for end := time.Now().Add(4 * w.options.HolderLife / 6); time.Now().Before(end); {
			if held := w.held(); held["repo.7.0"] != dead {
				t.Errorf("leases %v", held)
				return
			}
		}
	}
	w.run()
	w.awaitHeld(func(held map[string]lease) bool {
		now := held["repo.7.0"]
		return now.Attempt == dead.Attempt && now.Holder != dead.Holder
	})
}

// TestTheLeaseOfADeadLauncherIsVoid has one whose machine is gone with its job.
func TestTheLeaseOfADeadLauncherIsVoid(t *testing.T) {
	w := setup(t, newMachine())
	w.options.Slots, w.options.RepositoryJobs, w.options.HolderLife = 4, 1, time.Second
	stop := w.run()
	jobs := w.jobs(7, 2)
	w.publish(jobs[0])
	w.started(jobs[0])
	stop()
	m := newMachine()
	w.executor = m
	w.run()
	w.publish(jobs[1])
	w.started(jobs[1])
	w.wantRuns(m, jobs[1])
}

// TestTheLeaseOfAnAttemptWithAVerdictIsVoid has a lease that somebody who lives has
// forgotten.
func TestTheLeaseOfAnAttemptWithAVerdictIsVoid(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	w.options.RepositoryJobs, w.options.HolderLife = 1, 5*time.Second
	jobs := w.jobs(7, 2)
	if _, err := verdict.Settle(t.Context(), w.bus, flow.ResultOf(jobs[0], flow.Success, flow.CauseExit, "", time.Now())); err != nil {
		t.Fatal(err)
	}
	value, err := json.Marshal(lease{jobs[0].AttemptID(), "other"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.bus.Slots().Put(t.Context(), "repo.7.0", value, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := w.bus.Slots().Put(t.Context(), alivePrefix+"other", []byte("{}"), 0); err != nil {
		t.Fatal(err)
	}
	w.run()
	w.publish(jobs[1])
	w.started(jobs[1])
}

// TestAnAttemptThatComesAgainKeepsItsLease has jobs that came in another order when
// the launcher of the first died between its lease and its start.
func TestAnAttemptThatComesAgainKeepsItsLease(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	w.options.Slots, w.options.RepositoryJobs, w.options.HolderLife = 4, 1, time.Hour
	jobs := w.jobs(7, 2)
	value, err := json.Marshal(lease{jobs[1].AttemptID(), "dead"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.bus.Slots().Put(t.Context(), "repo.7.0", value, 0); err != nil {
		t.Fatal(err)
	}
	w.run()
	w.publish(jobs...)
	if id := <-m.begun; id != external(jobs[1]) {
		t.Errorf("%s was started first", id)
	}
	if held := w.held(); held["repo.7.0"].Holder == "dead" {
		t.Errorf("leases %v", held)
	}
	m.end(external(jobs[1]))
	w.started(jobs[0])
}

func TestAJobThatIsNotStartedGivesItsLeaseBack(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	w.options.RepositoryJobs = 1
	w.run()
	j := w.job(7, 0)
	j.Source = flow.SourceName(7, merge) // which is not there
	w.publish(j)
	w.result(j)
	w.awaitHeld(func(held map[string]lease) bool { return len(held) == 0 })
}

// TestAPlaceThatComesFreeDuringTheSearchIsNotMissed has a lease that is given back
// after it was found and before the slot is.
func TestAPlaceThatComesFreeDuringTheSearchIsNotMissed(t *testing.T) {
	w := setup(t, newMachine())
	q := newQueue(bounds{slots: 4, repository: 1})
	l := newLeases(w.bus, q, w.options.withDefaults(), zaptest.NewLogger(t))
	key := scope{repository, 7}.key(0)
	revision, err := w.bus.Slots().Put(t.Context(), key, []byte(`{"attempt":"x","holder":"other"}`), 0)
	if err != nil {
		t.Fatal(err)
	}
	late := q.join(of(7), holderOf("late"), 1, false)
	<-late.served
	crowd, err := l.acquire(t.Context(), of(7), late.holder)
	if err != nil || crowd == nil {
		t.Fatalf("acquire gave %v, %v", crowd, err)
	}
	if err := w.bus.Slots().Release(t.Context(), key, revision); err != nil {
		t.Fatal(err)
	}
	l.hear(bus.Entry{Key: key, Gone: true})
	late = q.back(late, *crowd)
	select {
	case <-late.served:
	default:
		t.Fatalf("it waits for %+v, and nothing will wake it", q.why(late))
	}
	if crowd, err := l.acquire(t.Context(), of(7), late.holder); err != nil || crowd != nil {
		t.Errorf("acquire gave %v, %v", crowd, err)
	}
}

// TestACrowdedScopeIsLeftAloneUntilItChanges has an attempt with two leases, so that
// there is no place where there seems to be one.
func TestACrowdedScopeIsLeftAloneUntilItChanges(t *testing.T) {
	w := setup(t, newMachine())
	q := newQueue(bounds{slots: 4, repository: 2})
	l := newLeases(w.bus, q, w.options.withDefaults(), zaptest.NewLogger(t))
	<-q.join(of(7), holderOf("twice"), 1, false).served
	double := lease{"twice", l.holder}
	q.note(func(c *caps) { c.set(scope{repository, 7}, 0, double); c.set(scope{repository, 7}, 1, double) })
	late := q.join(of(7), holderOf("late"), 2, false)
	<-late.served
	crowd, err := l.acquire(t.Context(), of(7), late.holder)
	if err != nil || crowd == nil {
		t.Fatalf("acquire gave %v, %v", crowd, err)
	}
	late = q.back(late, *crowd)
	select {
	case <-late.served:
		t.Fatal("it was served again though nothing has changed")
	default:
	}
	q.note(func(c *caps) { c.drop(scope{repository, 7}, 1) })
	<-late.served
}

// TestALimitThatIsRaisedDuringTheSearchIsNotMissed has no place under the limit from
// before.
func TestALimitThatIsRaisedDuringTheSearchIsNotMissed(t *testing.T) {
	w := setup(t, newMachine())
	q := newQueue(bounds{slots: 4, repository: 1})
	l := newLeases(w.bus, q, w.options.withDefaults(), zaptest.NewLogger(t))
	if _, err := w.bus.Slots().Put(t.Context(), scope{repository, 7}.key(0), []byte(`{"attempt":"x","holder":"other"}`), 0); err != nil {
		t.Fatal(err)
	}
	late := q.join(of(7), holderOf("late"), 1, false)
	<-late.served
	crowd, err := l.acquire(t.Context(), of(7), late.holder)
	if err != nil || crowd == nil {
		t.Fatalf("acquire gave %v, %v", crowd, err)
	}
	two := 2
	q.limit(Limits{Repository: &two})
	select {
	case <-q.back(late, *crowd).served:
	default:
		t.Error("it waits, and nothing will wake it")
	}
}

// tells waits until people are told that any job waits for something.
func (w *world) tells(forWhat string) {
	w.t.Helper()
	await(w.t, w.bus, flow.States, func(s flow.Status) bool { return s.State == flow.Queued && s.Message == forWhat })
}

func TestLimitsHoldAtOnce(t *testing.T) {
	m := newMachine()
	w := setup(t, m)
	w.options.Slots, w.options.RepositoryJobs, w.options.Tell = 1, 2, time.Millisecond
	w.run()
	w.publish(w.jobs(7, 12)...)
	change := func(fn func(*Limits)) {
		t.Helper()
		if _, err := ChangeLimits(t.Context(), w.bus, fn); err != nil {
			t.Fatal(err)
		}
	}
	running := map[string]bool{}
	begin := func(n int) {
		t.Helper()
		for range n {
			running[<-m.begun] = true
		}
	}
	end := func(n int) {
		t.Helper()
		for id := range running {
			if n == 0 {
				break
			}
			delete(running, id)
			m.end(id)
			n--
		}
	}
	begin(1)
	w.tells("no free slot: 1 of 1 taken")

	change(func(l *Limits) { l.Slots = map[string]int{"": 8} })
	begin(1)
	w.tells("the repository's limit of 2 jobs is reached")

	four := 4
	change(func(l *Limits) { l.Repository = &four })
	begin(2)
	w.tells("the repository's limit of 4 jobs is reached")

	change(func(l *Limits) { l.Repositories = map[string]int{"octo/7": 5} })
	begin(1)
	change(func(l *Limits) { l.Repositories, l.Installations = map[string]int{"octo/7": 9}, map[string]int{"1": 3} })
	w.tells("the installation's limit of 3 jobs is reached")
	if m.peak() != 5 {
		t.Errorf("%d ran at once", m.peak())
	}

	// What is lowered stops nothing, and holds for what comes next.
	change(func(l *Limits) { l.Installations, l.Repositories = nil, map[string]int{"octo/7": 1} })
	w.tells("the repository's limit of 1 job is reached")
	end(4)
	w.awaitHeld(func(held map[string]lease) bool { return len(held) == 1 })
	if ids, _ := m.begunJobs(); len(ids) != 5 {
		t.Errorf("%d have begun", len(ids))
	}
	end(1)
	begin(1)
	change(func(l *Limits) { *l = Limits{Slots: map[string]int{"": 0}} })
	w.tells("no free slot: the operator has closed the pool for now")
	end(1)
	change(func(l *Limits) { *l = Limits{} })
	begin(1)
}
