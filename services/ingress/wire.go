package ingress

import (
	"fmt"

	"github.com/litci/litci/pkg/daemon"
	"github.com/litci/litci/pkg/ghapp"
	"go.uber.org/zap"
)

// Wire makes the service from its environment. The App's key is for the sweep
// alone, and ingress works without.
func Wire(env *daemon.Env) (daemon.Runner, error) {
	cfg := env.Config
	settings := Settings{Listen: cfg.Listen, Secrets: cfg.WebhookSecrets, App: cfg.AppID, SweepInterval: cfg.SweepInterval, Tracing: env.Tracing.Provider("ingress")}
	switch {
	case cfg.SweepInterval <= 0:
	case cfg.AppID <= 0 || len(cfg.PrivateKey) == 0:
		env.Log.Warn("webhooks that are missed stay missed: --app-id with --private-key-file (or LITCI_PRIVATE_KEY) switches on the sweep that has them delivered again; --sweep-interval 0 switches off this warning",
			zap.Bool("app_id", cfg.AppID > 0), zap.Bool("private_key", len(cfg.PrivateKey) > 0))
	default:
		app, err := ghapp.New(ghapp.Config{BaseURL: cfg.GitHubURL, AppID: cfg.AppID, PrivateKey: cfg.PrivateKey, Metrics: env.Metrics})
		if err != nil {
			return nil, fmt.Errorf("ingress: %w", err)
		}
		settings.Log = app.AsApp()
	}
	return New(env.Bus, settings, env.Log, env.Metrics)
}
