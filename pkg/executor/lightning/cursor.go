package lightning

import (
	"bytes"
	"hash/fnv"
	"io"
	"maps"
	"time"

	"github.com/litci/litci/pkg/executor/wrapper"
)

const (
	// window is how far behind the last line a later reading begins: lines may arrive
	// in another order than that of their times.
	window = time.Second
	// maxRecent bounds the lines that are remembered, so that they are not read twice.
	maxRecent = 5000
)

// cursor is a place in the lines of a log from which reading goes on.
type cursor struct {
	decoder wrapper.Decoder
	last    time.Time
	// recent are lines that a later reading sees again; floor is the time up to which
	// all of them were read.
	recent map[lineKey]bool
	floor  time.Time
}

// lineKey tells lines apart.
type lineKey struct {
	at  time.Time
	sum uint64
}

func keyOf(one entry) lineKey {
	h := fnv.New64a()
	h.Write(bytes.Trim(one.Line, `"`))
	h.Write([]byte{0})
	_, _ = io.WriteString(h, one.Message) // a hash takes everything
	return lineKey{one.Timestamp.Time, h.Sum64()}
}

func newCursor(id string) cursor {
	return cursor{decoder: wrapper.NewDecoder(id), recent: map[lineKey]bool{}}
}

// clone makes a copy that moves alone.
func (c cursor) clone() cursor {
	c.recent = maps.Clone(c.recent)
	return c
}

// since is where a later reading begins.
func (c *cursor) since() time.Time {
	if c.last.IsZero() {
		return time.Time{}
	}
	if since := c.last.Add(-window); since.After(c.floor) {
		return since
	}
	return c.floor
}

// fresh notes a line, and says whether it is new.
func (c *cursor) fresh(one entry) bool {
	key := keyOf(one)
	if !c.floor.IsZero() && !key.at.After(c.floor) || c.recent[key] {
		return false
	}
	c.recent[key] = true
	if key.at.After(c.last) {
		c.last = key.at
	}
	return true
}

// trim forgets what is far behind, and more where a log is fast. Lines of the last
// moment stay: others of the same moment may follow.
func (c *cursor) trim() {
	c.trimTo(c.last.Add(-window))
	if len(c.recent) > maxRecent {
		c.trimTo(c.last.Add(-time.Nanosecond))
	}
}

func (c *cursor) trimTo(floor time.Time) {
	if !floor.After(c.floor) {
		return
	}
	for key := range c.recent {
		if !key.at.After(floor) {
			delete(c.recent, key)
		}
	}
	c.floor = floor
}
