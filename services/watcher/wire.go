package watcher

import (
	"github.com/litci/litci/pkg/daemon"
	"github.com/litci/litci/pkg/executor/local"
)

// Wire makes the watcher from its settings, for the executor of this machine.
func Wire(env *daemon.Env) (daemon.Runner, error) {
	c := env.Config
	log := env.Log.Named("watcher")
	e, err := local.Open(c, log)
	if err != nil {
		return nil, err
	}
	// Jobs are not given these, and none may show all the same.
	masks := append([]string{c.NATS.Password}, c.WebhookSecrets...)
	return New(env.Bus, e, Options{Pool: c.Pool, Masks: masks}, log), nil
}
