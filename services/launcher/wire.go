package launcher

import (
	"github.com/litci/litci/pkg/daemon"
	"github.com/litci/litci/pkg/executor/open"
)

// Wire makes a launcher for each pool that the settings have this process serve.
func Wire(env *daemon.Env) (daemon.Runner, error) { return daemon.EachPool(env, wire) }

func wire(env *daemon.Env) (daemon.Runner, error) {
	c := env.Config
	log := env.Log.Named("launcher")
	e, err := open.Executor(c, links{env.Bus, c.PublicURL}.url, log)
	if err != nil {
		return nil, err
	}
	l := New(env.Bus, e, Options{
		Pool: c.Pool, Slots: c.Slots, QueueTimeout: c.QueueTimeout, GitHubURL: c.GitHubURL, Retention: c.Retention,
		RepositoryJobs: c.RepositoryJobs, InstallationJobs: c.InstallationJobs, InfraRetries: c.InfraRetries,
	}, log)
	return l, l.register(env.Metrics)
}
