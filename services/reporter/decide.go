package reporter

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/litci/litci/pkg/flow"
)

// A verdict is shown at once, progress a little later. Sending each result of a
// run of many jobs at once would use up GitHub's limits, and looking at all jobs
// at each result is quadratic.
//
// So a commit has a voucher: one job that was open at the last look at all. While
// that job is open the commit is, which costs one small read to know. When it has
// ended, somebody looks at all again, for all who ask meanwhile, and picks another
// at random: about ln n looks for n jobs, in whatever order they end.

// voucher is a job by which a commit with just these runs is known to be open.
type voucher struct {
	runs []string
	job  string // its key; empty for none
}

// vouchers are the vouchers of commits, by their keys.
type vouchers struct {
	mu sync.Mutex
	of map[string]voucher
}

// keptVouchers bounds the memory; beyond it every commit is looked at again.
const keptVouchers = 10_000

func (v *vouchers) get(commit string) voucher {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.of[commit]
}

func (v *vouchers) put(commit string, is voucher) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.of == nil || len(v.of) > keptVouchers {
		v.of = map[string]voucher{}
	}
	v.of[commit] = is
	if is.job == "" {
		delete(v.of, commit)
	}
}

// decides says that a job's verdict, which the caller has recorded, reaches the
// commit's verdict: the commit fails for the first time, or nothing of it is open
// any more. Now and then it says so of another; that costs a write and no harm.
func (r *Reporter) decides(ctx context.Context, id flow.Identity, state jobState) (bool, error) {
	if failed(state.Conclusion) && !state.Optional {
		p, err := r.turns.read(ctx, "post."+commitKey(id.Repo.ID, id.SHA))
		if err != nil || !p.Final {
			return true, err
		}
	}
	open, err := r.open(ctx, id)
	return !open, err
}

// open says that a job of the commit has no verdict yet.
func (r *Reporter) open(ctx context.Context, id flow.Identity) (bool, error) {
	key := commitKey(id.Repo.ID, id.SHA)
	refs, err := load[runRefs](ctx, r.bus.Runs(), key)
	if err != nil {
		return false, err
	}
	if v := r.vouchers.get(key); v.job != "" && slices.Equal(v.runs, refs.all()) {
		state, err := load[jobState](ctx, r.bus.Runs(), v.job)
		if err != nil || !state.concluded() {
			return true, err
		}
	}
	err = r.looks.do(ctx, errand{key: key, installation: id.Installation, fly: func(ctx context.Context) error {
		v, err := r.vouch(ctx, key)
		if err == nil {
			r.vouchers.put(key, v)
		}
		return err
	}})
	return r.vouchers.get(key).job != "", err
}

// vouch looks at all jobs of a commit for one that is open.
func (r *Reporter) vouch(ctx context.Context, commit string) (voucher, error) {
	refs, err := load[runRefs](ctx, r.bus.Runs(), commit)
	if err != nil {
		return voucher{}, err
	}
	views, err := r.views(ctx, refs.all())
	if err != nil {
		return voucher{}, err
	}
	rows := slices.DeleteFunc(sumUp(views, r.links).rows, func(row row) bool { return !row.open() })
	v := voucher{runs: refs.all()}
	if len(rows) > 0 {
		row := rows[rand.IntN(len(rows))]
		v.job = jobKey(row.run, row.index)
	}
	return v, nil
}
