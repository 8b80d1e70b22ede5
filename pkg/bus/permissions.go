package bus

import (
	"slices"
	"strings"

	"github.com/litci/litci/pkg/flow"
)

// User is one who signs in to NATS with a key of its own, and the subjects that it
// may publish to and subscribe to. The server refuses all others.
type User struct {
	// Name is "planner", or "pool-gpu" for the launcher and watcher of a named pool.
	Name string
	// For says who signs in as the user.
	For       string
	Publish   []string
	Subscribe []string
}

// The users beside the services.
const (
	// Operator gives orders to a running mesh: litci jobs, cancel, rerun, dlq and so on.
	Operator = "operator"
	// Provisioner makes the streams.
	Provisioner = "provision"
	// Viewer follows what passes, and changes nothing.
	Viewer = "tail"
	// Runner is launcher and watcher of the unnamed pool in one process.
	Runner = "runner"
)

// PoolUser is the user of a named pool's launcher and watcher. No service has a
// hyphen in its name.
func PoolUser(pool string) string { return "pool-" + pool }

// Users are the users of a mesh with the named pools beside the unnamed one. This is
// the whole of what each may do; what no code needs is not in it.
func Users(pools ...string) []User {
	users := []User{
		user("ingress", "the service that takes webhooks",
			"events.pr",
			keys(bucketRuns, "sweep.*"), alive,
		),
		user("planner", "the service that plans jobs",
			consume("EVENTS", "planner", "planner"),
			"jobs.plan.*", startOf("*"), "results",
			plans, jobs, "$JS.API.CONSUMER.INFO.JOBS.*", // a pool is served where it has a durable
			keys(bucketRuns, "head.*.*", "planned.*.*", "pulls", "seen.*", "group.*.*", "attempt.*.*", "cancel.>"),
			putObjects(objectsSource), alive,
		),
		user("launcher", "the launchers of the unnamed pool", launching("")),
		user("watcher", "the watchers of the unnamed pool", watching("")),
		user(Runner, "launcher and watcher of the unnamed pool in one process", launching(""), watching("")),
		user("reporter", "the service that writes to GitHub and serves the report pages",
			consume("JOBS", "reporter-jobs", "reporter"), consume("JOBS", "reporter-plans", "reporter"),
			consume("STATUS", "reporter", "reporter"), consume("RESULTS", "reporter", "reporter"),
			keys(bucketRuns, "run.*", "check.*.*", "text.*.*", "commit.*.*", "pull.*.*", "wait.*.*.*", "post.>", "attempt.*.*", "source.*"),
			read(bucketRuns, "cancel.>"), follow(bucketRuns, "check.*.*", "wait.>"),
			getObjects(objectsLogs), getObjects(objectsSource), liveLogs, alive,
			"$JS.API.STREAM.INFO.DLQ", // how many there are is a metric
		),
		user(Operator, "people who operate the mesh: litci jobs, logs, cancel, rerun, dlq, replay, limits, top, doctor",
			"events.pr",
			scan("EVENTS"), scan("JOBS"), scan("RESULTS"), scan("DLQ"), plans, jobs, liveLogs, getObjects(objectsLogs),
			// A dead letter goes back to where it came from.
			startOf("*"), statusOf("*"), "jobs.plan.*", "results", "$JS.API.STREAM.MSG.DELETE.DLQ",
			"$JS.API.CONSUMER.PAUSE.*.*", // nats consumer pause, the switch for maintenance
			keys(bucketRuns, "attempt.*.*", "cancel.>"), keys(bucketSlots, "limits"),
			follow(bucketRuns, "run.*", "check.*.*", "attempt.*.*", "service.*"),
			look,
		),
		user(Viewer, "people who look on: litci tail, nats sub", look, plans,
			scan("EVENTS"), scan("JOBS"), scan("STATUS"), scan("RESULTS"), scan("DLQ"), scan("LOGS"),
			"$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST", "$JS.API.CONSUMER.NAMES.*",
		),
		user(Provisioner, "litci provision, which makes the streams",
			"$JS.API.INFO", "$JS.API.STREAM.INFO.*", "$JS.API.STREAM.CREATE.*", "$JS.API.STREAM.UPDATE.*",
			"$JS.API.CONSUMER.INFO.*.*", "$JS.API.CONSUMER.CREATE.>",
		),
	}
	for _, pool := range pools {
		users = append(users, user(PoolUser(pool), "launchers and watchers of the pool "+pool, launching(pool), watching(pool)))
	}
	for i, u := range users {
		if u.Name == Viewer {
			users[i].Subscribe = append(users[i].Subscribe, string(flow.Events), "jobs.>", string(flow.Results), flow.DeadLetters)
		}
	}
	return users
}

// user makes a user of lists of subjects that are separated by spaces. Nobody but it
// may read the answers that it gets.
func user(name, who string, publish ...string) User {
	subjects := strings.Fields(strings.Join(publish, " "))
	slices.Sort(subjects)
	return User{Name: name, For: who, Publish: slices.Compact(subjects), Subscribe: []string{inbox(name) + ".>"}}
}

// inbox is where the server's answers to a user go.
func inbox(user string) string { return "_INBOX_" + user }

