package ghapp

import (
	"context"
	"net/http"
	"strconv"
	"testing"
	"time"
)

func TestRequestsAreWeighed(t *testing.T) {
	for _, c := range []struct {
		method, path string
		want         share
	}{
		{"GET", "/repos/o/r/check-runs/1", share{points: 1, requests: 1}},
		{"GET", "/repos/o/r/issues/1/comments", share{points: 1, requests: 1}},
		{"POST", "/repos/o/r/check-runs", share{points: 5, content: 1, requests: 1}},
		{"POST", "/repositories/17/check-runs", share{points: 5, content: 1, requests: 1}},
		{"POST", "/repos/o/r/issues/1/comments", share{points: 5, content: 1, requests: 1}},
		{"PATCH", "/repos/o/r/issues/comments/1", share{points: 5, requests: 1}},
		{"PATCH", "/repos/o/r/check-runs/1", share{points: 5, requests: 1}},
		{"POST", "/app/installations/1/access_tokens", share{points: 5, requests: 1}},
		{"DELETE", "/installation/token", share{points: 5, requests: 1}},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, "https://api.github.com"+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := weigh(req); got != c.want {
			t.Errorf("%s %s weighs %+v, want %+v", c.method, c.path, got, c.want)
		}
	}
}

// What an answer tells of the hour's requests; times are in minutes.
func TestPrimaryBudget(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers [][2]int // remaining, reset
		held    int
		at      int
		n       int
		urgent  bool
		want    time.Duration
	}{
		{name: "unknown is free", n: 1000, want: 0},
		{name: "much is left", answers: [][2]int{{4000, 30}}, n: 1, want: 0},
		{name: "progress leaves a tenth", answers: [][2]int{{500, 30}}, n: 1, want: 30*time.Minute + time.Second},
		{name: "for verdicts", answers: [][2]int{{500, 30}}, n: 500, urgent: true, want: 0},
		{name: "none is left", answers: [][2]int{{0, 30}}, n: 1, urgent: true, want: 30*time.Minute + time.Second},
		{name: "until the reset", answers: [][2]int{{0, 30}}, at: 31, n: 1, want: 0},
		{name: "others hold the rest", answers: [][2]int{{510, 30}}, held: 10, n: 1, want: soon},
		{name: "answers overtake each other", answers: [][2]int{{500, 30}, {501, 30}}, n: 1, want: 30*time.Minute + time.Second},
		{name: "a new window", answers: [][2]int{{0, 30}, {4999, 60}}, n: 1, want: 0},
		{name: "a late answer of the old one", answers: [][2]int{{4999, 60}, {0, 30}}, n: 1, want: 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := primary{reserve: 10, held: c.held}
			for _, a := range c.answers {
				resp := &http.Response{Header: http.Header{}}
				resp.Header.Set("X-RateLimit-Limit", "5000")
				resp.Header.Set("X-RateLimit-Remaining", strconv.Itoa(a[0]))
				resp.Header.Set("X-RateLimit-Reset", strconv.Itoa(int(epoch.Add(time.Duration(a[1])*time.Minute).Unix())))
				p.read(resp, epoch)
			}
			if got := p.wait(epoch.Add(time.Duration(c.at)*time.Minute), c.n, c.urgent); got != c.want {
				t.Errorf("wait is %s, want %s", got, c.want)
			}
		})
	}
}

// BenchmarkAccount is what the account adds to a request, with a full window behind.
func BenchmarkAccount(b *testing.B) {
	const pace = 15 // requests a second, as GitHub's 900 points a minute allow
	inst := newInstallation(1, Limits{PointsPerMinute: 1 << 30}.withDefaults())
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "https://api.github.com/repos/o/r", nil)
	if err != nil {
		b.Fatal(err)
	}
	now := epoch
	for b.Loop() {
		now = now.Add(time.Second / pace)
		cost, err := inst.charge(now, req)
		if err != nil {
			b.Fatal(err)
		}
		inst.settle(now, cost, nil)
	}
}

// BenchmarkReserve is a reservation that is refused by a full window.
func BenchmarkReserve(b *testing.B) {
	inst := newInstallation(1, Limits{}.withDefaults())
	for n := range 765 {
		inst.points.held++
		inst.points.settle(epoch.Add(time.Duration(n)*time.Millisecond), 1)
	}
	now := epoch.Add(30 * time.Second)
	for b.Loop() {
		if _, limit := inst.reserve(now, Cost{Creations: 10}, false); limit == nil {
			b.Fatal("more was reserved than there is")
		}
	}
}
