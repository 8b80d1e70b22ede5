package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/litci/litci/pkg/failpoint"
	"github.com/litci/litci/pkg/flow"
)

// MaxBatch is how many jobs fit beside the marker into one atomic batch (ADR-50).
const MaxBatch = 999

// Publish stores a message and waits for the stream's ack; a message of the same
// key inside the duplicate window counts as stored. Without a deadline in ctx it
// gives up after five seconds.
func Publish[T flow.Message](ctx context.Context, b *Bus, subject flow.Subject[T], msg T) error {
	m, err := encode(subject, msg)
	if err != nil {
		return err
	}
	return b.publish(ctx, m)
}

func (b *Bus) publish(ctx context.Context, m *nats.Msg) (err error) {
	ctx, cancel := withTimeout(ctx, b.patience)
	defer cancel()
	done := sending(ctx, m)
	defer func() { done(err) }()
	failures := b.metrics.unpublished.WithLabelValues(family(m.Subject)) // shown as 0 before the first
	ack, err := b.js.PublishMsg(ctx, m)
	if err != nil {
		failures.Inc()
		return fmt.Errorf("publish %s: %w", m.Subject, b.Refusal(err))
	}
	b.metrics.published.WithLabelValues(family(m.Subject), strconv.FormatBool(ack.Duplicate)).Inc()
	return nil
}

// PublishPlan stores a run's marker and all its jobs in one atomic batch, all or
// none. ErrPlanned says that the marker exists, however long ago it was written:
// the batch demands that its subject is empty.
func PublishPlan(ctx context.Context, b *Bus, plan flow.Plan, jobs []flow.Job) error {
	if len(jobs) > MaxBatch {
		return fmt.Errorf("plan of run %s: %d jobs, at most %d fit into one batch", plan.Run, len(jobs), MaxBatch)
	}
	marker, err := encode(flow.PlanOf(plan.Run), plan)
	if err != nil {
		return err
	}
	marker.Header.Set(jetstream.ExpectedLastSubjSeqHeader, "0")
	batch := []*nats.Msg{marker}
	for _, job := range jobs {
		m, err := encode(flow.Jobs.OfPool(job.Pool), job)
		if err != nil {
			return err
		}
		batch = append(batch, m)
	}
	ctx, cancel := withTimeout(ctx, 4*b.patience)
	defer cancel()
	done := sending(ctx, batch...)
	err = b.publishBatch(ctx, batch)
	done(err)
	var api *jetstream.APIError
	// 10071: the marker's subject is not empty. 10201: its id is in the duplicate window.
	if errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence ||
		api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequenceConstant || api.ErrorCode == 10201) {
		return ErrPlanned
	}
	if err != nil {
		b.metrics.unpublished.WithLabelValues("jobs.plan").Inc()
		return fmt.Errorf("publish plan of run %s: %w", plan.Run, b.Refusal(err))
	}
	b.metrics.published.WithLabelValues("jobs.plan", "false").Inc()
	b.metrics.published.WithLabelValues(string(flow.Jobs), "false").Add(float64(len(jobs)))
	return nil
}

// publishBatch speaks the server's atomic batch protocol (ADR-50): the first and
// the last message are requests, the ones between are only sent. The server drops
// a batch that is not committed.
func (b *Bus) publishBatch(ctx context.Context, batch []*nats.Msg) error {
	id := nuid.Next()
	for i, m := range batch {
		if i == (len(batch)+1)/2 {
			failpoint.Hit("bus.mid-batch")
		}
		m.Header.Set("Nats-Batch-Id", id)
		m.Header.Set("Nats-Batch-Sequence", strconv.Itoa(i+1))
		last := i == len(batch)-1
		if last {
			m.Header.Set("Nats-Batch-Commit", "1")
		}
		if i > 0 && !last {
			if err := b.nc.PublishMsg(m); err != nil {
				return err
			}
			continue
		}
		answer, err := b.nc.RequestMsgWithContext(ctx, m)
		if err != nil {
			return err
		}
		if err := batchError(answer.Data, last); err != nil {
			return err
		}
	}
	return nil
}

func batchError(answer []byte, last bool) error {
	if len(answer) == 0 && !last {
		return nil
	}
	var ack struct {
		Error *jetstream.APIError `json:"error"`
		Batch string              `json:"batch"`
	}
	if err := json.Unmarshal(answer, &ack); err != nil {
		return fmt.Errorf("answer to a batch: %w", err)
	}
	if ack.Error != nil {
		return ack.Error
	}
	if last && ack.Batch == "" {
		return errors.New("server did not commit the batch; it must be nats-server 2.12.1 or newer")
	}
	return nil
}

func encode[T flow.Message](subject flow.Subject[T], msg T) (*nats.Msg, error) {
	body, err := json.Marshal(msg)
	if err != nil {
		return nil, fmt.Errorf("message for %s: %w", subject, err)
	}
	m := &nats.Msg{Subject: string(subject), Data: body, Header: nats.Header{}}
	m.Header.Set(jetstream.MsgIDHeader, msg.Key())
	for name, value := range msg.Headers() {
		if value != "" {
			m.Header.Set(name, value)
		}
	}
	return m, nil
}

// Latest returns the last stored message of an exact subject, or ErrNotFound.
func Latest[T any](ctx context.Context, b *Bus, subject flow.Subject[T]) (T, error) {
	var msg T
	s, err := b.js.Stream(ctx, streamOf(string(subject)))
	if err != nil {
		return msg, fmt.Errorf("stream of %s: %w", subject, err)
	}
	raw, err := s.GetLastMsgForSubject(ctx, string(subject))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return msg, ErrNotFound
	}
	if err != nil {
		return msg, fmt.Errorf("last message of %s: %w", subject, err)
	}
	if err := json.Unmarshal(raw.Data, &msg); err != nil {
		return msg, fmt.Errorf("last message of %s: %w", subject, err)
	}
	return msg, nil
}

func withTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, d)
}
