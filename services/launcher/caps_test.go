package launcher

import (
	"testing"
	"time"
)

func TestRoomUnderALimit(t *testing.T) {
	s := scope{repository, 7}
	for name, test := range map[string]struct {
		leases  []string
		passed  []string
		crowded bool
		limit   int
		want    bool
	}{
		"no limit":                       {[]string{"a", "b"}, []string{"c"}, false, 0, true},
		"none":                           {nil, nil, false, 1, true},
		"below it":                       {[]string{"a"}, nil, false, 2, true},
		"at it":                          {[]string{"a", "b"}, nil, false, 2, false},
		"above it, since it was lower":   {[]string{"a", "b", "c"}, nil, false, 2, false},
		"one that has no lease yet":      {[]string{"a"}, []string{"b"}, false, 2, false},
		"one that has its lease":         {[]string{"a"}, []string{"a"}, false, 2, true},
		"the attempt's own":              {[]string{"me"}, nil, false, 1, true},
		"crowded":                        {nil, nil, true, 2, false},
		"crowded, but the attempt's own": {[]string{"me"}, nil, true, 2, true},
	} {
		c := newCaps()
		for n, attempt := range test.leases {
			c.set(s, n, lease{attempt, "x"})
		}
		for _, attempt := range test.passed {
			c.pass(party{repo: of(7).repo, installation: 1}, attempt)
		}
		if test.crowded {
			c.crowded[s] = struct{}{}
		}
		if got := c.room(s, "me", test.limit); got != test.want {
			t.Errorf("%s: room is %t", name, got)
		}
	}
}

func TestCapsForgetWhatIsOver(t *testing.T) {
	c := newCaps()
	s := scope{installation, 1}
	c.set(s, 3, lease{"a", "x"})
	c.crowded[s] = struct{}{}
	c.drop(s, 3)
	c.pass(of(7), "a")
	c.leave(of(7), "a")
	if len(c.leases) != 0 || len(c.passed) != 0 || len(c.crowded) != 0 {
		t.Errorf("left are %+v", c)
	}
}

func TestLeaseKeys(t *testing.T) {
	for key, want := range map[string]struct {
		s  scope
		n  int
		ok bool
	}{
		"repo.7.0":   {scope{repository, 7}, 0, true},
		"inst.12.34": {scope{installation, 12}, 34, true},
		"repo.7.-1":  {},
		"repo.x.1":   {},
		"alive.x":    {},
		"repo.7":     {},
		"other.7.1":  {},
	} {
		s, n, ok := parseLeaseKey(key)
		if ok != want.ok || ok && (s != want.s || n != want.n || s.key(n) != key) {
			t.Errorf("%s is %+v %d %t", key, s, n, ok)
		}
	}
}

func TestFateOfALease(t *testing.T) {
	const grace = 15 * time.Second
	for name, test := range map[string]struct {
		circumstances
		want fate
	}{
		"of a job that runs here":                          {circumstances{mine: true, here: true}, keep},
		"of nobody knows what":                             {circumstances{mine: true}, void},
		"of another launcher":                              {circumstances{}, keep},
		"of another launcher on the same machine":          {circumstances{here: true}, keep},
		"of one that died just now":                        {circumstances{holderDead: time.Second}, keep},
		"of one that died a while ago":                     {circumstances{holderDead: grace}, void},
		"of one that died, and its job runs here":          {circumstances{holderDead: time.Second, here: true}, takeover},
		"of one that died long ago, and its job runs here": {circumstances{holderDead: time.Hour, here: true}, takeover},
		"of an attempt with a verdict":                     {circumstances{ended: true}, void},
		"of an attempt with a verdict that is still here":  {circumstances{mine: true, here: true, ended: true}, void},
	} {
		if got := fateOf(test.circumstances, grace); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}
