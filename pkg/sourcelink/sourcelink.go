// Package sourcelink gives the holder of a link the source archive of a commit once.
//
// The launcher makes the link and hands it to an executor whose machines cannot reach
// the bus; the reporter serves it. The bus has the hash of a link's secret and never
// the secret: who reads the bus can fetch nothing.
//
// A link is used up when the archive was sent whole. While one request sends it,
// others wait; the hold of a request whose reporter died ends by itself.
package sourcelink

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/litci/litci/pkg/bus"
)

// Path is where the reporter serves links; the secret follows.
const Path = "/sources/"

// Hold is how long a request has a link without a sign of life.
const Hold = 30 * time.Second

// poll is the time between two looks at a link that another request has.
const poll = 200 * time.Millisecond

// ErrNone says that there is nothing to fetch: the link was never made, is used up or
// is too old. Nobody is told which.
var ErrNone = errors.New("no such link")

// ErrLost says that another request has the link now, since this one was silent for
// too long.
var ErrLost = errors.New("link is another request's")

// link is the value of a key in the bucket runs. The key expires with it.
type link struct {
	Object  string    `json:"object"`
	Attempt string    `json:"attempt"`
	End     time.Time `json:"end"`
	// Held is until when a request has it.
	Held time.Time `json:"held,omitzero"`
}

// key is where a secret's link is.
func key(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return "source." + hex.EncodeToString(sum[:])
}

// Make stores a link to an object of the store sources, for an attempt, that lives for
// some time. It returns the secret.
func Make(ctx context.Context, b *bus.Bus, object, attempt string, life time.Duration) (string, error) {
	secret := rand.Text()
	f := &Fetch{kv: b.Runs(), key: key(secret), link: link{Object: object, Attempt: attempt, End: time.Now().UTC().Add(life)}}
	if err := f.write(ctx); err != nil {
		return "", fmt.Errorf("source link of %s: %w", attempt, err)
	}
	return secret, nil
}

// Fetch is a link that a request has to itself.
type Fetch struct {
	kv       *bus.KV
	key      string
	revision uint64
	link     link
}

// Object is the archive's name in the store sources, Attempt whose it is.
func (f *Fetch) Object() string { return f.link.Object }

// Attempt is the attempt that the link was made for.
func (f *Fetch) Attempt() string { return f.link.Attempt }

// Take gives the link to the caller alone. It waits while another has it, and returns
// ErrNone where there is none.
func Take(ctx context.Context, b *bus.Bus, secret string) (*Fetch, error) {
	f := &Fetch{kv: b.Runs(), key: key(secret)}
	for {
		value, revision, err := f.kv.Get(ctx, f.key)
		if errors.Is(err, bus.ErrNotFound) {
			return nil, ErrNone
		}
		if err != nil {
			return nil, fmt.Errorf("source link: %w", err)
		}
		f.link, f.revision = link{}, revision
		if err := json.Unmarshal(value, &f.link); err != nil {
			return nil, fmt.Errorf("source link: %w", err)
		}
		now := time.Now()
		if !now.Before(f.link.End) {
			return nil, ErrNone
		}
		if !now.Before(f.link.Held) {
			err := f.Renew(ctx)
			if err == nil {
				return f, nil
			}
			if !errors.Is(err, ErrLost) {
				return nil, err
			}
			continue // another was faster
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(poll):
		}
	}
}

// Renew keeps the link for another Hold. ErrLost says that it is another's.
func (f *Fetch) Renew(ctx context.Context) error {
	f.link.Held = time.Now().UTC().Add(Hold)
	return f.write(ctx)
}

// Back gives the link back unused.
func (f *Fetch) Back(ctx context.Context) error {
	f.link.Held = time.Time{}
	return f.write(ctx)
}

// Used makes the link worth nothing.
func (f *Fetch) Used(ctx context.Context) error { return lost(f.kv.Release(ctx, f.key, f.revision)) }

func (f *Fetch) write(ctx context.Context) error {
	value, err := json.Marshal(f.link)
	if err != nil {
		return err
	}
	revision, err := f.kv.Lease(ctx, f.key, value, f.revision, time.Until(f.link.End))
	if err != nil {
		return lost(err)
	}
	f.revision = revision
	return nil
}

func lost(err error) error {
	if errors.Is(err, bus.ErrConflict) {
		return ErrLost
	}
	return err
}
