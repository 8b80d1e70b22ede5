// Package demo shows the whole of litci on this machine with no account: a real
// git repository, a real webhook payload, GitHub emulated, everything else as
// `litci up` runs it.
package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/cmd/litci/internal/mesh"
	"github.com/litci/litci/cmd/litci/internal/webhook"
	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/daemon"
	"github.com/litci/litci/pkg/executor/open"
	"github.com/litci/litci/pkg/fakegithub"
	"github.com/litci/litci/services/ingress"
	"github.com/litci/litci/services/launcher"
	"github.com/litci/litci/services/planner"
	"github.com/litci/litci/services/reporter"
	"github.com/litci/litci/services/watcher"
)

// Options are what a user can choose.
type Options struct {
	// Repo is a local git repository; empty takes the example.
	Repo string
	// Payload is a file with a pull_request webhook; empty takes GitHub's example.
	Payload string
	// Slots is how many jobs run at once.
	Slots int
	// Executor is where jobs run; Image is for those that name none.
	Executor, Image string
	// Log hears the services.
	Log *zap.Logger
	// Progress is where jobs are shown while they run.
	Progress io.Writer
	// Live redraws Progress in place, in colour if Color is set.
	Live, Color bool
}

// stopWithin bounds how long jobs may take to end when the demo does.
const stopWithin = time.Minute

// InputError is a wrong --repo or --payload.
type InputError struct{ error }

// The App that the emulator knows.
const appID = 1

// Demo is a mesh with an emulated GitHub around it.
type Demo struct {
	options Options
	dir     string
	repo    repository
	payload *payload

	github  *fakegithub.Server
	hub     *http.Server
	address string // of the emulator

	config *config.Config
	mesh   *mesh.Mesh
	stop   context.CancelFunc
	// ended is closed when the services have stopped; failed tells why.
	ended  chan struct{}
	failed error
}

// Open builds the scene and starts everything; Close ends it.
func Open(ctx context.Context, options Options) (d *Demo, err error) {
	d = &Demo{options: options, ended: make(chan struct{})}
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	if d.dir, err = os.MkdirTemp("", "litci-demo-"); err != nil {
		return d, fmt.Errorf("demo: %w", err)
	}
	data := webhook.Opened
	if options.Payload != "" {
		if data, err = os.ReadFile(options.Payload); err != nil {
			return d, InputError{fmt.Errorf("--payload: %w", err)}
		}
	}
	if d.payload, err = parsePayload(data); err != nil {
		return d, InputError{err}
	}
	if options.Repo == "" {
		d.repo, err = exampleRepository(ctx, d.dir)
	} else {
		d.repo, err = localRepository(ctx, options.Repo, d.dir)
	}
	if err != nil {
		return d, err
	}
	key, secret, err := d.openGitHub(ctx)
	if err != nil {
		return d, err
	}
	return d, d.openMesh(ctx, key, secret)
}

// openGitHub starts the emulator with the repository and its pull request.
func (d *Demo) openGitHub(ctx context.Context) (key []byte, secret string, err error) {
	rsa, err := fakegithub.NewKey()
	if err != nil {
		return nil, "", err
	}
	secret = rand.Text()
	d.github, err = fakegithub.New(fakegithub.Config{AppID: appID, PrivateKey: rsa, WebhookSecret: secret, Log: d.options.Log.Named("fakegithub")})
	if err != nil {
		return nil, "", err
	}
	p := d.payload
	err = d.github.AddRepo(fakegithub.Repo{Owner: p.owner, Name: p.name, ID: p.repo, Dir: d.repo.dir, DefaultBranch: d.repo.base, Installation: appID})
	if err != nil {
		return nil, "", err
	}
	// The webhook is the payload, not the emulator's own.
	_, err = d.github.OpenPull(ctx, fakegithub.OpenPull{
		Owner: p.owner, Repo: p.name, Number: p.number, Head: d.repo.head, Base: d.repo.base, Author: p.author, Fork: p.fork, Silent: true,
	})
	if err != nil {
		return nil, "", err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", fmt.Errorf("emulator: %w", err)
	}
	d.address = "http://" + listener.Addr().String()
	d.hub = &http.Server{Handler: d.github, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = d.hub.Serve(listener) }() // Close ends it
	return fakegithub.EncodeKey(rsa), secret, nil
}

// openMesh starts NATS and the five services, and waits until webhooks can come.
func (d *Demo) openMesh(ctx context.Context, key []byte, secret string) error {
	cfg := &config.Config{
		Listen: "127.0.0.1:0", PagesListen: "127.0.0.1:0",
		GitHubURL: d.address, AppID: appID, PrivateKey: key, WebhookSecrets: []string{secret},
		NATS: config.NATS{Listen: "127.0.0.1:0", SyncAlways: true, Replicas: 1},
		Data: filepath.Join(d.dir, "data"), Executor: d.options.Executor, Docker: config.Docker{Image: d.options.Image}, Slots: d.options.Slots,
		QueueTimeout: time.Hour, Retention: 24 * time.Hour, LogLevel: "info", LogFormat: "console",
	}
	if err := mesh.Alone(cfg.Executor); err != nil {
		return err
	}
	if err := cfg.Validate(append(mesh.Services(), "nats")...); err != nil {
		return err
	}
	if err := mesh.Private(ctx, cfg, d.dir); err != nil {
		return err
	}
	d.config = cfg
	var err error
	if d.mesh, err = mesh.Open(ctx, cfg, d.options.Log, mesh.Services()); err != nil {
		return err
	}
	webhooks := make(chan net.Addr, 1)
	listening := func(env *daemon.Env) (daemon.Runner, error) {
		r, err := ingress.Wire(env)
		if i, ok := r.(*ingress.Ingress); ok && err == nil {
			webhooks <- i.Addr()
		}
		return r, err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.stop = stop
	go func() {
		d.failed = d.mesh.Run(run, listening, planner.Wire, launcher.Wire, watcher.Wire, reporter.Wire)
		close(d.ended)
	}()
	select {
	case address := <-webhooks:
		d.github.SetWebhookURL("http://" + address.String() + "/webhook")
		return nil
	case <-d.ended:
		return d.failed
	}
}

// Wait returns when ctx ends, or with the error of services that stopped before.
func (d *Demo) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-d.ended:
		return d.failed
	}
}

// NATS is the address of the server, with the file whose key lets people tail it.
func (d *Demo) NATS() (address, key string) { return d.mesh.Server.URL(), d.mesh.Server.TailKeyFile }

// endJobs ends what still runs, since nobody will take it up, and removes it.
func (d *Demo) endJobs() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
	defer cancel()
	jobs, err := open.Executor(d.config, nil, d.options.Log)
	if err != nil {
		return err
	}
	return errors.Join(mesh.EndJobs(ctx, jobs, time.Second, nil), mesh.RemoveJobs(ctx, jobs))
}

// Close ends everything that Open started.
func (d *Demo) Close() error {
	var failed error
	if d.stop != nil {
		d.stop()
		<-d.ended
		failed = d.failed
	}
	if d.mesh != nil {
		d.mesh.Close()
		failed = errors.Join(failed, d.endJobs())
	}
	if d.hub != nil {
		failed = errors.Join(failed, d.hub.Close())
	}
	if d.github != nil {
		failed = errors.Join(failed, d.github.Close())
	}
	if d.dir != "" {
		failed = errors.Join(failed, os.RemoveAll(d.dir))
	}
	return failed
}
