package launcher

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/litci/litci/pkg/daemon"
	"github.com/litci/litci/pkg/executor/local"
)

// Wire makes the launcher from its settings. Jobs are kept in the folder jobs of
// the data directory, each under a supervisor that is this program's hidden
// command "supervise".
func Wire(env *daemon.Env) (daemon.Runner, error) {
	c := env.Config
	log := env.Log.Named("launcher")
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("path of this program: %w", err)
	}
	e, err := local.New(local.Config{
		Dir: filepath.Join(c.Data, "jobs"), Command: []string{program, "supervise"},
		User: c.JobUser, AllowForks: c.AllowForks, Log: log,
	})
	if err != nil {
		return nil, err
	}
	l := New(env.Bus, e, Options{
		Pool: c.Pool, Slots: c.Slots, QueueTimeout: c.QueueTimeout, GitHubURL: c.GitHubURL, Retention: c.Retention,
	}, log)
	return l, l.register(env.Metrics)
}
