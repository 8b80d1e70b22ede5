package ingress

import "github.com/litci/litci/pkg/daemon"

// Wire makes the service from its environment.
func Wire(env *daemon.Env) (daemon.Runner, error) {
	return New(env.Bus, Settings{
		Listen:  env.Config.Listen,
		Secrets: env.Config.WebhookSecrets,
		App:     env.Config.AppID,
	}, env.Log, env.Metrics)
}
