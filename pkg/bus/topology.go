package bus

import (
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/litci/litci/pkg/flow"
)

// topologyVersion rises when the streams or consumers of this file change, so that
// provisioning an existing server applies the change and never reverts what an
// operator tuned.
const topologyVersion = 2

const versionKey = "litci.topology"

const (
	day = 24 * time.Hour
	mib = int64(1) << 20
	gib = int64(1) << 30
)

// The buckets and object stores.
const (
	bucketRuns    = "runs"
	bucketSlots   = "slots"
	objectsLogs   = "logs"
	objectsSource = "sources"
)

// Provision says how large the topology may be.
type Provision struct {
	// Replicas of everything: 1 on a single server, 3 in a cluster.
	Replicas int
	// Bytes is the storage for all streams together, in bytes. The server reserves
	// what streams may use, so a small disk needs small streams. 0 takes the defaults.
	Bytes int64
	// Pools are the named pools whose durables are made too. What was made for a pool
	// that is not named any more stays.
	Pools []string
	// Force puts litci's settings in the place of what an operator has tuned.
	Force bool
}

// knownDeliveries is for how long a delivery is known by its GUID: GitHub lets one
// be redelivered for three days.
const knownDeliveries = 4 * day

// jobsAge is for how long jobs and their states are kept: longer than the week that
// a job may run, since who follows it holds its message.
const jobsAge = 8 * day

type durable struct {
	name    string
	filters []string
	ackWait time.Duration
}

type stream struct {
	config    jetstream.StreamConfig
	consumers []durable
}

// stream is the configuration of a stream with what all of them have in common.
func (p Provision) stream(cfg jetstream.StreamConfig) jetstream.StreamConfig {
	cfg.Storage, cfg.Compression = jetstream.FileStorage, jetstream.S2Compression
	cfg.Retention, cfg.Discard = jetstream.LimitsPolicy, jetstream.DiscardOld
	cfg.AllowDirect, cfg.Replicas, cfg.MaxBytes = true, p.replicas(), p.size(cfg.MaxBytes)
	if cfg.Duplicates == 0 {
		cfg.Duplicates = min(time.Hour, cfg.MaxAge)
	}
	cfg.Metadata = map[string]string{versionKey: strconv.Itoa(topologyVersion)}
	return cfg
}

// buckets are the buckets of keys. A full bucket refuses writes, and every service
// decides by writing to runs: hence its room, and the compression of what is mostly
// quoted logs.
func (p Provision) buckets() []jetstream.KeyValueConfig {
	return []jetstream.KeyValueConfig{
		{
			Bucket: bucketSlots, MaxBytes: p.size(64 * mib), LimitMarkerTTL: time.Hour,
			Storage: jetstream.FileStorage, Replicas: p.replicas(),
		},
		{
			Bucket: bucketRuns, TTL: 14 * day, MaxBytes: p.size(4 * gib), LimitMarkerTTL: time.Hour,
			Storage: jetstream.FileStorage, Replicas: p.replicas(), Compression: true,
		},
	}
}

// stores are the object stores.
func (p Provision) stores() []jetstream.ObjectStoreConfig {
	return []jetstream.ObjectStoreConfig{
		{Bucket: objectsLogs, TTL: 14 * day, MaxBytes: p.size(10 * gib), Storage: jetstream.FileStorage, Replicas: p.replicas(), Compression: true},
		{Bucket: objectsSource, TTL: day, MaxBytes: p.size(10 * gib), Storage: jetstream.FileStorage, Replicas: p.replicas()},
	}
}

