package daemon_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/litci/litci/pkg/daemon"
)

func TestHealthTellsWhatReadinessSays(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer int
		body   string
		want   string // empty is healthy
	}{
		{"ready", 200, "ready\n", ""},
		{"not ready says why, in one line", 503, "nats is reconnecting\n", "not ready: nats is reconnecting"},
		{"another program on the port", 404, "404 page not found\n", "not ready: 404 page not found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/readyz" {
					t.Errorf("asked for %s", r.URL.Path)
				}
				w.WriteHeader(c.answer)
				_, _ = w.Write([]byte(c.body))
			}))
			defer s.Close()
			err := daemon.Health(t.Context(), s.Listener.Addr().String())
			if got := said(err); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestHealthFindsAListenerOnAllInterfaces(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, listen := range []string{":" + port, "0.0.0.0:" + port} {
		if err := daemon.Health(t.Context(), listen); err != nil {
			t.Errorf("%s: %v", listen, err)
		}
	}
}

func TestHealthSaysWhatIsWrongWithTheAddress(t *testing.T) {
	const free = "127.0.0.1:1" // a port that nobody gets by chance
	for listen, want := range map[string]string{
		"":            "--admin-listen is empty",
		"9090":        "not an address",
		"127.0.0.1:0": "leaves the port open",
		free:          "nothing answers at the admin address " + free,
	} {
		if err := daemon.Health(t.Context(), listen); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", listen, err, want)
		}
	}
}

func TestBuildIsAMetric(t *testing.T) {
	families, err := daemon.NewRegistry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "litci_build_info" {
			continue
		}
		labels := map[string]string{}
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		if labels["version"] == "" || !strings.Contains(daemon.Version(), labels["version"]) || !strings.HasPrefix(labels["go"], "go1.") {
			t.Errorf("litci_build_info has %v, the version is %s", labels, daemon.Version())
		}
		return
	}
	t.Error("there is no litci_build_info")
}

func said(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
