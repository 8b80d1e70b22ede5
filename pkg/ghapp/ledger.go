package ghapp

import "time"

// ledger keeps what was spent of one limit. No interval of the window's length
// holds more than most, which is safe against fixed windows and sliding ones,
// wherever GitHub lets them begin: what GitHub counts it counts between the
// sending of a request and its answer, so a request weighs from the one until a
// window's length after the other.
type ledger struct {
	most   int // within a window
	keep   int // what progress leaves to verdicts
	window time.Duration

	held  int // reserved or under way
	sum   int // of spent
	spent []entry
	gone  int // entries at the head of spent that weigh no more
}

// entry is what weighs until a time.
type entry struct {
	until time.Time
	n     int
}

// soon is when to ask again for what others hold: it comes back unspent, or an
// answer tells when it will.
const soon = time.Second

// room is what may be spent in a window.
func (l *ledger) room(urgent bool) int {
	if urgent {
		return l.most
	}
	return l.most - l.keep
}

// wait is the time until n may be spent; 0 is now.
func (l *ledger) wait(now time.Time, n int, urgent bool) time.Duration {
	if n <= 0 {
		return 0
	}
	l.expire(now)
	over := l.held + l.sum + n - l.room(urgent)
	if over <= 0 {
		return 0
	}
	for _, e := range l.spent[l.gone:] {
		if over -= e.n; over <= 0 {
			return e.until.Sub(now)
		}
	}
	return min(soon, l.window)
}

// settle turns n of what is held into spent.
func (l *ledger) settle(now time.Time, n int) {
	if n <= 0 {
		return
	}
	l.expire(now)
	l.held -= n
	l.sum += n
	l.spent = append(l.spent, entry{now.Add(l.window), n})
}

// expire forgets what weighs no more.
func (l *ledger) expire(now time.Time) {
	for l.gone < len(l.spent) && !now.Before(l.spent[l.gone].until) {
		l.sum -= l.spent[l.gone].n
		l.gone++
	}
	switch {
	case l.gone == len(l.spent):
		l.spent, l.gone = nil, 0 // an idle installation holds no memory
	case l.gone > len(l.spent)/2:
		l.spent = l.spent[:copy(l.spent, l.spent[l.gone:])]
		l.gone = 0
	}
}
