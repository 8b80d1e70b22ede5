package launcher

import (
	"github.com/litci/litci/pkg/daemon"
	"github.com/litci/litci/pkg/executor/local"
)

// Wire makes the launcher from its settings, for the executor of this machine.
func Wire(env *daemon.Env) (daemon.Runner, error) {
	c := env.Config
	log := env.Log.Named("launcher")
	e, err := local.Open(c, log)
	if err != nil {
		return nil, err
	}
	l := New(env.Bus, e, Options{
		Pool: c.Pool, Slots: c.Slots, QueueTimeout: c.QueueTimeout, GitHubURL: c.GitHubURL, Retention: c.Retention,
	}, log)
	return l, l.register(env.Metrics)
}
