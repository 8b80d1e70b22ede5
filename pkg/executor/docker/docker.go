// Package docker runs jobs in containers, through the Engine API.
//
// A job is a container named by its Spec.ID. It is created, filled and started, and
// never started again: what is found under the name is adopted. Nothing of the host
// is mounted, and no credential is inside.
//
// # What a job is in its container
//
//	/litci/in-*        a preparation: the job's folder as package local has it, and litci itself
//	/litci/ready       link to the preparation that is whole; the container's entrypoint is in it
//	/litci/job         the preparation that was begun, renamed
//	/litci/stop.json   a request to stop, for whichever preparation is begun
//
// The entrypoint is shim.Run, which takes one preparation and runs it under the same
// supervisor that local jobs have: it begins the script at most once ever, enforces
// the deadline with every service of litci down, ends the whole process tree, keeps
// the log in segments of bounded size and writes the exit status to a file.
//
// # What stays
//
// A removed job leaves an empty volume of its name, whose labels say how it ended, so
// that a late Start does not run the job again. Collect removes it.
//
// # Limits
//
// A job runs as the user of its image, or as Options.User, and so does its
// supervisor: a job can forge its own state, as it can forge its own success, and
// nothing else. A disk quota is the engine's affair.
package docker

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/moby/moby/client"
	"go.uber.org/zap"

	"github.com/litci/litci/pkg/executor"
	"github.com/litci/litci/pkg/executor/internal/keyed"
)

// Kind is the executor's name in handles, configuration and logs.
const Kind = "docker"

// Pull policies.
const (
	PullMissing = "missing"
	PullAlways  = "always"
	PullNever   = "never"
)

// NetworkNone is the network of jobs that have none.
const NetworkNone = "none"

// Options say which engine runs jobs, and how.
type Options struct {
	// Host is the engine's address, as in DOCKER_HOST; empty means what the
	// environment says (DOCKER_HOST, DOCKER_CERT_PATH, DOCKER_TLS_VERIFY), and
	// otherwise this machine's engine.
	Host string
	// Instance tells the jobs of several installations on one engine apart; empty
	// means "litci".
	Instance string

	// Shim is the static program that runs shim.Run inside the containers; empty means
	// litci-shim beside this program, or this program. ShimArgs are its arguments; nil means "shim".
	Shim     string
	ShimArgs []string

	// Image is for jobs that name none, which may have Unnamed in its place.
	Image, Unnamed string
	// Pull says when images are pulled: "missing" (the default), "always" or "never".
	Pull string
	// DockerConfig is a file like ~/.docker/config.json, whose "auths" are the
	// credentials of registries. It is read anew for each pull.
	DockerConfig string
	// Credentials are those of registries by host name, before those of the file.
	Credentials map[string]Credential

	// Network is where jobs are: empty means a bridge of their own, on which they do
	// not see each other; NetworkNone means nowhere; otherwise the name of a network.
	Network string
	// Limits bound a job. Machines are those of machine types, by the name that
	// workflows use; what they leave at zero is taken from Limits. The name "*" is for
	// all others. Without it, names of GPUs that are not listed are refused.
	Limits   Limits
	Machines map[string]Limits
	// User runs the jobs, as in "docker run --user"; empty means the image's.
	User string
	// Capabilities are left to jobs; all others are dropped.
	Capabilities []string

	// Call bounds one request, Copy the filling of a container, PullTime one pull; zero
	// means 30 s, 10 min and 30 min.
	Call, Copy, PullTime time.Duration
	// TempDir is where source archives are kept while they are looked at.
	TempDir string
	// Log tells about jobs that were started or removed. Nil is silent.
	Log *zap.Logger
}

// Executor runs jobs in containers.
type Executor struct {
	options Options
	engine  *client.Client
	known   atomic.Pointer[engineInfo]
	shim    program
	log     *zap.Logger

	starting keyed.Lock
	pulls    pulls
	network  networkCache
	images   imageCache
	memory   memory

	// step is called between the steps of Start. Tests end the process there.
	step func(string)
}

