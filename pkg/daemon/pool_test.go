package daemon_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/litci/litci/pkg/config"
	"github.com/litci/litci/pkg/daemon"
)

// served is the environment of a process that serves two pools beside the unnamed one.
func served(t *testing.T) *daemon.Env {
	e := env(t)
	e.Config = &config.Config{Slots: 1, Pools: []*config.Config{{Pool: "a", Slots: 2}, {Pool: "b", Slots: 3}}}
	return e
}

func TestEachPoolHasSettingsOfItsOwn(t *testing.T) {
	slots := map[string]int{}
	_, err := daemon.EachPool(served(t), func(e *daemon.Env) (daemon.Runner, error) {
		slots[e.Config.Pool] = e.Config.Slots
		return runner(waits), nil
	})
	if err != nil || len(slots) != 3 || slots[""] != 1 || slots["a"] != 2 || slots["b"] != 3 {
		t.Errorf("wired %v, %v", slots, err)
	}
	_, err = daemon.EachPool(served(t), func(e *daemon.Env) (daemon.Runner, error) {
		if e.Config.Pool == "b" {
			return nil, errors.New("no cluster")
		}
		return runner(waits), nil
	})
	if err == nil || !strings.Contains(err.Error(), "pool b: no cluster") {
		t.Errorf("%v", err)
	}
}

// readyPool is ready unless it is pool a.
type readyPool struct {
	runner
	pool string
}

func (r readyPool) Ready() error {
	if r.pool == "a" {
		return errors.New("the key is wrong")
	}
	return nil
}

func TestPoolsRunAndStopTogether(t *testing.T) {
	broken := errors.New("broken")
	began := make(chan string, 3)
	r, err := daemon.EachPool(served(t), func(e *daemon.Env) (daemon.Runner, error) {
		return readyPool{pool: e.Config.Pool, runner: func(ctx context.Context) error {
			began <- e.Config.Pool
			if e.Config.Pool == "b" {
				return broken
			}
			return waits(ctx)
		}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.(interface{ Ready() error }).Ready(); err == nil || err.Error() != "pool a: the key is wrong" {
		t.Errorf("readiness is %v", err)
	}
	if err := r.Run(t.Context()); !errors.Is(err, broken) || !strings.Contains(err.Error(), "pool b") {
		t.Errorf("%v", err)
	}
	if len(began) != 3 {
		t.Errorf("%d of 3 ran", len(began))
	}
}

func TestOnePoolIsTheServiceItself(t *testing.T) {
	e := env(t)
	e.Config = &config.Config{Pool: "a", Pools: []*config.Config{{Pool: "a"}, {Pool: "b"}}}
	r, err := daemon.EachPool(e, wire(waits))
	if _, itself := r.(runner); !itself || err != nil {
		t.Errorf("%T, %v", r, err)
	}
}
