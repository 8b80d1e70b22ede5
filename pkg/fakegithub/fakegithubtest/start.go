package fakegithubtest

import (
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/litci/litci/pkg/fakegithub"
)

// key is one App key for all tests of a process: keys are slow to make.
var key = sync.OnceValues(fakegithub.NewKey)

// Start serves an emulated GitHub at the returned address until the test ends,
// with a validator before it. An App id, key and webhook secret that cfg lacks
// are filled in; Server.Config tells them.
func Start(t testing.TB, cfg fakegithub.Config, options ...Option) (*fakegithub.Server, string) {
	t.Helper()
	if cfg.PrivateKey == nil {
		made, err := key()
		if err != nil {
			t.Fatal(err)
		}
		cfg.PrivateKey = made
	}
	if cfg.AppID == 0 {
		cfg.AppID = 4711
	}
	if cfg.WebhookSecret == "" {
		cfg.WebhookSecret = "a secret of the tests"
	}
	server, err := fakegithub.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(Handler(t, server, options...))
	t.Cleanup(func() {
		web.Close()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server, web.URL
}
