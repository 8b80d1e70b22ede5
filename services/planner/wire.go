package planner

import (
	"fmt"

	"github.com/litci/litci/pkg/daemon"
	"github.com/litci/litci/pkg/ghapp"
)

// Wire makes the service from its environment.
func Wire(env *daemon.Env) (daemon.Runner, error) {
	app, err := ghapp.New(ghapp.Config{
		BaseURL: env.Config.GitHubURL, AppID: env.Config.AppID, PrivateKey: env.Config.PrivateKey,
		Permissions: map[string]string{"contents": "read", "metadata": "read", "pull_requests": "read", "checks": "read"},
		Budgets:     ghapp.NewBudgets(ghapp.LimitsAt(env.Config.GitHubPace)),
		Metrics:     env.Metrics,
	})
	if err != nil {
		return nil, fmt.Errorf("planner: %w", err)
	}
	p := New(env.Bus, app, env.Log)
	p.PullsInterval = env.Config.PullsInterval
	return p, nil
}
