// Package open makes the executor that the settings name. It stands apart from the
// seam, so that who only speaks to an executor links none.
package open

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/docker"
	"github.com/litci/litci/pkg/executor/kubernetes"
	"github.com/litci/litci/pkg/executor/lightning"
	"github.com/litci/litci/pkg/executor/local"
	"github.com/litci/litci/pkg/workflow"
)

// SourceURL gives the address from which a job's machine fetches the commit's
// archive, without credentials. Nil is for who starts no jobs.
type SourceURL func(ctx context.Context, job executor.Spec) (string, error)

// Executor makes the executor of the settings; none named means local. It asks no
// service: an executor.Checker does.
func Executor(c *config.Config, source SourceURL, log *zap.Logger) (executor.Executor, error) {
	switch c.Executor {
	case "", local.Kind:
		return made(openLocal(c, log))
	case docker.Kind:
		return made(docker.New(dockerOptions(c, log)))
	case kubernetes.Kind:
		return made(onKubernetes(c, source, log))
	case lightning.Kind:
		l := c.Lightning
		return made(lightning.New(lightning.Config{
			URL: l.URL, UserID: l.UserID, APIKey: l.APIKey, Teamspace: l.Teamspace, Cluster: l.Cluster,
			Machines: l.Machines, ImageSecret: l.ImageSecret, Instance: instance(l.Instance, c.Pool), SourceURL: source, Log: log,
		}))
	}
	return nil, fmt.Errorf("executor %q is not known", c.Executor)
}

// tombstones is how long a cluster keeps ended Jobs by itself: longer than litci's own
// collector leaves them, which leaves them for as long as a message can start them.
const tombstones = 14 * 24 * time.Hour

// onKubernetes is the cluster of the settings, or the one that this process runs in.
func onKubernetes(c *config.Config, source SourceURL, log *zap.Logger) (*kubernetes.Executor, error) {
	k := c.Kubernetes
	cluster, err := kubernetes.InCluster()
	if err != nil {
		err = fmt.Errorf("%w (--kubernetes-kubeconfig)", err)
	}
	if k.Kubeconfig != "" {
		cluster, err = kubernetes.Kubeconfig(k.Kubeconfig, k.Context)
	}
	if err != nil {
		return nil, err
	}
	return kubernetes.New(kubernetes.Config{
		Cluster: cluster, Namespace: k.Namespace, Instance: instance(k.Instance, c.Pool), Machines: k.Machines,
		Profile: kubernetes.Profile(k.Profile), User: k.User, PullSecrets: k.PullSecrets, ServiceAccount: k.ServiceAccount,
		Labels: k.Labels, Annotations: k.Annotations, SourceImage: k.SourceImage,
		StartDeadline: k.StartDeadline, TroubleDeadline: k.TroubleDeadline, Retention: max(tombstones, c.Retention+tombstones/2),
		LogHead: k.LogHead, LogTail: k.LogTail, SourceURL: source, Log: log,
	})
}

// instance tells the jobs of a pool from those of others at the same service, which
// take none of its slots.
func instance(own, pool string) string {
	if own == "" || pool == "" {
		return own + pool
	}
	return own + "-" + pool
}

// openLocal keeps jobs in the folder jobs of the data directory, each under a
// supervisor that is this program's hidden command "supervise".
func openLocal(c *config.Config, log *zap.Logger) (*local.Executor, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("path of this program: %w", err)
	}
	return local.New(local.Config{
		Dir: filepath.Join(c.Data, "jobs"), Command: []string{program, "supervise"},
		User: c.JobUser, AllowForks: c.AllowForks, Log: log,
	})
}

func dockerOptions(c *config.Config, log *zap.Logger) docker.Options {
	d := c.Docker
	o := docker.Options{
		Host: d.Host, Instance: instance(cmp.Or(d.Instance, "litci"), c.Pool), Shim: d.Shim, Image: d.Image, Unnamed: workflow.DefaultImage,
		Pull: d.Pull, DockerConfig: d.Config, Network: d.Network, User: d.User, Capabilities: d.Capabilities,
		Limits: docker.Limits(d.Limits), Machines: map[string]docker.Limits{}, Log: log,
	}
	for name, limits := range d.Machines {
		o.Machines[name] = docker.Limits(limits)
	}
	return o
}

// made keeps a typed nil from becoming an executor.
func made[E executor.Executor](e E, err error) (executor.Executor, error) {
	if err != nil {
		return nil, err
	}
	return e, nil
}
