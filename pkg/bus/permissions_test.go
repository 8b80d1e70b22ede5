package bus_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/flow"
)

// asked is a connection of a user that tells what it is refused.
type asked struct {
	*nats.Conn
	refused chan string
}

func askAs(t *testing.T, s *server.Server, keys, user string) *asked {
	t.Helper()
	option, err := nats.NkeyOptionFromSeed(keyOf(keys, user))
	if err != nil {
		t.Fatal(err)
	}
	a := &asked{refused: make(chan string, 100)}
	a.Conn, err = nats.Connect(s.ClientURL(), option, nats.Timeout(time.Minute), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
		if errors.Is(err, nats.ErrPermissionViolation) {
			a.refused <- err.Error()
		} else {
			a.refused <- "another error: " + err.Error()
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// end is a subject that nobody may publish to: its refusal comes after all before it.
const end = "nobody.may"

// refusals are what was refused of what was asked since the last call.
func (a *asked) refusals(t *testing.T) (texts []string) {
	t.Helper()
	if err := a.Publish(end, nil); err != nil {
		t.Fatal(err)
	}
	for {
		select {
		case text := <-a.refused:
			if strings.Contains(text, end) {
				return texts
			}
			texts = append(texts, text)
		case <-time.After(time.Minute):
			t.Fatal("the server does not answer")
		}
	}
}

// The rights that matter, user by user: what each must be able to do, and what it must
// not. The table of rights is long; this one says what it is for.
func TestEachUserMayDoItsWorkAndNotThatOfOthers(t *testing.T) {
	s, keys := restricted(t, "gpu", "desk")
	if err := as(t, s, keys, "provision", zap.NewNop()).Provision(t.Context(), small); err != nil {
		t.Fatal(err)
	}
	// Where nothing answers, a refusal and a right look alike only to the one who asks:
	// the server's word is what counts.
	everybody := []string{
		"$JS.API.STREAM.DELETE.EVENTS", "$JS.API.STREAM.DELETE.KV_runs", "$JS.API.STREAM.PURGE.JOBS", "$JS.API.STREAM.PURGE.KV_runs",
		"$JS.API.STREAM.MSG.DELETE.JOBS", "$JS.API.STREAM.RESTORE.X", "$JS.API.STREAM.SNAPSHOT.JOBS", "$JS.API.STREAM.LEADER.STEPDOWN.JOBS",
		"$JS.API.CONSUMER.DELETE.EVENTS.planner", "$JS.API.CONSUMER.DELETE.JOBS.launcher", "$JS.API.CONSUMER.DELETE.STATUS.watcher",
		"$JS.API.CONSUMER.RESET.JOBS.launcher", "$JS.API.ACCOUNT.PURGE.LITCI", "$JS.EVENT.ADVISORY.X",
		"$SYS.REQ.SERVER.PING", "_INBOX_other.x", "unheard.of",
	}
	services := []string{
		"$JS.API.CONSUMER.PAUSE.JOBS.launcher",
		"$JS.API.STREAM.CREATE.MINE", "$JS.API.STREAM.UPDATE.JOBS", "$JS.API.STREAM.MSG.GET.JOBS",
		"$JS.API.CONSUMER.CREATE.JOBS.launcher", "$JS.API.CONSUMER.CREATE.JOBS.launcher.jobs.start", "$JS.API.CONSUMER.CREATE.JOBS.mine.jobs.start",
		"$JS.API.CONSUMER.CREATE.JOBS", "$JS.API.CONSUMER.DURABLE.CREATE.JOBS.launcher", "$JS.API.CONSUMER.CREATE.EVENTS.planner.events.pr",
		"$JS.API.CONSUMER.CREATE.KV_runs.mine", "$JS.API.CONSUMER.CREATE.KV_runs.mine.$KV.runs.>", "$KV.slots.limits",
	}
	for _, c := range []struct {
		user string
		may  string
		not  string
	}{
		{
			user: "ingress", may: "events.pr $KV.runs.sweep.lease",
			not: "jobs.start results jobs.status jobs.plan.x dlq.planner $KV.runs.head.1.2 $KV.runs.cancel.x $JS.API.DIRECT.GET.EVENTS $JS.API.DIRECT.GET.JOBS " +
				"$JS.API.CONSUMER.MSG.NEXT.EVENTS.planner $JS.ACK.EVENTS.planner.1.1.1.1.0 $JS.API.DIRECT.GET.KV_runs.$KV.runs.run.x $O.sources.C.x",
		},
		{
			user: "planner", may: "jobs.plan.x jobs.start jobs.start.gpu results dlq.planner $KV.runs.head.1.2 $KV.runs.cancel.x $JS.API.CONSUMER.MSG.NEXT.EVENTS.planner " +
				"$JS.ACK.EVENTS.planner.1.1.1.1.0 $JS.ACK.hub.hash.EVENTS.planner.1.1.1.1.0 $O.sources.C.x",
			not: "events.pr jobs.status jobs.log.x dlq.launcher $KV.runs.run.x $KV.runs.check.x.0 $KV.runs.source.x $KV.slots.repo.1.0 $KV.runs.pool.default $O.logs.C.x " +
				"$JS.API.CONSUMER.MSG.NEXT.JOBS.launcher $JS.ACK.JOBS.launcher.1.1.1.1.0 $JS.ACK.hub.hash.JOBS.launcher.1.1.1.1.0 $JS.API.STREAM.PURGE.OBJ_logs $KV.runs.crash.JOBS.launcher.1",
		},
		{
			user: "launcher", may: "jobs.start jobs.status results dlq.launcher $KV.slots.repo.1.0 $KV.runs.source.x $KV.runs.pool.default $JS.API.CONSUMER.MSG.NEXT.JOBS.launcher",
			not: "events.pr jobs.plan.x jobs.start.gpu jobs.status.gpu jobs.log.x dlq.watcher $KV.runs.head.1.2 $KV.runs.run.x $KV.runs.pool.gpu $O.sources.C.x $O.logs.C.x " +
				"$JS.API.CONSUMER.MSG.NEXT.JOBS.launcher-gpu $JS.API.CONSUMER.MSG.NEXT.JOBS.reporter-jobs $JS.API.CONSUMER.MSG.NEXT.STATUS.watcher " +
				"$JS.ACK.STATUS.watcher.1.1.1.1.0 $JS.API.DIRECT.GET.KV_runs.$KV.runs.run.x $JS.API.DIRECT.GET.EVENTS",
		},
		{
			user: "watcher", may: "jobs.start jobs.status jobs.log.x results dlq.watcher $O.logs.C.x $KV.runs.attempt.x.0 $JS.API.CONSUMER.MSG.NEXT.STATUS.watcher",
			not: "events.pr jobs.plan.x jobs.start.gpu dlq.launcher $KV.runs.source.x $KV.slots.repo.1.0 $KV.runs.pool.default $KV.runs.group.1.x $O.sources.C.x " +
				"$JS.API.CONSUMER.MSG.NEXT.STATUS.reporter $JS.API.CONSUMER.MSG.NEXT.STATUS.watcher-gpu $JS.API.DIRECT.GET.OBJ_sources.$O.sources.M.x",
		},
		{
			user: "reporter", may: "$KV.runs.run.x $KV.runs.post.commit.1.x dlq.reporter $JS.API.CONSUMER.MSG.NEXT.RESULTS.reporter $JS.API.CONSUMER.CREATE.LOGS.v.jobs.log.x",
			not: "events.pr jobs.plan.x jobs.start jobs.status results jobs.log.x dlq.planner $KV.runs.cancel.x $KV.runs.head.1.2 $KV.slots.repo.1.0 $O.logs.C.x $O.sources.C.x " +
				"$JS.API.CONSUMER.MSG.NEXT.JOBS.launcher $JS.API.CONSUMER.MSG.NEXT.STATUS.watcher $JS.API.STREAM.PURGE.OBJ_sources",
		},
		{
			user: "pool-gpu", may: "jobs.start.gpu jobs.status.gpu jobs.log.x results dlq.launcher dlq.watcher $KV.runs.pool.gpu $KV.slots.repo.1.0 " +
				"$JS.API.CONSUMER.MSG.NEXT.JOBS.launcher-gpu $JS.API.CONSUMER.MSG.NEXT.STATUS.watcher-gpu",
			not: "events.pr jobs.plan.x jobs.start jobs.status jobs.start.desk jobs.status.desk dlq.planner $KV.runs.pool.default $KV.runs.pool.desk $KV.runs.head.1.2 " +
				"$KV.runs.run.x $JS.API.CONSUMER.MSG.NEXT.JOBS.launcher $JS.API.CONSUMER.MSG.NEXT.JOBS.launcher-desk $JS.API.CONSUMER.MSG.NEXT.STATUS.watcher " +
				"$JS.ACK.JOBS.launcher.1.1.1.1.0 $JS.ACK.JOBS.launcher-desk.1.1.1.1.0 $KV.runs.crash.JOBS.launcher-desk.1 $O.sources.C.x",
		},
		{
			user: "tail", may: "$JS.API.DIRECT.GET.EVENTS $JS.API.CONSUMER.LIST.JOBS $JS.API.STREAM.NAMES",
			not: "events.pr jobs.start jobs.status results jobs.log.x dlq.x $KV.runs.cancel.x $O.logs.C.x $JS.API.CONSUMER.MSG.NEXT.JOBS.launcher " +
				"$JS.API.CONSUMER.CREATE.LOGS.v.jobs.log.x $JS.API.DIRECT.GET.KV_runs.$KV.runs.run.x $JS.ACK.JOBS.launcher.1.1.1.1.0",
		},
	} {
		t.Run(c.user, func(t *testing.T) {
			conn := askAs(t, s, keys, c.user)
			publish := func(subjects ...string) (refused []string) {
				for _, subject := range subjects {
					// Nothing goes that a stream would take: a batch that is never committed.
					m := &nats.Msg{Subject: subject, Header: nats.Header{"Nats-Expected-Stream": {"none"}}}
					if err := conn.PublishMsg(m); err != nil {
						t.Fatal(err)
					}
				}
				return conn.refusals(t)
			}
			if refused := publish(strings.Fields(c.may)...); len(refused) > 0 {
				t.Errorf("what it must be able to do is refused: %q", refused)
			}
			for _, subject := range append(append(strings.Fields(c.not), everybody...), services...) {
				if refused := publish(subject); len(refused) != 1 || !strings.Contains(refused[0], `"`+subject+`"`) {
					t.Errorf("publish to %s: refused is %q", subject, refused)
				}
			}
		})
	}
	for user, subjects := range map[string][]string{
		"operator":  append([]string{"$JS.API.STREAM.CREATE.MINE", "$JS.API.STREAM.UPDATE.JOBS", "$JS.API.CONSUMER.CREATE.JOBS.launcher.jobs.start", "$KV.runs.run.x", "$KV.slots.repo.1.0", "jobs.log.x", "$O.logs.C.x"}, everybody...),
		"provision": append([]string{"events.pr", "jobs.start", "results", "$KV.runs.run.x", "$JS.API.DIRECT.GET.JOBS", "$JS.API.CONSUMER.MSG.NEXT.JOBS.launcher"}, everybody...),
		"runner":    append([]string{"events.pr", "jobs.plan.x", "jobs.start.gpu"}, everybody...),
	} {
		t.Run(user, func(t *testing.T) {
			conn := askAs(t, s, keys, user)
			for _, subject := range subjects {
				if err := conn.Publish(subject, nil); err != nil {
					t.Fatal(err)
				}
				if refused := conn.refusals(t); len(refused) != 1 || !strings.Contains(refused[0], `"`+subject+`"`) {
					t.Errorf("publish to %s: refused is %q", subject, refused)
				}
			}
		})
	}
}

// Answers hold what was asked for: nobody hears those of others, or what passes.
func TestEachUserHearsItsOwnAnswersAlone(t *testing.T) {
	s, keys := restricted(t, "gpu")
	users := bus.Users("gpu")
	for _, u := range users {
		t.Run(u.Name, func(t *testing.T) {
			conn := askAs(t, s, keys, u.Name)
			subjects := []string{">", "*", "*.>", "_INBOX.>", "_INBOX.x", "_INBOX_*.>", "$JS.>", "$KV.>", "$O.>", "$JS.API.>", "$JS.ACK.>", "$SYS.>"}
			if u.Name != bus.Viewer {
				subjects = append(subjects, "events.pr", "jobs.start", "jobs.status", "results", "jobs.>", "dlq.>", "jobs.log.x")
			}
			for _, other := range users {
				if other.Name != u.Name {
					subjects = append(subjects, "_INBOX_"+other.Name+".>", "_INBOX_"+other.Name+".x")
				}
			}
			for _, subject := range subjects {
				sub, err := conn.SubscribeSync(subject)
				if err != nil {
					t.Fatal(err)
				}
				if refused := conn.refusals(t); len(refused) != 1 || !strings.Contains(refused[0], `"`+subject+`"`) {
					t.Errorf("subscription to %s: refused is %q", subject, refused)
				}
				if err := sub.Unsubscribe(); err != nil {
					t.Fatal(err)
				}
			}
			own := []string{"_INBOX_" + u.Name + ".x"}
			if u.Name == bus.Viewer {
				own = append(own, "events.pr", "jobs.start", "jobs.>", "results", "dlq.>")
			}
			for _, subject := range own {
				if _, err := conn.SubscribeSync(subject); err != nil {
					t.Fatal(err)
				}
			}
			if refused := conn.refusals(t); len(refused) > 0 {
				t.Errorf("its own is refused: %q", refused)
			}
		})
	}
}

// NATS does not ask who may publish where an answer goes. Whoever looks on has an
// account of its own, so that no answer gets into a stream or a bucket.
func TestWhoLooksOnSeesAllAndPutsNothingIntoAStream(t *testing.T) {
	s, keys := restricted(t)
	if err := as(t, s, keys, "provision", zap.NewNop()).Provision(t.Context(), small); err != nil {
		t.Fatal(err)
	}
	in := as(t, s, keys, "ingress", zap.NewNop())
	viewer := as(t, s, keys, bus.Viewer, zap.NewNop())
	publish := func(delivery string) {
		t.Helper()
		if err := bus.Publish(t.Context(), in, flow.Events, event(delivery)); err != nil {
			t.Fatal(err)
		}
	}
	publish("one")
	ctx, stop := context.WithCancel(t.Context())
	seen, done := make(chan string, 10), make(chan error, 1)
	go func() {
		done <- viewer.View(ctx, bus.Viewing{Subjects: []string{"events.pr"}, All: true, Follow: true}, func(m bus.Stored) error {
			seen <- m.Headers[flow.HeaderDelivery]
			return nil
		})
	}()
	if first := receive(t, seen); first != "one" {
		t.Errorf("the first that is seen is %s", first)
	}
	publish("two")
	if second := receive(t, seen); second != "two" {
		t.Errorf("the second that is seen is %s", second)
	}
	stop()
	if err := receive(t, done); err != nil {
		t.Error(err)
	}

	raw := askAs(t, s, keys, bus.Viewer)
	for _, reply := range []string{"jobs.start", "$KV.runs.cancel.run"} {
		if err := raw.PublishMsg(&nats.Msg{Subject: "$JS.API.DIRECT.GET.EVENTS", Reply: reply, Data: []byte(`{"seq":1}`)}); err != nil {
			t.Fatal(err)
		}
	}
	if refused := raw.refusals(t); len(refused) > 0 {
		t.Errorf("refused: %q", refused)
	}
	publish("three") // behind what was asked
	if end, err := as(t, s, keys, bus.Operator, zap.NewNop()).End(t.Context(), string(flow.Jobs)); err != nil || end.Sequence != 1 {
		t.Errorf("the stream of jobs ends at %+v, %v", end, err)
	}
	if _, _, err := as(t, s, keys, "planner", zap.NewNop()).Runs().Get(t.Context(), "cancel.run"); !errors.Is(err, bus.ErrNotFound) {
		t.Errorf("the key: %v", err)
	}
}
