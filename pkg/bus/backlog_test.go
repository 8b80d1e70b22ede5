package bus

import (
	"testing"
	"time"
)

func TestAgeOfTheOldestUnread(t *testing.T) {
	t.Parallel()
	began := time.Now()
	at := func(s int) time.Time { return began.Add(time.Duration(s) * time.Second) }
	var b backlog
	for _, step := range []struct {
		what   string
		now    int
		read   int // the newest first delivery was stored then; 0 for none
		unread uint64
		want   time.Duration
	}{
		{"nothing unread", 0, 0, 0, 0},
		{"some, since at most the last look", 10, 0, 3, 10 * time.Second},
		{"nobody reads", 20, 0, 3, 20 * time.Second},
		{"what was read was stored later than the last look", 30, 8, 2, 22 * time.Second},
		{"all read", 40, 9, 0, 0},
		{"one comes after a pause", 50, 0, 1, 10 * time.Second},
		{"the server's clock is ahead", 60, 65, 1, 0},
	} {
		if step.read > 0 {
			b.read(at(step.read))
		}
		if have := b.age(step.unread, at(step.now)); have != step.want {
			t.Errorf("%s: %s, want %s", step.what, have, step.want)
		}
	}
	var fresh backlog // of a process that has just started
	if have := fresh.age(5, began); have != 0 {
		t.Errorf("fresh: %s", have)
	}
	if have := fresh.age(5, at(10)); have != 10*time.Second {
		t.Errorf("fresh, later: %s", have)
	}
}
