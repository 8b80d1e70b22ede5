package launcher

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/executor"
)

// slowList is a machine whose lists take their time.
type slowList struct {
	*machine
	takes time.Duration
	fails error

	mu                sync.Mutex
	calls, now, peaks int
}

func (s *slowList) List(ctx context.Context) ([]executor.Handle, error) {
	s.mu.Lock()
	s.calls++
	s.now++
	s.peaks = max(s.peaks, s.now)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.now--
		s.mu.Unlock()
	}()
	select {
	case <-time.After(s.takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.fails != nil {
		return nil, s.fails
	}
	return s.machine.List(ctx)
}

func slotsOf(e executor.Executor) *slots {
	return newSlots(e, newQueue(bounds{slots: 1}), func(context.Context, string) {}, Options{}.withDefaults(), zap.NewNop())
}

// TestMessagesThatComeAgainShareAList has as many as come when a launcher starts
// again, on an executor whose lists take longer than a list is fresh.
func TestMessagesThatComeAgainShareAList(t *testing.T) {
	away := errors.New("away")
	for name, fails := range map[string]error{"that works": nil, "that fails": away} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := &slowList{machine: newMachine(), takes: 3 * fresh, fails: fails}
				s := slotsOf(e)
				var all sync.WaitGroup
				wave := func(id string) {
					if _, err := e.Start(t.Context(), executor.Spec{ID: id}); err != nil {
						t.Fatal(err)
					}
					for i := range 2000 {
						all.Go(func() {
							looked := id
							if i%2 == 1 {
								looked = fmt.Sprint("unknown-", i)
							}
							known, err := s.find(t.Context(), looked)
							if !errors.Is(err, fails) || fails == nil && known != (looked == id) {
								t.Errorf("%s: %t, %v", looked, known, err)
							}
						})
					}
				}
				wave("first")
				time.Sleep(2 * fresh)
				wave("second") // the list that is under way may have been too early for it
				all.Wait()
				if e.calls != 2 || e.peaks != 1 {
					t.Errorf("%d lists, %d at once", e.calls, e.peaks)
				}
			})
		})
	}
}

// TestWhoStopsSpoilsNoList has the one whose list it is leave.
func TestWhoStopsSpoilsNoList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &slowList{machine: newMachine(), takes: fresh}
		s := slotsOf(e)
		if _, err := e.Start(t.Context(), executor.Spec{ID: "job"}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := s.find(ctx, "job"); !errors.Is(err, context.Canceled) {
				t.Errorf("who stops got %v", err)
			}
		})
		synctest.Wait()
		all.Go(func() {
			if known, err := s.find(t.Context(), "job"); err != nil || !known {
				t.Errorf("who stays got %t, %v", known, err)
			}
		})
		synctest.Wait()
		cancel()
		all.Wait()
	})
}