const (
	// plans reads the plan of a run, jobs a job by its place in the stream.
	plans = "$JS.API.STREAM.INFO.JOBS $JS.API.DIRECT.GET.JOBS.jobs.plan.*"
	jobs  = "$JS.API.STREAM.INFO.JOBS $JS.API.DIRECT.GET.JOBS"
	// alive says that a process lives, and how it does.
	alive = "$JS.API.STREAM.INFO.KV_runs $JS.API.DIRECT.GET.KV_runs.$KV.runs.service.* $KV.runs.service.*"
	// liveLogs follows the log of a running job. The stream has no durable, so no
	// consumer that can be made there or taken away is a service's.
	liveLogs = "$JS.API.STREAM.INFO.LOGS $JS.API.DIRECT.GET.LOGS $JS.API.DIRECT.GET.LOGS.jobs.log.* $JS.API.CONSUMER.CREATE.LOGS.*.jobs.log.* " +
		"$JS.API.CONSUMER.MSG.NEXT.LOGS.* $JS.API.CONSUMER.DELETE.LOGS.*"
	// look tells how streams and consumers are.
	look = "$JS.API.INFO $JS.API.STREAM.INFO.* $JS.API.CONSUMER.LIST.* $JS.API.CONSUMER.INFO.*.*"
)

// launching is what the launchers of a pool may do, watching what its watchers may;
// the empty pool is the unnamed one. Both see every job of the mesh, since jobs are
// read by their place in the stream.
func launching(pool string) string {
	durable, claim := "launcher", "default"
	if pool != "" {
		durable, claim = durable+"-"+pool, pool
	}
	if pool == "default" {
		claim = "=default"
	}
	return lists(
		consume("JOBS", durable, "launcher"),
		startOf(pool), statusOf(pool), "results", plans, jobs,
		keys(bucketRuns, "attempt.*.*", "cancel.>", "group.*.*", "source.*", "pool."+claim),
		follow(bucketRuns, "attempt.>", "cancel.>", "group.>"),
		keys(bucketSlots, "repo.*.*", "inst.*.*", "alive.*"), read(bucketSlots, "limits"),
		follow(bucketSlots, "repo.>", "inst.>", "alive.>", "limits"),
		getObjects(objectsSource), alive,
	)
}

func watching(pool string) string {
	durable := "watcher"
	if pool != "" {
		durable += "-" + pool
	}
	return lists(
		consume("STATUS", durable, "watcher"),
		startOf(pool), statusOf(pool), "results", "jobs.log.*", plans, jobs,
		keys(bucketRuns, "attempt.*.*", "cancel.>"), follow(bucketRuns, "cancel.>"),
		putObjects(objectsLogs), alive,
	)
}

// startOf and statusOf are the subjects of a pool's jobs and their states: those of
// the unnamed pool for none, those of every pool for "*".
func startOf(pool string) string  { return ofPool(string(flow.Jobs), pool) }
func statusOf(pool string) string { return ofPool(string(flow.States), pool) }

func ofPool(subject, pool string) string {
	switch pool {
	case "":
		return subject
	case "*":
		return lists(subject, subject+".*")
	}
	return subject + "." + pool
}

// consume takes the messages of a durable: it asks for them, acks them, gives up on
// them, and marks those with which it crashes. Acks have two forms, the second from
// nats-server 2.14 on where js_ack_fc_v2 is switched on (ADR-15, ADR-53).
func consume(stream, durable, service string) string {
	at := stream + "." + durable
	return lists("$JS.API.CONSUMER.INFO."+at, "$JS.API.CONSUMER.MSG.NEXT."+at, "$JS.ACK."+at+".>", "$JS.ACK.*.*."+at+".>",
		flow.DeadLettersOf(service), keys(bucketRuns, "crash."+at+".*"))
}

// scan reads what a stream holds, without a consumer.
func scan(stream string) string {
	return lists("$JS.API.STREAM.INFO."+stream, "$JS.API.DIRECT.GET."+stream)
}

// read reads keys of a bucket, keys writes them too, follow hears of their changes.
func read(bucket string, patterns ...string) string {
	list := []string{"$JS.API.STREAM.INFO.KV_" + bucket}
	for _, p := range patterns {
		list = append(list, "$JS.API.DIRECT.GET.KV_"+bucket+".$KV."+bucket+"."+p)
	}
	return lists(list...)
}

func keys(bucket string, patterns ...string) string {
	list := []string{read(bucket, patterns...)}
	for _, p := range patterns {
		list = append(list, "$KV."+bucket+"."+p)
	}
	return lists(list...)
}

func follow(bucket string, patterns ...string) string {
	list := []string{"$JS.API.STREAM.INFO.KV_" + bucket, "$JS.API.CONSUMER.DELETE.KV_" + bucket + ".*", flowControl("KV_" + bucket)}
	for _, p := range patterns {
		list = append(list, "$JS.API.CONSUMER.CREATE.KV_"+bucket+".*.$KV."+bucket+"."+p)
	}
	return lists(list...)
}

func getObjects(store string) string {
	of := "OBJ_" + store
	return lists("$JS.API.STREAM.INFO."+of, "$JS.API.DIRECT.GET."+of+".$O."+store+".M.*",
		"$JS.API.CONSUMER.CREATE."+of+".*.$O."+store+".C.*", "$JS.API.CONSUMER.DELETE."+of+".*", flowControl(of))
}

func putObjects(store string) string {
	of := "OBJ_" + store
	return lists("$JS.API.STREAM.INFO."+of, "$JS.API.DIRECT.GET."+of+".$O."+store+".M.*", "$O."+store+".C.*", "$O."+store+".M.*",
		"$JS.API.STREAM.PURGE."+of) // of the parts of a value that was replaced
}

// flowControl answers the server that paces an ordered consumer, in both forms.
func flowControl(stream string) string {
	return lists("$JS.FC."+stream+".>", "$JS.FC.*.*."+stream+".>")
}

func lists(subjects ...string) string { return strings.Join(subjects, " ") }
