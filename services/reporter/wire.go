package reporter

import (
	"fmt"

	"github.com/litci/litci/pkg/daemon"
	"github.com/litci/litci/pkg/ghapp"
)

// Wire makes the service from its environment.
func Wire(env *daemon.Env) (daemon.Runner, error) {
	cfg := env.Config
	checks, comments, err := newApps(ghapp.Config{
		BaseURL: cfg.GitHubURL, AppID: cfg.AppID, PrivateKey: cfg.PrivateKey, Metrics: env.Metrics,
		Budgets: ghapp.NewBudgets(ghapp.LimitsAt(cfg.GitHubPace)),
	})
	if err != nil {
		return nil, fmt.Errorf("reporter: %w", err)
	}
	log := env.Log.Named("reporter")
	pages, err := NewPages(env.Bus, cfg.PagesListen, cfg.PublicURL, cfg.PrivateKey, log)
	if err != nil {
		return nil, fmt.Errorf("reporter: %w", err)
	}
	r := New(env.Bus, checks, comments, pages, log)
	if cfg.QueueTimeout > 0 {
		r.QueueTimeout = cfg.QueueTimeout
	}
	r.InfraRetries = cfg.InfraRetries
	r.PoolRetries = map[string]int{}
	for _, p := range cfg.Pools {
		// Time that one pool gives, all are given: a launcher ends its own jobs before.
		r.QueueTimeout = max(r.QueueTimeout, p.QueueTimeout)
		r.PoolRetries[p.Pool] = p.InfraRetries
	}
	if err := r.Measure(env.Metrics); err != nil {
		return nil, err
	}
	return r, nil
}

// newApps are the App twice: an installation that lacks a permission refuses
// every token that asks for it, and checks must not fail for want of the comment's.
// To GitHub they are one, so they share one budget.
func newApps(cfg ghapp.Config) (checks, comments *ghapp.App, err error) {
	if cfg.Budgets == nil {
		cfg.Budgets = ghapp.NewBudgets(ghapp.Limits{})
	}
	cfg.Permissions = map[string]string{"checks": "write", "metadata": "read"}
	if checks, err = ghapp.New(cfg); err != nil {
		return nil, nil, err
	}
	cfg.Permissions = map[string]string{"pull_requests": "write", "metadata": "read"}
	comments, err = ghapp.New(cfg)
	return checks, comments, err
}
