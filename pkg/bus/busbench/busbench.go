// Package busbench publishes to JetStream with nothing of litci in between: the
// bare figure that benchmarks hold litci's against.
package busbench

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/litci/litci/pkg/bus/embedded"
)

// Publisher is a bare JetStream client.
type Publisher struct {
	nc *nats.Conn
	js jetstream.JetStream
}

// NewPublisher connects to a server in this process the same way as litci does.
func NewPublisher(server *embedded.Server) (*Publisher, error) {
	key, err := nats.NkeyOptionFromSeed(server.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("nkey: %w", err)
	}
	nc, err := nats.Connect(server.URL(), key, nats.InProcessServer(server))
	if err != nil {
		return nil, fmt.Errorf("nats: %w", err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	return &Publisher{nc, js}, nil
}

// Publish stores bytes under a message id and waits for the stream's ack.
func (p *Publisher) Publish(ctx context.Context, subject, id string, body []byte) error {
	_, err := p.js.Publish(ctx, subject, body, jetstream.WithMsgID(id))
	return err
}

// Close ends the connection.
func (p *Publisher) Close() { p.nc.Close() }
