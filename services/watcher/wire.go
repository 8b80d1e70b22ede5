package watcher

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/litci/litci/pkg/daemon"
	"github.com/litci/litci/pkg/executor/local"
)

// Wire makes the watcher from its settings. It finds the jobs in the folder jobs
// of the data directory, where the launcher of this machine keeps them.
func Wire(env *daemon.Env) (daemon.Runner, error) {
	c := env.Config
	log := env.Log.Named("watcher")
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
	// Jobs are not given these, and none may show all the same.
	masks := append([]string{c.NATS.Password}, c.WebhookSecrets...)
	return New(env.Bus, e, Options{Pool: c.Pool, Masks: masks}, log), nil
}
