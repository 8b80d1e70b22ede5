package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
)

// Difference is something in which a server's topology is not the one that this
// program makes: something that is missing, or a setting of it.
type Difference struct {
	// What is "stream JOBS", "consumer JOBS/launcher", "bucket runs".
	What    string
	Missing bool
	// Setting has the value Have there, and Want here.
	Setting string
	Have    string
	Want    string
}

func (d Difference) String() string {
	if d.Missing {
		return d.What + " is missing"
	}
	return fmt.Sprintf("%s: %s is %s, litci's is %s", d.What, d.Setting, d.Have, d.Want)
}

// Provision creates what is missing on the server: streams, consumers, buckets and
// object stores. What exists is left as an operator tuned it, unless this program
// knows a newer topology or p.Force is set. It waits for a server that is away until
// ctx ends; a sign-in that is refused is an error.
func (b *Bus) Provision(ctx context.Context, p Provision) error {
	if err := b.reach(ctx); err != nil {
		return fmt.Errorf("provision: %w", err)
	}
	for _, one := range b.pieces(p) {
		if err := one.provision(ctx, p.Force); err != nil {
			return provisionError(one.what, b.Refusal(err))
		}
	}
	return nil
}

// reach waits until the server answers, or refuses.
func (b *Bus) reach(ctx context.Context) error {
	var refused error
	err := b.await(ctx, "nats", func(ctx context.Context) error {
		_, err := b.js.AccountInfo(ctx)
		if refused = b.Refusal(err); errors.Is(refused, ErrDenied) {
			return nil // waiting does not help
		}
		return err
	})
	return cmp.Or(err, refused)
}

// Compare tells in what the topology on the server is not the one that Provision with
// Force would make.
func (b *Bus) Compare(ctx context.Context, p Provision) ([]Difference, error) {
	var found []Difference
	for _, one := range b.pieces(p) {
		have, err := one.have(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", one.what, b.Refusal(err))
		}
		found = append(found, one.differences(have)...)
	}
	return found, nil
}

// piece is a part of the topology.
type piece struct {
	what string
	log  *zap.Logger
	// have asks for the settings on the server, nil for what is not there.
	have func(context.Context) (*has, error)
	want []setting
	// create makes it, update gives what is there the wanted settings and leaves others.
	create func(context.Context) error
	update func(context.Context) error
	// versioned pieces say which version of the topology made them.
	versioned bool
}

// has is what there is of a piece.
type has struct {
	version  int
	settings []setting
}

// setting is a setting as people read it.
type setting struct{ name, value string }

func (one piece) differences(have *has) []Difference {
	if have == nil {
		return []Difference{{What: one.what, Missing: true}}
	}
	var found []Difference
	for _, want := range one.want {
		for _, s := range have.settings {
			if s.name == want.name && s.value != want.value {
				found = append(found, Difference{What: one.what, Setting: s.name, Have: s.value, Want: want.value})
			}
		}
	}
	return found
}

func (one piece) provision(ctx context.Context, force bool) error {
	have, err := one.have(ctx)
	switch {
	case err != nil:
		return err
	case have == nil:
		one.log.Info("created", zap.String("what", one.what))
		return one.create(ctx)
	case one.versioned && have.version < topologyVersion, force && len(one.differences(have)) > 0:
		one.log.Info("updated", zap.String("what", one.what))
		return one.update(ctx)
	}
	return nil
}

// pieces are the whole topology, in the order in which it is made. Services wait for
// the bucket runs, which is the last.
func (b *Bus) pieces(p Provision) []piece {
	var all []piece
	for _, s := range wanted(p.Pools...) {
		cfg := p.stream(s.config)
		one := b.backed("stream "+cfg.Name, cfg, streamSettings(cfg), func(ctx context.Context) error {
			_, err := b.js.CreateStream(ctx, cfg)
			return err
		})
		one.versioned = true
		all = append(all, one)
		for _, d := range s.consumers {
			all = append(all, b.durable(cfg.Name, d))
		}
	}
	for _, cfg := range p.stores() {
		backing := jetstream.StreamConfig{
			Name: "OBJ_" + cfg.Bucket, MaxAge: cfg.TTL, MaxBytes: cfg.MaxBytes, Replicas: cfg.Replicas, Storage: cfg.Storage, Compression: compression(cfg.Compression),
		}
		all = append(all, b.backed("object store "+cfg.Bucket, backing, storeSettings(backing), func(ctx context.Context) error {
			_, err := b.js.CreateObjectStore(ctx, cfg)
			return err
		}))
	}
	for _, cfg := range p.buckets() {
		backing := jetstream.StreamConfig{
			Name: "KV_" + cfg.Bucket, MaxAge: cfg.TTL, MaxBytes: cfg.MaxBytes, Replicas: cfg.Replicas, Storage: cfg.Storage,
			Compression: compression(cfg.Compression), SubjectDeleteMarkerTTL: cfg.LimitMarkerTTL,
		}
		want := append(storeSettings(backing), setting{"time that markers stay", limit(backing.SubjectDeleteMarkerTTL)})
		all = append(all, b.backed("bucket "+cfg.Bucket, backing, want, func(ctx context.Context) error {
			_, err := b.js.CreateKeyValue(ctx, cfg)
			return err
		}))
	}
	return all
}

