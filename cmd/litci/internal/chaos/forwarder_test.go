package chaos

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/cmd/litci/internal/loopback"
)

// ingress is a server that tells what reached it.
func ingress(t *testing.T) (address string, got <-chan string) {
	t.Helper()
	bodies := make(chan string, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		bodies <- r.Header.Get("X-GitHub-Delivery") + " " + string(body)
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://"), bodies
}

func network(t *testing.T, backends ...string) *forwarder {
	t.Helper()
	f, err := newForwarder(backends)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

const commit = "c0ffee"

// deliver sends a webhook as GitHub does and returns the status, 0 for no answer.
func deliver(t *testing.T, f *forwarder) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url(), strings.NewReader(fmt.Sprintf(`{"after":%q}`, commit)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-GitHub-Delivery", "guid")
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	if err := res.Body.Close(); err != nil {
		t.Error(err)
	}
	return res.StatusCode
}

func TestForwarderPassesOnWhatCame(t *testing.T) {
	address, got := ingress(t)
	f := network(t, address)
	sent := f.expect(commit, DeliveryFault{})
	if status := deliver(t, f); status != http.StatusAccepted {
		t.Errorf("answered with %d", status)
	}
	<-sent
	if have := <-got; have != `guid {"after":"c0ffee"}` {
		t.Error(have)
	}
}

func TestForwarderTakesTheIngressThatIsUp(t *testing.T) {
	address, got := ingress(t)
	down, err := loopback.New().Take()
	if err != nil {
		t.Fatal(err)
	}
	f := network(t, down, address)
	for range 3 {
		if status := deliver(t, f); status != http.StatusAccepted {
			t.Errorf("answered with %d", status)
		}
		<-got
	}
	if status := deliver(t, network(t, down)); status != http.StatusBadGateway {
		t.Errorf("answered with %d while all are down", status)
	}
}

func TestForwarderFaultsStrikeOnce(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault DeliveryFault
		want  int
		// reach is how many requests reach litci of the first delivery.
		reach int
	}{
		{"refused", DeliveryFault{Refused: true}, http.StatusBadGateway, 0},
		{"unanswered", DeliveryFault{Unanswered: true}, 0, 1},
		{"late", DeliveryFault{Delay: time.Millisecond}, http.StatusAccepted, 1},
		{"twice", DeliveryFault{Repeat: time.Millisecond}, http.StatusAccepted, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			address, got := ingress(t)
			f := network(t, address)
			f.expect(commit, c.fault)
			if status := deliver(t, f); status != c.want {
				t.Errorf("answered with %d, want %d", status, c.want)
			}
			for range c.reach {
				<-got
			}
			if status := deliver(t, f); status != http.StatusAccepted {
				t.Errorf("redelivery answered with %d", status)
			}
			<-got
			if len(got) > 0 {
				t.Errorf("and %s came too", <-got)
			}
		})
	}
}

func TestCommitsOfWebhooks(t *testing.T) {
	for body, want := range map[string]string{
		`{"action":"opened","pull_request":{"head":{"sha":"a"}}}`:                  "a",
		`{"action":"synchronize","after":"b","pull_request":{"head":{"sha":"b"}}}`: "b",
		`{"ref":"refs/heads/main","after":"c"}`:                                    "c",
		`{"action":"created","check_run":{"head_sha":"d"}}`:                        "",
		`no JSON`: "",
	} {
		if have := commitOf([]byte(body)); have != want {
			t.Errorf("%s has commit %q, want %q", body, have, want)
		}
	}
}
