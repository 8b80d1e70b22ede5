package launcher

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/litci/litci/pkg/flow"
)

// The kinds of scopes.
const (
	repository   = "repo"
	installation = "inst"
)

// scope is what a limit over all launchers holds for.
type scope struct {
	kind string
	id   int64
}

// key is the key of a scope's n-th lease in the bucket slots.
func (s scope) key(n int) string { return fmt.Sprintf("%s.%d.%d", s.kind, s.id, n) }

// parseLeaseKey takes a lease's key apart.
func parseLeaseKey(key string) (s scope, n int, ok bool) {
	parts := strings.Split(key, ".")
	if len(parts) != 3 || parts[0] != repository && parts[0] != installation {
		return s, 0, false
	}
	id, err := strconv.ParseInt(parts[1], 10, 64)
	n, err2 := strconv.Atoi(parts[2])
	return scope{parts[0], id}, n, err == nil && err2 == nil && n >= 0
}

// party is whose job it is that asks for a slot.
type party struct {
	repo         flow.Repo
	installation int64
}

func partyOf(job flow.Job) party { return party{job.Repo, job.Installation} }

// scopes are what a party's jobs count for.
func (p party) scopes() [2]scope {
	return [2]scope{{repository, p.repo.ID}, {installation, p.installation}}
}

// lease is the value of a lease's key: the attempt that holds the place, and the
// launcher that answers for it.
type lease struct {
	Attempt string `json:"attempt"`
	Holder  string `json:"holder"`
}

// caps are the leases of all launchers as far as this one has heard, with the
// attempts that it has let through itself.
type caps struct {
	leases map[scope]map[int]lease
	// passed are the attempts that have a slot here, with a lease or before it.
	passed map[scope]map[string]struct{}
	// crowded are scopes in which no place was found although there seemed to be one.
	crowded map[scope]struct{}
	// changes count what was noted of each scope's leases, and limits what was of all
	// limits.
	changes map[scope]uint64
	limits  uint64
}

// crowd is a scope in which no place was found, and its age before the search.
type crowd struct {
	scope scope
	age   uint64
}

func newCaps() caps {
	return caps{map[scope]map[int]lease{}, map[scope]map[string]struct{}{}, map[scope]struct{}{}, map[scope]uint64{}, 0}
}

// room tells whether an attempt may pass under a limit, 0 for none.
func (c *caps) room(s scope, attempt string, limit int) bool {
	if limit <= 0 {
		return true
	}
	passed := c.passed[s]
	if _, crowded := c.crowded[s]; crowded {
		return c.has(s, attempt)
	}
	load := len(passed)
	for _, l := range c.leases[s] {
		if l.Attempt == attempt {
			return true
		}
		if _, counted := passed[l.Attempt]; !counted {
			load++
		}
	}
	return load < limit
}

// has tells whether an attempt has a lease of a scope.
func (c *caps) has(s scope, attempt string) bool {
	for _, l := range c.leases[s] {
		if l.Attempt == attempt {
			return true
		}
	}
	return false
}

// pass counts an attempt in its scopes before it has leases.
func (c *caps) pass(p party, attempt string) {
	for _, s := range p.scopes() {
		if c.passed[s] == nil {
			c.passed[s] = map[string]struct{}{}
		}
		c.passed[s][attempt] = struct{}{}
	}
}

// leave takes back what pass did.
func (c *caps) leave(p party, attempt string) {
	for _, s := range p.scopes() {
		delete(c.passed[s], attempt)
		if len(c.passed[s]) == 0 {
			delete(c.passed, s)
		}
	}
}

// set notes a lease.
func (c *caps) set(s scope, n int, l lease) {
	if c.leases[s] == nil {
		c.leases[s] = map[int]lease{}
	}
	c.leases[s][n] = l
	c.changed(s)
}

// drop notes that a lease is no more.
func (c *caps) drop(s scope, n int) {
	delete(c.leases[s], n)
	if len(c.leases[s]) == 0 {
		delete(c.leases, s)
	}
	c.changed(s)
}

// changed makes a scope worth another search.
func (c *caps) changed(s scope) {
	c.changes[s]++
	delete(c.crowded, s)
}

// relimit makes every scope worth another search.
func (c *caps) relimit() {
	c.limits++
	clear(c.crowded)
}

// age grows with everything that makes a scope worth another search.
func (c *caps) age(s scope) uint64 { return c.limits + c.changes[s] }

// crowd notes that no place was found, unless something was heard during the search:
// it may have been the last thing to be heard for long.
func (c *caps) crowd(found crowd) {
	if c.age(found.scope) == found.age {
		c.crowded[found.scope] = struct{}{}
	}
}
