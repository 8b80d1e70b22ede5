package reporter

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/litci/litci/pkg/ghapp"
)

// purse is a budget with room for some creations at a time, and none for progress
// while it is short.
type purse struct {
	mu        sync.Mutex
	creations int
	short     bool
	until     time.Time
}

func (p *purse) reserve(_ int64, cost ghapp.Cost, urgent bool) (*ghapp.Reservation, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !time.Now().Before(p.until) {
		p.creations, p.short = 1000, false
	}
	if cost.Creations > p.creations || p.short && !urgent {
		return nil, &ghapp.LimitError{Until: p.until, Message: "test"}
	}
	p.creations -= cost.Creations
	return nil, nil
}

// flown notes which errands took off, in order.
type flown struct {
	mu    sync.Mutex
	names []string
}

func (f *flown) errand(name string, cost ghapp.Cost) errand {
	return errand{
		key:   name,
		price: func(context.Context) (ghapp.Cost, error) { return cost, nil },
		fly: func(context.Context) error {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.names = append(f.names, name)
			return nil
		},
	}
}

func (f *flown) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Sprint(f.names)
}

var creation, update = ghapp.Cost{Creations: 1}, ghapp.Cost{Writes: 1}

func TestDeskSpendsTheBudgetOnVerdictsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, log := newDesk(1), &flown{}
		d.reserve = (&purse{short: true, until: time.Now().Add(30 * time.Second)}).reserve
		var wait sync.WaitGroup
		ask := func(e errand) {
			wait.Go(func() {
				if err := d.do(t.Context(), e); err != nil {
					t.Errorf("%s: %v", e.key, err)
				}
			})
			synctest.Wait()
		}
		sum := log.errand("sum", update)
		sum.sum = true
		verdict := log.errand("verdict, created", creation)
		verdict.verdict = true
		passes := log.errand("verdict, updated", update)
		passes.verdict = true
		ask(log.errand("progress", creation))
		ask(sum)
		ask(verdict)
		ask(passes)
		if got := log.String(); got != "[verdict, updated]" {
			t.Errorf("while the budget is short: %s", got)
		}
		time.Sleep(30 * time.Second) // of the bubble's clock
		wait.Wait()
		d.close()
		if got := log.String(); got != "[verdict, updated verdict, created sum progress]" {
			t.Errorf("%s", got)
		}
	})
}

// A job whose progress finds no room in the budget is created with its verdict: one
// call for both, and whoever asked for either knows.
func TestDeskTakesProgressAlongWithTheVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, log := newDesk(4), &flown{}
		d.reserve = (&purse{creations: 1, short: true, until: time.Now().Add(50 * time.Second)}).reserve
		begin := time.Now()
		e := log.errand("check", creation)
		var wait sync.WaitGroup
		for range 3 {
			wait.Go(func() {
				if err := d.do(t.Context(), e); err != nil || time.Since(begin) != 10*time.Second {
					t.Errorf("%v after %s", err, time.Since(begin))
				}
			})
		}
		time.Sleep(10 * time.Second) // of the bubble's clock
		verdict := e
		verdict.verdict = true
		if err := d.do(t.Context(), verdict); err != nil {
			t.Error(err)
		}
		wait.Wait()
		d.close()
		if got := log.String(); got != "[check]" {
			t.Errorf("%s", got)
		}
	})
}

func TestDeskSendsLongWaitsBack(t *testing.T) {
	const never = -1
	for _, test := range []struct {
		name    string
		verdict bool
		until   time.Duration
		renewed int           // how often the budget is found used up again
		back    time.Duration // never: it took off
	}{
		{"a verdict waits for the next minute", true, 50 * time.Second, 0, never},
		{"and for the one after", true, 50 * time.Second, 3, never},
		{"but not for the next hour", true, time.Hour, 0, 0},
		{"progress waits for the next minute", false, 50 * time.Second, 0, never},
		{"but not for the one after", false, 50 * time.Second, 3, 50 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, log := newDesk(4), &flown{}
				begin, asked := time.Now(), test.renewed
				until := begin.Add(test.until)
				d.reserve = func(int64, ghapp.Cost, bool) (*ghapp.Reservation, error) {
					if !time.Now().Before(until) {
						if asked == 0 {
							return nil, nil
						}
						asked--
						until = time.Now().Add(test.until)
					}
					return nil, &ghapp.LimitError{Until: until}
				}
				e := log.errand("it", creation)
				e.verdict = test.verdict
				err := d.do(t.Context(), e)
				took := time.Since(begin)
				var limit *ghapp.LimitError
				switch {
				case test.back == never && (err != nil || took != test.until*time.Duration(test.renewed+1)):
					t.Errorf("%v after %s", err, took)
				case test.back != never && (!errors.As(err, &limit) || took != test.back || log.String() != "[]"):
					t.Errorf("%v after %s, flown %s", err, took, log)
				}
				d.close()
			})
		})
	}
}

func TestDeskBoundsWhatWaitsForABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, log := newDesk(4), &flown{}
		d.reserve = (&purse{until: time.Now().Add(50 * time.Second)}).reserve
		var mu sync.Mutex
		var back []time.Duration
		begin := time.Now()
		var wait sync.WaitGroup
		for i := range keptWaiting + 10 {
			wait.Go(func() {
				e := log.errand(fmt.Sprint(i), creation)
				e.verdict = true
				if err := d.do(t.Context(), e); err != nil {
					mu.Lock()
					defer mu.Unlock()
					back = append(back, time.Since(begin))
				}
			})
		}
		wait.Wait()
		d.close()
		if len(back) != 10 || slices.Max(back) != 0 || len(log.names) != keptWaiting {
			t.Errorf("%v went back, %d flew", back, len(log.names))
		}
	})
}

func TestDeskGivesWhatWaitsBackWhenTheServiceStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, log := newDesk(4), &flown{}
		d.reserve = (&purse{until: time.Now().Add(50 * time.Second)}).reserve
		begin := time.Now()
		time.AfterFunc(time.Second, d.rush)
		e := log.errand("it", creation)
		e.verdict = true
		var limit *ghapp.LimitError
		if err := d.do(t.Context(), e); !errors.As(err, &limit) || time.Since(begin) != time.Second {
			t.Errorf("%v after %s", err, time.Since(begin))
		}
		d.close()
	})
}

func TestDeskAsksNobodyForWhatCannotBePriced(t *testing.T) {
	d, log := newDesk(1), &flown{}
	e := log.errand("it", creation)
	e.price = func(context.Context) (ghapp.Cost, error) { panic("boom") }
	if err := d.do(t.Context(), e); err == nil || log.String() != "[]" {
		t.Errorf("%v, flown %s", err, log)
	}
	d.close()
}