// backed is a stream, or what a stream stands behind. Of what it has, updating changes
// what is named in want.
func (b *Bus) backed(what string, cfg jetstream.StreamConfig, want []setting, create func(context.Context) error) piece {
	return piece{
		what: what, want: want, create: create, log: b.log,
		have: func(ctx context.Context) (*has, error) {
			have, err := b.js.Stream(ctx, cfg.Name)
			if errors.Is(err, jetstream.ErrStreamNotFound) {
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			c := have.CachedInfo().Config
			return &has{version(c.Metadata), append(streamSettings(c), setting{"time that markers stay", limit(c.SubjectDeleteMarkerTTL)})}, nil
		},
		update: func(ctx context.Context) error {
			stream, err := b.js.Stream(ctx, cfg.Name)
			if err != nil {
				return err
			}
			next := stream.CachedInfo().Config
			next.MaxAge, next.MaxBytes, next.Replicas, next.Storage, next.Compression = cfg.MaxAge, cfg.MaxBytes, cfg.Replicas, cfg.Storage, cfg.Compression
			next.SubjectDeleteMarkerTTL = cfg.SubjectDeleteMarkerTTL
			if cfg.Subjects != nil { // a stream of its own
				next.Subjects, next.Retention, next.Discard, next.MaxMsgSize = cfg.Subjects, cfg.Retention, cfg.Discard, cfg.MaxMsgSize
				next.MaxMsgsPerSubject, next.Duplicates = cfg.MaxMsgsPerSubject, cfg.Duplicates
				next.AllowDirect, next.AllowAtomicPublish, next.Metadata = cfg.AllowDirect, cfg.AllowAtomicPublish, own(next.Metadata, cfg.Metadata)
			}
			_, err = b.js.UpdateStream(ctx, next)
			return err
		},
	}
}

func (b *Bus) durable(stream string, d durable) piece {
	if b.ackWait > 0 {
		d.ackWait = b.ackWait
	}
	cfg := d.config()
	return piece{
		what: "consumer " + stream + "/" + d.name, want: consumerSettings(cfg), log: b.log, versioned: true,
		have: func(ctx context.Context) (*has, error) {
			have, err := b.js.Consumer(ctx, stream, d.name)
			if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			c := have.CachedInfo().Config
			found := &has{version(c.Metadata), consumerSettings(c)}
			if b.ackWait > 0 && c.AckWait != b.ackWait {
				found.version = 0 // whoever names an ack wait wants it
			}
			return found, nil
		},
		create: func(ctx context.Context) error {
			_, err := b.js.CreateConsumer(ctx, stream, cfg)
			return err
		},
		update: func(ctx context.Context) error {
			have, err := b.js.Consumer(ctx, stream, d.name)
			if err != nil {
				return err
			}
			next := have.CachedInfo().Config
			next.AckPolicy, next.DeliverPolicy, next.AckWait = cfg.AckPolicy, cfg.DeliverPolicy, cfg.AckWait
			next.MaxDeliver, next.MaxAckPending, next.BackOff = cfg.MaxDeliver, cfg.MaxAckPending, nil
			next.FilterSubject, next.FilterSubjects, next.Metadata = cfg.FilterSubject, cfg.FilterSubjects, own(next.Metadata, cfg.Metadata)
			_, err = b.js.UpdateConsumer(ctx, stream, next)
			return err
		},
	}
}

// own are metadata with ours in them.
func own(have, ours map[string]string) map[string]string {
	all := map[string]string{}
	for name, value := range have {
		all[name] = value
	}
	for name, value := range ours {
		all[name] = value
	}
	return all
}

func storeSettings(c jetstream.StreamConfig) []setting {
	return []setting{
		{"age", limit(c.MaxAge)},
		{"bytes", limit(c.MaxBytes)},
		{"copies", strconv.Itoa(c.Replicas)},
		{"compression", c.Compression.String()},
		{"storage", c.Storage.String()},
	}
}

func streamSettings(c jetstream.StreamConfig) []setting {
	return append(
		storeSettings(c),
		setting{"subjects", strings.Join(c.Subjects, " ")},
		setting{"retention", c.Retention.String()},
		setting{"discard", c.Discard.String()},
		setting{"message size", limit(c.MaxMsgSize)},
		setting{"messages of a subject", limit(c.MaxMsgsPerSubject)},
		setting{"duplicate window", c.Duplicates.String()},
		setting{"direct reads", strconv.FormatBool(c.AllowDirect)},
		setting{"atomic batches", strconv.FormatBool(c.AllowAtomicPublish)},
	)
}

func consumerSettings(c jetstream.ConsumerConfig) []setting {
	filters := c.FilterSubjects
	if c.FilterSubject != "" {
		filters = []string{c.FilterSubject}
	}
	back := "none"
	if len(c.BackOff) > 0 {
		back = fmt.Sprint(c.BackOff)
	}
	return []setting{
		{"ack wait", c.AckWait.String()},
		{"acks", c.AckPolicy.String()},
		{"start", c.DeliverPolicy.String()},
		{"deliveries", limit(c.MaxDeliver)},
		{"messages in hand", limit(c.MaxAckPending)},
		{"back-off", back},
		{"filters", strings.Join(filters, " ")},
	}
}

// limit is a number or a time of which none, or less, is no limit.
func limit[T int | int32 | int64 | time.Duration](n T) string {
	if n <= 0 {
		return "unlimited"
	}
	return fmt.Sprint(n)
}

func compression(on bool) jetstream.StoreCompression {
	if on {
		return jetstream.S2Compression
	}
	return jetstream.NoCompression
}

func provisionError(what string, err error) error {
	var api *jetstream.APIError
	if errors.As(err, &api) && (api.ErrorCode == 10047 || api.ErrorCode == 10028) {
		return fmt.Errorf("provision %s: %w: the server has too little storage; lower --nats-max-bytes or raise max_file_store of the server", what, err)
	}
	return fmt.Errorf("provision %s: %w", what, err)
}
