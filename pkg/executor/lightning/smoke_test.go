//go:build lightning_smoke

package lightning

import (
	"crypto/rand"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/executortest"
	"github.com/litci/litci/pkg/executor/internal/rest"
)

// TestSmoke runs jobs at Lightning AI itself, which costs a few cents:
//
//	LIGHTNING_USER_ID=… LIGHTNING_API_KEY=… LIGHTNING_TEAMSPACE=owner/name \
//	    go test -tags lightning_smoke -run Smoke -timeout 1h -v ./executor/lightning
func TestSmoke(t *testing.T) {
	e, err := New(Config{
		URL:    os.Getenv("LIGHTNING_CLOUD_URL"),
		UserID: os.Getenv("LIGHTNING_USER_ID"), APIKey: os.Getenv("LIGHTNING_API_KEY"),
		Teamspace: os.Getenv("LIGHTNING_TEAMSPACE"), Instance: "smoke-" + strings.ToLower(rand.Text()[:8]),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.client.http.CloseIdleConnections)
	if err := e.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	job := func(script string) executor.Spec {
		return executor.Spec{
			ID: "litci-" + strings.ToLower(rand.Text()[:20]) + "-0-a1", Hash: "smoke", Image: "python:3.12-slim", Machine: "CPU",
			Script: []byte(script), Env: map[string]string{"GREETING": "it's\nme"}, Timeout: 5 * time.Minute, Grace: 5 * time.Second,
		}
	}
	ended := func(h executor.Handle) executor.State {
		t.Helper()
		for {
			state, err := e.Observe(t.Context(), h)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s: %+v", h.ID, state)
			if state.Phase == executor.Ended || state.Phase == executor.Absent {
				return state
			}
			if !rest.Sleep(t.Context(), 5*time.Second) {
				t.Fatal(t.Context().Err())
			}
		}
	}
	t.Run("exit code and log", func(t *testing.T) {
		spec := job("printf '%s|' \"$GREETING\"\nprintf 'a\\rb\\377\\n'\nexit 3\n")
		h := executortest.Start(t, e, spec)
		if again := executortest.Start(t, e, spec); again != h {
			t.Errorf("handles are %+v and %+v", h, again)
		}
		state := ended(h)
		if state.Reason != executor.ReasonExit || state.ExitCode == nil || *state.ExitCode != 3 {
			t.Errorf("state is %+v", state)
		}
		if log := executortest.Output(t, e, h); log != "it's\nme|a\rb\xff\n" {
			t.Errorf("log is %q", log)
		}
		if err := e.Remove(t.Context(), h); err != nil {
			t.Error(err)
		}
		if again := executortest.Start(t, e, spec); again != h {
			t.Errorf("a removed job was begun again: %+v", again)
		}
	})
	t.Run("stop", func(t *testing.T) {
		h := executortest.Start(t, e, job("trap 'echo cleaned; exit 3' TERM\necho ready\nwhile :; do sleep 0.1; done\n"))
		for state := (executor.State{}); state.Phase != executor.Running; {
			if state, err = e.Observe(t.Context(), h); err != nil {
				t.Fatal(err)
			}
			if !rest.Sleep(t.Context(), 5*time.Second) {
				t.Fatal(t.Context().Err())
			}
		}
		if err := e.Stop(t.Context(), h, 5*time.Second); err != nil {
			t.Fatal(err)
		}
		if state := ended(h); state.Reason != executor.ReasonStopped {
			t.Errorf("state is %+v", state)
		}
		t.Logf("log is %q", executortest.Output(t, e, h))
		if err := e.Remove(t.Context(), h); err != nil {
			t.Error(err)
		}
	})
	if n, err := e.Collect(t.Context(), time.Now().Add(time.Hour)); n != 2 || err != nil {
		t.Errorf("collected %d, %v", n, err)
	}
}
