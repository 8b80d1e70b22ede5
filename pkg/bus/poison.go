package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
)

// A message whose handler takes the process down comes again for ever. Deliveries
// are no measure, since waiting counts them too; so handlers' beginnings are
// counted, in KV, from the second delivery on, and cleared when the handler returns
// or has survived.
//
// A crash marks everything that was in hand. So what has begun too often is tried
// in ever smaller company, which clears the innocent, and at last alone: only
// what takes the process down alone, and more than once, is a poison. Services are
// killed for other reasons too.
const (
	// free is how many beginnings without an end are nobody's fault.
	free = 3
	// company is how many suspects of the first degree run beside each other; each
	// further degree leaves a quarter of them. Those of the fifth run alone.
	company = 256
	// rounds bounds how many companies run one after the other: where many are
	// suspected, companies stay larger, until most of them are cleared.
	rounds = 128
	// poisonAfter is how many beginnings alone, without an end, make a poison.
	poisonAfter = 3
	// survived is how long a handler runs before its message is cleared; suspects are
	// cleared sooner, since others wait for them.
	survived        = 10 * time.Second
	suspectSurvived = 500 * time.Millisecond
)

var errPoison = errors.New("poison: the service crashed again and again with this message in hand, at last three times with this one alone")

// crashes is the mark of a message in KV.
type crashes struct {
	// Begun counts handlers that began and neither returned nor survived, Alone those
	// of them that ran without another suspect.
	Begun int `json:"begun"`
	Alone int `json:"alone,omitempty"`
}

// room is what the next beginning takes of the suspects' room, beside so many who
// wait for theirs; 0 for no suspect.
func (m crashes) room(waiting int64) int64 {
	degree := m.Begun - free
	if degree < 0 {
		return 0
	}
	room := min(company, int64(1)<<min(2*degree, 16))
	if waiting > rounds {
		room = min(room, max(company*rounds/waiting, 1))
	}
	return room
}

func (c *consumer) markKey(meta Meta) string {
	return fmt.Sprintf("crash.%s.%s.%d", meta.Stream, c.opt.Durable, meta.Sequence)
}

// unmark forgets a message's crashes.
func (c *consumer) unmark(ctx context.Context, meta Meta) {
	if err := c.bus.Runs().Delete(context.WithoutCancel(ctx), c.markKey(meta)); err != nil {
		c.log.Warn("crash mark", zap.Error(err))
	}
}

// mark notes that the handler of a redelivered message begins. It returns what
// clears the note, or errPoison. It waits while the suspects' room is taken.
func (c *consumer) mark(ctx context.Context, meta Meta) (clearMark func(), err error) {
	nothing := func() {}
	before, err := c.crashesOf(ctx, meta)
	if err == nil && before.Alone >= poisonAfter {
		return nothing, errPoison
	}
	if err != nil {
		c.log.Warn("crash mark", zap.Error(err))
		return nothing, nil
	}
	// A process that dies while a suspect waits says nothing about it: the room comes
	// before the mark.
	room, err := c.enter(ctx, before)
	if err != nil {
		return nothing, nil // the service stops
	}
	_, err = Change(ctx, c.bus.Runs(), c.markKey(meta), func(m *crashes) bool {
		m.Begun++
		if room == company {
			m.Alone++
		}
		return true
	})
	if err != nil {
		c.leave(room)
		c.log.Warn("crash mark", zap.Error(err))
		return nothing, nil
	}
	life := survived
	if room > 0 {
		life = suspectSurvived
	}
	var once sync.Once
	cleared := func() {
		once.Do(func() {
			c.unmark(ctx, meta)
			c.leave(room)
		})
	}
	timer := time.AfterFunc(life, cleared)
	return func() {
		timer.Stop()
		cleared()
	}, nil
}

func (c *consumer) crashesOf(ctx context.Context, meta Meta) (m crashes, err error) {
	data, _, err := c.bus.Runs().Get(ctx, c.markKey(meta))
	if errors.Is(err, ErrNotFound) {
		return m, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	return m, err
}

// enter waits for room among the suspects. Who is none never waits behind them.
func (c *consumer) enter(ctx context.Context, m crashes) (room int64, err error) {
	if m.room(0) == 0 {
		return 0, nil
	}
	room = m.room(c.suspected.Add(1))
	if err := c.suspects.Acquire(ctx, room); err != nil {
		c.suspected.Add(-1)
		return 0, err
	}
	return room, nil
}

func (c *consumer) leave(room int64) {
	if room > 0 {
		c.suspects.Release(room)
		c.suspected.Add(-1)
	}
}
