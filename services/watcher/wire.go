package watcher

import (
	"github.com/litci/litci/pkg/daemon"
	"github.com/litci/litci/pkg/executor/open"
)

// Wire makes a watcher for each pool that the settings have this process serve.
func Wire(env *daemon.Env) (daemon.Runner, error) { return daemon.EachPool(env, wire) }

func wire(env *daemon.Env) (daemon.Runner, error) {
	c := env.Config
	log := env.Log.Named("watcher")
	e, err := open.Executor(c, nil, log)
	if err != nil {
		return nil, err
	}
	// Jobs are not given these, and none may show all the same.
	masks := append([]string{c.NATS.Password, c.Lightning.APIKey}, c.WebhookSecrets...)
	return New(env.Bus, e, Options{
		Pool: c.Pool, Masks: masks, Patience: c.QueueTimeout, InfraRetries: c.InfraRetries, Metrics: env.Metrics,
	}, log), nil
}
