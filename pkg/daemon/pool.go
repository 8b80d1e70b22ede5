package daemon

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// EachPool wires a service once for every pool that the settings have this process
// serve: each gets the settings of its pool as its own.
func EachPool(env *Env, wire Wire) (Runner, error) {
	served := env.Config.Served()
	all := make(pools, len(served))
	for i, c := range served {
		own := *env
		own.Config = c
		if c.Pool != "" {
			own.Log = env.Log.With(zap.String("pool", c.Pool))
		}
		r, err := wire(&own)
		if err != nil && c.Pool != "" {
			err = fmt.Errorf("pool %s: %w", c.Pool, err)
		}
		if err != nil {
			return nil, err
		}
		all[i] = pool{c.Pool, r}
	}
	if len(all) == 1 {
		return all[0].Runner, nil
	}
	return all, nil
}

// pool is a service of one pool.
type pool struct {
	name string
	Runner
}

// pools are a service of several, which run and stop together.
type pools []pool

// Run runs all until ctx ends or one of them stops.
func (p pools) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, one := range p {
		group.Go(func() error {
			err := one.Run(ctx)
			if err == nil && ctx.Err() == nil {
				err = errors.New("stopped by itself")
			}
			return one.named(err)
		})
	}
	return group.Wait()
}

// Ready returns why pools are not.
func (p pools) Ready() error {
	var faults error
	for _, one := range p {
		if r, ok := one.Runner.(readier); ok {
			faults = errors.Join(faults, one.named(r.Ready()))
		}
	}
	return faults
}

func (p pool) named(err error) error {
	switch {
	case err == nil:
		return nil
	case p.name == "":
		return fmt.Errorf("the unnamed pool: %w", err)
	}
	return fmt.Errorf("pool %s: %w", p.name, err)
}