// engineInfo is what does not change about an engine.
type engineInfo struct{ id, name, arch string }

var (
	_ executor.Executor  = (*Executor)(nil)
	_ executor.Lister    = (*Executor)(nil)
	_ executor.Collector = (*Executor)(nil)
	_ executor.Checker   = (*Executor)(nil)
	_ executor.Placed    = (*Executor)(nil)
	_ executor.Teller    = (*Executor)(nil)
)

// New returns an Executor. It does not ask the engine, which may come later: Check
// does, and whatever is called first.
func New(options Options) (*Executor, error) {
	options.fill()
	if err := options.check(); err != nil {
		return nil, err
	}
	shim, err := openShim(options.Shim)
	if err != nil {
		return nil, err
	}
	opts := []client.Opt{client.FromEnv}
	if options.Host != "" {
		opts = append(opts, client.WithHost(options.Host))
	}
	engine, err := client.New(opts...)
	if err != nil {
		return nil, fmt.Errorf("docker: address of the engine: %w", err)
	}
	return &Executor{
		options: options, engine: engine, shim: shim, log: options.Log,
		step: func(string) {},
	}, nil
}

// Close ends the connections to the engine. Jobs run on.
func (e *Executor) Close() error { return e.engine.Close() }

func (o *Options) fill() {
	o.Instance = cmp.Or(o.Instance, "litci")
	o.Pull = cmp.Or(o.Pull, PullMissing)
	if o.ShimArgs == nil {
		o.ShimArgs = []string{"shim"}
	}
	o.Call = cmp.Or(o.Call, 30*time.Second)
	o.Copy = cmp.Or(o.Copy, 10*time.Minute)
	o.PullTime = cmp.Or(o.PullTime, 30*time.Minute)
	o.Limits = o.Limits.over(defaultLimits())
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
}

func (o *Options) check() error {
	switch o.Pull {
	case PullMissing, PullAlways, PullNever:
	default:
		return fmt.Errorf("docker: pull policy %q: it is %q, %q or %q", o.Pull, PullMissing, PullAlways, PullNever)
	}
	// They would give jobs the host, or each other.
	if o.Network == "host" || strings.HasPrefix(o.Network, "container:") {
		return fmt.Errorf("docker: network %q: jobs get a network of their own, %q, or one by its name", o.Network, NetworkNone)
	}
	if err := o.Limits.check(); err != nil {
		return fmt.Errorf("docker: limits: %w", err)
	}
	for name, machine := range o.Machines {
		if err := machine.check(); err != nil {
			return fmt.Errorf("docker: machine %s: %w", name, err)
		}
	}
	if o.DockerConfig != "" {
		if _, err := readDockerConfig(o.DockerConfig); err != nil {
			return fmt.Errorf("docker: %w", err)
		}
	}
	return nil
}

// Name is "docker".
func (e *Executor) Name() string { return Kind }

// Place names the engine and the installation on it, once a Check went well.
func (e *Executor) Place() (host, folder string) { return e.info().id, e.options.Instance }

func (e *Executor) handle(id, container string) executor.Handle {
	return executor.Handle{Executor: Kind, ID: id, Host: e.info().id, Ref: container}
}

// owns refuses the handles of others. One of another engine is an error and not an
// absent job: absent would be taken for lost.
func (e *Executor) owns(ctx context.Context, h executor.Handle) error {
	switch {
	case h.Executor != Kind:
		return fmt.Errorf("job %q belongs to executor %q, not %q", h.ID, h.Executor, Kind)
	case !validID(h.ID):
		return fmt.Errorf("job id %q is malformed", h.ID)
	}
	if err := e.meet(ctx); err != nil {
		return err
	}
	if here := e.info(); h.Host != "" && h.Host != here.id {
		return fmt.Errorf("job %s runs on engine %q; this is %q (%s)", h.ID, h.Host, here.id, here.name)
	}
	return nil
}

// call bounds one request to the engine.
func (e *Executor) call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, e.options.Call)
}
