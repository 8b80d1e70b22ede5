package console

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/verdict"
)

// await tells fn the records of the jobs of some runs, as they stand and as they
// change, until fn says that it has seen enough or ctx ends; then it returns ctx's
// error.
func await(ctx context.Context, b *bus.Bus, runs []string, fn func(run string, index int, r verdict.Record) (enough bool)) error {
	var patterns []string
	for _, run := range runs {
		patterns = append(patterns, verdict.Keys(run))
	}
	following, stop := context.WithCancel(ctx)
	defer stop()
	enough := false
	var wait sync.WaitGroup
	wait.Go(func() {
		b.Runs().Follow(following, bus.Following{Patterns: patterns}, func(e bus.Entry) {
			var r verdict.Record
			run, index, ok := parseKey(e.Key)
			if enough || e.Current || e.Gone || !ok || json.Unmarshal(e.Value, &r) != nil {
				return
			}
			if fn(run, index, r) {
				enough = true
				stop()
			}
		})
	})
	wait.Wait()
	if enough {
		return nil
	}
	return ctx.Err()
}
