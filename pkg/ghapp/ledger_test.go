package ghapp

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// epoch is any time.
var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestLedger(t *testing.T) {
	at := func(s int) time.Time { return epoch.Add(time.Duration(s) * time.Second) }
	for _, c := range []struct {
		name   string
		held   int
		spent  map[int]int // second of the answer: how much
		at     int
		n      int
		urgent bool
		want   time.Duration
	}{
		{name: "nothing is spent", n: 90, want: 0},
		{name: "progress leaves the reserve", n: 91, want: time.Second},
		{name: "verdicts may have it", n: 100, urgent: true, want: 0},
		{name: "it weighs for a window after the answer", spent: map[int]int{10: 90}, at: 69, n: 1, want: time.Second},
		{name: "then no more", spent: map[int]int{10: 90}, at: 70, n: 90, want: 0},
		{name: "the oldest that frees enough", spent: map[int]int{0: 30, 10: 30, 20: 30}, at: 30, n: 40, want: 40 * time.Second},
		{name: "the reserve beside what is spent", spent: map[int]int{0: 90}, at: 30, n: 10, urgent: true, want: 0},
		{name: "what others hold may come back soon", held: 90, at: 30, n: 1, want: time.Second},
		{name: "the spent first, then the held", held: 60, spent: map[int]int{0: 30}, at: 59, n: 30, want: time.Second},
		{name: "nothing costs nothing", held: 500, n: 0, want: 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := ledger{most: 100, keep: 10, window: time.Minute}
			for s := range 60 {
				if n := c.spent[s]; n > 0 {
					l.held += n
					l.settle(at(s), n)
				}
			}
			l.held += c.held
			if got := l.wait(at(c.at), c.n, c.urgent); got != c.want {
				t.Errorf("wait is %s, want %s", got, c.want)
			}
		})
	}
}

// However long requests are under way, and whenever GitHub counts them: neither a
// fixed window, wherever it begins, nor any other interval holds more than most.
func TestNoWindowHoldsMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 20
		window := time.Minute
		l := ledger{most: most, window: window}
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		slowest := time.Duration(rapid.Int64Range(1, int64(2*window)).Draw(t, "slowest"))
		eager := time.Duration(rapid.Int64Range(1, int64(window/4)).Draw(t, "between"))
		type request struct {
			done time.Time
			n    int
		}
		type count struct {
			at time.Time
			n  int
		}
		var flying []request
		var counted []count
		now := epoch
		land := func() {
			slices.SortFunc(flying, func(a, b request) int { return a.done.Compare(b.done) })
			for len(flying) > 0 && !flying[0].done.After(now) {
				l.settle(flying[0].done, flying[0].n)
				flying = flying[1:]
			}
		}
		for range 400 {
			now = now.Add(time.Duration(random.Int64N(int64(eager))))
			land()
			n := 1 + random.IntN(5)
			if l.wait(now, n, true) > 0 {
				continue
			}
			l.held += n
			took := time.Duration(random.Int64N(int64(slowest)))
			flying = append(flying, request{now.Add(took), n})
			counted = append(counted, count{now.Add(time.Duration(random.Int64N(int64(took) + 1))), n})
		}
		slices.SortFunc(counted, func(a, b count) int { return a.at.Compare(b.at) })
		for i := range counted {
			sum := 0
			for _, c := range counted[i:] {
				if c.at.Sub(counted[i].at) >= window {
					break
				}
				sum += c.n
			}
			if sum > most {
				t.Fatalf("%d within %s, want at most %d", sum, window, most)
			}
		}
	})
}

func TestLedgerForgets(t *testing.T) {
	l := ledger{most: 1 << 30, window: time.Minute}
	for s := range 100_000 {
		l.held++
		l.settle(epoch.Add(time.Duration(s)*time.Second), 1)
		if len(l.spent) > 200 {
			t.Fatalf("%d entries are kept for a window of 60", len(l.spent))
		}
	}
	l.expire(epoch.Add(48 * time.Hour))
	if l.spent != nil || l.sum != 0 || l.held != 0 {
		t.Errorf("an idle ledger holds %+v", l)
	}
}
