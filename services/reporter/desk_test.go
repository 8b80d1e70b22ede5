package reporter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestDeskSharesAFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(4)
		var flights atomic.Int32
		var known, shown atomic.Int32
		e := errand{key: "k", fly: func(context.Context) error {
			seen := known.Load() // what is known when the flight starts
			flights.Add(1)
			<-time.After(time.Second) // of the bubble's clock
			shown.Store(seen)
			return nil
		}}
		var wait sync.WaitGroup
		for range 100 {
			wait.Go(func() {
				mine := known.Add(1)
				if err := d.do(t.Context(), e); err != nil {
					t.Error(err)
				}
				if shown.Load() < mine {
					t.Errorf("returned before %d was shown", mine)
				}
			})
		}
		wait.Wait()
		d.close()
		if n := flights.Load(); n > 3 {
			t.Errorf("%d flights for a hundred errands", n)
		}
	})
}

func TestDeskHoldsProgressBackAndNotVerdicts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(4)
		e := errand{key: "k", every: 10 * time.Second, fly: func(context.Context) error { return nil }}
		begin := time.Now()
		took := func(e errand) time.Duration {
			if err := d.do(t.Context(), e); err != nil {
				t.Error(err)
			}
			return time.Since(begin)
		}
		if at := took(e); at != 0 {
			t.Errorf("the first waits until %s", at)
		}
		if at := took(e); at < 10*time.Second || at > 11*time.Second {
			t.Errorf("progress at %s", at)
		}
		begin = time.Now()
		verdict := e
		verdict.verdict = true
		if at := took(verdict); at != 0 {
			t.Errorf("a verdict waits until %s", at)
		}
		// A verdict takes waiting progress along.
		begin = time.Now()
		var wait sync.WaitGroup
		wait.Go(func() {
			if at := took(e); at != time.Second {
				t.Errorf("progress went at %s, not with the verdict", at)
			}
		})
		<-time.After(time.Second) // of the bubble's clock
		took(verdict)
		wait.Wait()
		d.close()
	})
}

func TestDeskSendsVerdictsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(1)
		var mu sync.Mutex
		var order []string
		fly := func(name string) func(context.Context) error {
			return func(context.Context) error {
				<-time.After(time.Second) // of the bubble's clock
				mu.Lock()
				defer mu.Unlock()
				order = append(order, name)
				return nil
			}
		}
		var wait sync.WaitGroup
		for _, e := range []errand{
			{key: "first", fly: fly("first")}, {key: "progress", fly: fly("progress")}, {key: "verdict", verdict: true, fly: fly("verdict")},
		} {
			wait.Go(func() {
				if err := d.do(t.Context(), e); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		wait.Wait()
		d.close()
		if fmt.Sprint(order) != "[first verdict progress]" {
			t.Errorf("%v", order)
		}
	})
}

func TestDeskKeepsInstallationsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(1)
		begin := time.Now()
		var wait sync.WaitGroup
		for i := range 5 {
			wait.Go(func() {
				err := d.do(t.Context(), errand{key: fmt.Sprint(i), installation: int64(i), fly: func(context.Context) error {
					<-time.After(time.Second) // of the bubble's clock
					return nil
				}})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		d.close()
		if took := time.Since(begin); took != time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func TestDeskEndsAFlightThatNobodyWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(1)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- d.do(ctx, errand{key: "k", fly: func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			}})
		}()
		synctest.Wait()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		// The line is free for the next.
		if err := d.do(t.Context(), errand{key: "k", fly: func(context.Context) error { return nil }}); err != nil {
			t.Error(err)
		}
		d.close()
	})
}

func TestDeskTurnsPanicsIntoErrors(t *testing.T) {
	d := newDesk(1)
	err := d.do(t.Context(), errand{key: "k", fly: func(context.Context) error { panic("boom") }})
	if err == nil {
		t.Error("a panic was taken for success")
	}
	d.close()
}

func TestDeskHoldsNothingBackWhenTheServiceStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(1)
		e := errand{key: "k", every: time.Hour, fly: func(context.Context) error { return nil }}
		if err := d.do(t.Context(), e); err != nil {
			t.Error(err)
		}
		begin := time.Now()
		time.AfterFunc(time.Second, d.rush)
		for range 2 {
			if err := d.do(t.Context(), e); err != nil || time.Since(begin) != time.Second {
				t.Errorf("%v after %s", err, time.Since(begin))
			}
		}
		d.close()
	})
}
