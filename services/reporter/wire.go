package reporter

import (
	"fmt"

	"github.com/litci/litci/pkg/daemon"
	"github.com/litci/litci/pkg/ghapp"
)

// Wire makes the service from its environment.
func Wire(env *daemon.Env) (daemon.Runner, error) {
	cfg := env.Config
	app, err := ghapp.New(ghapp.Config{
		BaseURL: cfg.GitHubURL, AppID: cfg.AppID, PrivateKey: cfg.PrivateKey,
		Permissions: map[string]string{"checks": "write", "pull_requests": "write", "metadata": "read"},
		Metrics:     env.Metrics,
	})
	if err != nil {
		return nil, fmt.Errorf("reporter: %w", err)
	}
	log := env.Log.Named("reporter")
	pages, err := NewPages(env.Bus, cfg.PagesListen, cfg.PublicURL, cfg.PrivateKey, log)
	if err != nil {
		return nil, fmt.Errorf("reporter: %w", err)
	}
	r := New(env.Bus, app, pages, log)
	if cfg.QueueTimeout > 0 {
		r.QueueTimeout = cfg.QueueTimeout
	}
	return r, nil
}
