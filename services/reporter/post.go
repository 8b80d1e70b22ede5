package reporter

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/litci/litci/pkg/bus"
)

// post is what is known of one thing that GitHub holds for us: a check run or a
// comment.
//
// Whoever writes to GitHub takes the post's turn first, by compare-and-set, and
// marks it as in doubt; the mark goes when the outcome is known. So two
// reporters never write one thing at once, and after a crash, or an answer that
// never came, the next writer knows that it must look before it creates and
// must write even what seems to stand there already.
type post struct {
	ID int64 `json:"id,omitempty"`
	// ExternalID is what the check run bears.
	ExternalID string `json:"external_id,omitempty"`
	// Sent is the hash of the content that GitHub took last.
	Sent string `json:"sent,omitempty"`
	// Final says that this content had a conclusion.
	Final bool `json:"final,omitempty"`
	// Verdict is the last conclusion that the comment showed; Gone says that
	// somebody deleted it.
	Verdict string `json:"verdict,omitempty"`
	Gone    bool   `json:"gone,omitempty"`

	Holder string    `json:"holder,omitempty"`
	Until  time.Time `json:"until,omitzero"`
	Doubt  bool      `json:"doubt,omitempty"`
}

// shows says that GitHub has this content, for sure.
func (p post) shows(hash string) bool { return p.Holder == "" && !p.Doubt && p.Sent == hash }

// turns hands out the right to write a post. A turn that its holder did not
// give back (a crash) is free again when the lease is over; a holder ends its
// calls to GitHub well before.
type turns struct {
	kv    *bus.KV
	life  string // names this process among all reporters
	lease time.Duration
	poll  time.Duration // between two looks at a turn that another holds
	now   func() time.Time
}

// read returns a post as it stands; the zero post when there is none.
func (t *turns) read(ctx context.Context, key string) (post, error) {
	return load[post](ctx, t.kv, key)
}

// errHeld says that another reporter has the turn, or had it when it died.
var errHeld = errors.New("another reporter has the turn")

// take waits for the turn. The post it returns tells in Doubt whether an
// earlier write's outcome is unknown. A turn that is not given back soon is
// waited for outside: the flight's place is worth more.
func (t *turns) take(ctx context.Context, key string) (post, error) {
	patience := t.now().Add(t.lease / 15)
	for {
		taken, doubt := false, false
		p, err := bus.Change(ctx, t.kv, key, func(p *post) bool {
			if taken = p.Holder == "" || p.Holder == t.life || !t.now().Before(p.Until); !taken {
				return false
			}
			doubt = p.Doubt
			p.Holder, p.Until, p.Doubt = t.life, t.now().Add(t.lease), true
			return true
		})
		if err != nil {
			return p, fmt.Errorf("turn of %s: %w", key, err)
		}
		if taken {
			p.Doubt = doubt
			return p, nil
		}
		if t.now().After(patience) {
			// Its holder may be slow or dead, which is known when the lease is over.
			left := min(p.Until.Sub(t.now()), t.lease/10) + rand.N(time.Second)
			return p, bus.Later(fmt.Errorf("turn of %s: %w", key, errHeld), max(left, 0))
		}
		timer := time.NewTimer(t.poll)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return p, fmt.Errorf("turn of %s: %w", key, ctx.Err())
		}
	}
}

// errOverrun says that a turn was lost to another reporter because it was held too long.
var errOverrun = errors.New("the turn was taken over")

// give records what the post is now and gives the turn back. It is done even
// when ctx has ended, as what GitHub took must not be forgotten.
func (t *turns) give(ctx context.Context, key string, p post) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	held := true
	_, err := bus.Change(ctx, t.kv, key, func(now *post) bool {
		if held = now.Holder == t.life; !held {
			return false
		}
		*now = p
		now.Holder, now.Until = "", time.Time{}
		return true
	})
	if err == nil && !held {
		err = errOverrun
	}
	if err != nil {
		return fmt.Errorf("record of %s: %w", key, err)
	}
	return nil
}

// load reads a key as JSON; a zero T when it is absent.
func load[T any](ctx context.Context, kv *bus.KV, key string) (T, error) {
	var value T
	data, _, err := kv.Get(ctx, key)
	if errors.Is(err, bus.ErrNotFound) {
		return value, nil
	}
	if err != nil {
		return value, err
	}
	return decode[T](key, data)
}

func decode[T any](key string, data []byte) (T, error) {
	var value T
	if err := json.Unmarshal(data, &value); err != nil {
		return value, fmt.Errorf("key %s: %w", key, err)
	}
	return value, nil
}

// hashOf identifies content.
func hashOf(content any) string {
	data, err := json.Marshal(content)
	if err != nil { // strings, numbers and times always encode
		panic(err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}
