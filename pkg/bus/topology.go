package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/litci/litci/pkg/flow"
)

// topologyVersion rises when the streams or consumers of this file change, so that
// provisioning an existing server applies the change and never reverts what an
// operator tuned.
const topologyVersion = 1

const versionKey = "litci.topology"

const (
	day = 24 * time.Hour
	mib = int64(1) << 20
	gib = int64(1) << 30
)

// The buckets and object stores.
const (
	bucketRuns    = "runs"
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
}

type durable struct {
	name    string
	filters []string
	ackWait time.Duration
}

type stream struct {
	config    jetstream.StreamConfig
	consumers []durable
}

// wanted is the whole topology with its default sizes.
func wanted() []stream {
	jobs, states := string(flow.Jobs), string(flow.States)
	return []stream{
		{
			config:    jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{string(flow.Events)}, MaxAge: 7 * day, MaxBytes: gib, MaxMsgSize: 256 << 10},
			consumers: []durable{{name: "planner", filters: []string{string(flow.Events)}, ackWait: 30 * time.Second}},
		},
		{
			config: jetstream.StreamConfig{Name: "JOBS", Subjects: []string{jobs, jobs + ".>", string(flow.Plans)}, MaxAge: 7 * day, MaxBytes: 2 * gib, AllowAtomicPublish: true},
			consumers: []durable{
				{name: "launcher", filters: []string{jobs}, ackWait: time.Minute},
				{name: "reporter-jobs", filters: []string{jobs, jobs + ".>"}, ackWait: time.Minute},
				{name: "reporter-plans", filters: []string{string(flow.Plans)}, ackWait: time.Minute},
			},
		},
		{
			config: jetstream.StreamConfig{Name: "STATUS", Subjects: []string{states, states + ".>"}, MaxAge: 7 * day, MaxBytes: 2 * gib},
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
}

// Provision creates what is missing on the server: streams, consumers, buckets and
// object stores. What exists is left as an operator tuned it, unless this program
// knows a newer topology. It waits for the server until ctx ends.
func (b *Bus) Provision(ctx context.Context, p Provision) error {
	if err := b.await(ctx, "nats", func(ctx context.Context) error {
		_, err := b.js.AccountInfo(ctx)
		return err
	}); err != nil {
		return fmt.Errorf("provision: %w", err)
	}
	for _, s := range wanted() {
		if err := b.provisionStream(ctx, s, p); err != nil {
			return err
		}
	}
	// A full bucket refuses writes, and every service decides by writing to this one:
	// hence the room, and the compression of what is mostly quoted logs.
	runs := jetstream.KeyValueConfig{
		Bucket: bucketRuns, TTL: 14 * day, MaxBytes: p.size(4 * gib), LimitMarkerTTL: time.Hour,
		Storage: jetstream.FileStorage, Replicas: p.replicas(), Compression: true,
	}
	if _, err := b.js.KeyValue(ctx, runs.Bucket); err != nil {
		if _, err := b.js.CreateKeyValue(ctx, runs); err != nil {
			return provisionError("bucket "+runs.Bucket, err)
		}
	}
	for _, store := range []jetstream.ObjectStoreConfig{
		{Bucket: objectsLogs, TTL: 14 * day, MaxBytes: 10 * gib, Compression: true},
		{Bucket: objectsSource, TTL: day, MaxBytes: 10 * gib},
	} {
		store.Storage, store.Replicas, store.MaxBytes = jetstream.FileStorage, p.replicas(), p.size(store.MaxBytes)
		if _, err := b.js.ObjectStore(ctx, store.Bucket); err == nil {
			continue
		}
		if _, err := b.js.CreateObjectStore(ctx, store); err != nil {
			return provisionError("object store "+store.Bucket, err)
		}
	}
	return nil
}

func (b *Bus) provisionStream(ctx context.Context, s stream, p Provision) error {
	cfg := s.config
	cfg.Storage, cfg.Compression = jetstream.FileStorage, jetstream.S2Compression
	cfg.Retention, cfg.Discard = jetstream.LimitsPolicy, jetstream.DiscardOld
	cfg.AllowDirect, cfg.Replicas, cfg.MaxBytes = true, p.replicas(), p.size(cfg.MaxBytes)
	// The window reaches past every redelivery of a webhook that GitHub starts itself.
	cfg.Duplicates = min(time.Hour, cfg.MaxAge)
	cfg.Metadata = map[string]string{versionKey: strconv.Itoa(topologyVersion)}

	have, err := b.js.Stream(ctx, cfg.Name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		if _, err := b.js.CreateStream(ctx, cfg); err != nil {
			return provisionError("stream "+cfg.Name, err)
		}
	case err != nil:
		return provisionError("stream "+cfg.Name, err)
	case version(have.CachedInfo().Config.Metadata) < topologyVersion:
		b.log.Info("stream is updated", zap.String("stream", cfg.Name))
		if _, err := b.js.UpdateStream(ctx, cfg); err != nil {
			return provisionError("stream "+cfg.Name, err)
		}
	}
	for _, d := range s.consumers {
		if err := b.provisionConsumer(ctx, cfg.Name, d); err != nil {
			return err
		}
	}
	return nil
}

func (b *Bus) provisionConsumer(ctx context.Context, streamName string, d durable) error {
	if b.ackWait > 0 {
		d.ackWait = b.ackWait
	}
	have, err := b.js.Consumer(ctx, streamName, d.name)
	if err == nil {
		cfg := have.CachedInfo().Config
		if version(cfg.Metadata) >= topologyVersion && (b.ackWait == 0 || cfg.AckWait == b.ackWait) {
			return nil
		}
	} else if !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return provisionError("consumer "+streamName+"/"+d.name, err)
	}
	if _, err := b.js.CreateOrUpdateConsumer(ctx, streamName, d.config()); err != nil {
		return provisionError("consumer "+streamName+"/"+d.name, err)
	}
	return nil
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

func provisionError(what string, err error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) && (api.ErrorCode == 10047 || api.ErrorCode == 10028) {
		return fmt.Errorf("provision %s: %w: the server has too little storage; lower --nats-max-bytes or raise max_file_store of the server", what, err)
	}
	return fmt.Errorf("provision %s: %w", what, err)
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
