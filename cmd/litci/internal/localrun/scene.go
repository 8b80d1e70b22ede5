package localrun

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/litci/litci/cmd/litci/internal/board"
	"github.com/litci/litci/cmd/litci/internal/mesh"
	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/daemon"
	"github.com/litci/litci/pkg/executor"
	executors "github.com/litci/litci/pkg/executor/open"
	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/services/launcher"
	"github.com/litci/litci/services/watcher"
)

const (
	// glance is the longest time between two looks at a job: a person is waiting.
	glance = 100 * time.Millisecond
	// forever is longer than anybody waits: jobs here wait for each other alone.
	forever = 30 * 24 * time.Hour
)

// scene is NATS, launcher and watcher, in a temporary directory.
type scene struct {
	dir      string
	mesh     *mesh.Mesh
	executor executor.Executor
	launcher *service
	watcher  *service
}

// service is one that runs until it is stopped.
type service struct {
	cancel context.CancelFunc
	// ended is closed when it has stopped; failed tells why.
	ended  chan struct{}
	failed error
}

func serve(ctx context.Context, m *mesh.Mesh, wire daemon.Wire) *service {
	ctx, cancel := context.WithCancel(ctx)
	s := &service{cancel: cancel, ended: make(chan struct{})}
	go func() {
		s.failed = m.Run(ctx, wire)
		close(s.ended)
	}()
	return s
}

// stop ends the service and returns what it failed with; nil has nothing to stop.
func (s *service) stop() error {
	if s == nil {
		return nil
	}
	s.cancel()
	<-s.ended
	return s.failed
}

// config are the settings of the scene with its data in a folder.
func (o Options) config(data string) *config.Config {
	return &config.Config{
		NATS: config.NATS{Listen: "127.0.0.1:0", Replicas: 1},
		Data: data, Executor: o.Executor, Docker: config.Docker{Image: o.Image}, Slots: o.Slots, LogLevel: "info", LogFormat: "console",
	}
}

// open builds the scene up. What it returns is to be closed, with an error too.
func open(ctx context.Context, o Options, masks []string) (s *scene, err error) {
	s = &scene{}
	if s.dir, err = os.MkdirTemp("", "litci-run-"); err != nil {
		return s, fmt.Errorf("temporary directory: %w", err)
	}
	cfg := o.config(filepath.Join(s.dir, "data"))
	if err := mesh.Private(ctx, cfg, s.dir); err != nil {
		return s, err
	}
	if s.executor, err = executors.Executor(cfg, nil, o.Log); err != nil {
		return s, err
	}
	if s.mesh, err = mesh.Open(ctx, cfg, o.Log, []string{"launcher", "watcher"}); err != nil {
		return s, err
	}
	s.launcher = serve(ctx, s.mesh, func(env *daemon.Env) (daemon.Runner, error) {
		return launcher.New(env.Bus, s.executor, launcher.Options{Slots: o.Slots, QueueTimeout: forever, MaxPoll: glance}, env.Log.Named("launcher")), nil
	})
	s.watcher = serve(ctx, s.mesh, func(env *daemon.Env) (daemon.Runner, error) {
		return watcher.New(env.Bus, s.executor, watcher.Options{Dir: s.dir, Masks: masks, MaxPoll: glance}, env.Log.Named("watcher")), nil
	})
	return s, nil
}

// close takes the scene down and leaves nothing behind.
func (s *scene) close() error {
	failed := errors.Join(s.launcher.stop(), s.watcher.stop())
	if s.executor != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		failed = errors.Join(failed, mesh.RemoveJobs(ctx, s.executor))
	}
	if s.mesh != nil {
		s.mesh.Close()
	}
	if s.dir != "" {
		failed = errors.Join(failed, os.RemoveAll(s.dir))
	}
	return failed
}

// followed is the bus as the board sees it.
type followed struct {
	show  *board.Board
	total int
	stop  func()
	// failed gets the error of a tail that broke.
	failed chan error
}

// follow shows states, logs and results on the board until it is stopped.
func (s *scene) follow(ctx context.Context, show *board.Board, total int) *followed {
	ctx, cancel := context.WithCancel(ctx)
	f := &followed{show: show, total: total, failed: make(chan error, 3)}
	var tails sync.WaitGroup
	tails.Go(func() { tail(ctx, s.mesh.Bus, flow.States, show.Status, f.failed) })
	tails.Go(func() { tail(ctx, s.mesh.Bus, flow.Logs, show.Log, f.failed) })
	tails.Go(func() { tail(ctx, s.mesh.Bus, flow.Results, show.Result, f.failed) })
	tails.Go(func() { show.Redraw(ctx) })
	f.stop = func() { cancel(); tails.Wait() }
	return f
}

// tail lets see have all of a subject until ctx ends. It begins anew where the server did
// not answer in time, which the board does not mind.
func tail[T any](ctx context.Context, b *bus.Bus, subject flow.Subject[T], see func(T), failed chan<- error) {
	for try := 1; ; try++ {
		err := bus.Tail(ctx, b, subject, func(msg T) bool {
			see(msg)
			return true
		})
		if err == nil || ctx.Err() != nil {
			return
		}
		if try == tries {
			failed <- err
			return
		}
	}
}

const (
	// tries is how often a tail is begun; each waits seconds for the server.
	tries = 5
	// patience is how long nothing may be in hand before jobs without a result count as
	// given up.
	patience = 10 * time.Second
)

// wait returns when every job has its result, or when ctx ends, or with the error of
// what stopped before.
func (f *followed) wait(ctx context.Context, s *scene) error {
	look := time.NewTicker(patience)
	defer look.Stop()
	idle := false
	for {
		changed := f.show.Changed()
		if f.show.Finished() {
			return nil
		}
		select {
		case <-look.C:
			was := idle
			if idle = s.idle(ctx); idle && was {
				return errors.New("a job was given up without a result; --log-level info tells more")
			}
		case <-ctx.Done():
			return nil
		case <-changed:
			idle = false
		case err := <-f.failed:
			return err
		case <-s.launcher.ended:
			return errors.Join(errors.New("the launcher stopped"), s.launcher.failed)
		case <-s.watcher.ended:
			return errors.Join(errors.New("the watcher stopped"), s.watcher.failed)
		}
	}
}

// idle tells whether launcher and watcher have nothing in hand and nothing to come.
func (s *scene) idle(ctx context.Context) bool {
	lags, err := s.mesh.Bus.Lags(ctx)
	if err != nil {
		return false // not known
	}
	for _, l := range lags {
		if (l.Durable == "launcher" || l.Durable == "watcher") && l.Waiting+l.InHand > 0 {
			return false
		}
	}
	return true
}