// wanted is the whole topology with its default sizes.
func wanted(pools ...string) []stream {
	jobs, states := string(flow.Jobs), string(flow.States)
	streams := []stream{
		{
			config:    jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{string(flow.Events)}, MaxAge: 7 * day, MaxBytes: gib, MaxMsgSize: 256 << 10, Duplicates: knownDeliveries},
			consumers: []durable{{name: "planner", filters: []string{string(flow.Events)}, ackWait: 30 * time.Second}},
		},
		{
			config: jetstream.StreamConfig{Name: "JOBS", Subjects: []string{jobs, jobs + ".>", string(flow.Plans)}, MaxAge: jobsAge, MaxBytes: 2 * gib, AllowAtomicPublish: true},
			consumers: []durable{
				{name: "launcher", filters: []string{jobs}, ackWait: time.Minute},
				{name: "reporter-jobs", filters: []string{jobs, jobs + ".>"}, ackWait: time.Minute},
				{name: "reporter-plans", filters: []string{string(flow.Plans)}, ackWait: time.Minute},
			},
		},
		{
			config: jetstream.StreamConfig{Name: "STATUS", Subjects: []string{states, states + ".>"}, MaxAge: jobsAge, MaxBytes: 2 * gib},
			consumers: []durable{
				{name: "watcher", filters: []string{states}, ackWait: time.Minute},
				{name: "reporter", filters: []string{states, states + ".>"}, ackWait: time.Minute},
			},
		},
		{
			config:    jetstream.StreamConfig{Name: "RESULTS", Subjects: []string{string(flow.Results)}, MaxAge: 14 * day, MaxBytes: gib},
			consumers: []durable{{name: "reporter", filters: []string{string(flow.Results)}, ackWait: time.Minute}},
		},
		{config: jetstream.StreamConfig{Name: "DLQ", Subjects: []string{flow.DeadLetters}, MaxAge: 30 * day, MaxBytes: 256 * mib}},
		{config: jetstream.StreamConfig{
			Name: "ADVISORIES", MaxAge: 30 * day, MaxBytes: 64 * mib,
			Subjects: []string{"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>", "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>"},
		}},
		{config: jetstream.StreamConfig{Name: "LOGS", Subjects: []string{string(flow.Logs)}, MaxAge: 6 * time.Hour, MaxBytes: gib, MaxMsgsPerSubject: 512}},
	}
	for i := range streams {
		for _, pool := range pools {
			switch s := &streams[i]; s.config.Name {
			case "JOBS":
				s.consumers = append(s.consumers, durable{name: "launcher-" + pool, filters: []string{jobs + "." + pool}, ackWait: time.Minute})
			case "STATUS":
				s.consumers = append(s.consumers, durable{name: "watcher-" + pool, filters: []string{states + "." + pool}, ackWait: time.Minute})
			}
		}
	}
	return streams
}

// config is a durable's configuration. Waiting naks keep their place among the
// pending acks, and giving up is this package's decision and not the server's:
// hence the large number and no limit of deliveries.
func (d durable) config() jetstream.ConsumerConfig {
	cfg := jetstream.ConsumerConfig{
		Durable: d.name, AckPolicy: jetstream.AckExplicitPolicy, DeliverPolicy: jetstream.DeliverAllPolicy,
		AckWait: d.ackWait, MaxDeliver: -1, MaxAckPending: 50_000,
		Metadata: map[string]string{versionKey: strconv.Itoa(topologyVersion)},
	}
	if len(d.filters) == 1 {
		cfg.FilterSubject = d.filters[0]
	} else {
		cfg.FilterSubjects = d.filters
	}
	return cfg
}

// defaultBytes is what wanted and the buckets add up to.
const defaultBytes = 33 * gib

func (p Provision) size(bytes int64) int64 {
	if p.Bytes <= 0 || p.Bytes >= defaultBytes {
		return bytes
	}
	return max(int64(float64(bytes)*float64(p.Bytes)/float64(defaultBytes)), 4*mib)
}

func (p Provision) replicas() int { return max(p.Replicas, 1) }

func version(metadata map[string]string) int {
	v, err := strconv.Atoi(metadata[versionKey])
	if err != nil {
		return 0
	}
	return v
}

// streamOf is the stream that stores a subject.
func streamOf(subject string) string {
	for _, s := range wanted() {
		for _, pattern := range s.config.Subjects {
			if matches(pattern, subject) {
				return s.config.Name
			}
		}
	}
	return ""
}

// matches tells whether a subject, or a filter of the same or a smaller set, falls
// under a pattern that may end in ">".
func matches(pattern, subject string) bool {
	if prefix, open := cutTail(pattern); open {
		return len(subject) > len(prefix) && subject[:len(prefix)] == prefix
	}
	return pattern == subject
}

func cutTail(pattern string) (string, bool) {
	if n := len(pattern); n > 0 && pattern[n-1] == '>' {
		return pattern[:n-1], true
	}
	return pattern, false
}
