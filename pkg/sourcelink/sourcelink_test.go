package sourcelink

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/bus/bustest"
)

func made(t *testing.T, b *bus.Bus, life time.Duration) string {
	t.Helper()
	secret, err := Make(t.Context(), b, "7/sha", "run-0-a1", life)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

func take(t *testing.T, b *bus.Bus, secret string) *Fetch {
	t.Helper()
	f, err := Take(t.Context(), b, secret)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func none(t *testing.T, b *bus.Bus, secret string) {
	t.Helper()
	if f, err := Take(t.Context(), b, secret); !errors.Is(err, ErrNone) {
		t.Errorf("taken: %v, %v", f, err)
	}
}

func TestALinkIsGoodOnce(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	secret := made(t, b, time.Hour)
	f := take(t, b, secret)
	if f.Object() != "7/sha" || f.Attempt() != "run-0-a1" {
		t.Errorf("link is %+v", f.link)
	}
	if err := f.Back(t.Context()); err != nil {
		t.Fatal(err)
	}
	f = take(t, b, secret)
	if err := f.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := f.Used(t.Context()); err != nil {
		t.Fatal(err)
	}
	none(t, b, secret)
	if err := f.Back(t.Context()); !errors.Is(err, ErrLost) {
		t.Errorf("a used link came back: %v", err)
	}
	none(t, b, secret)
}

func TestWhatIsNoLink(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	secret := made(t, b, time.Hour)
	for _, guess := range []string{"", "x", secret[1:], secret + "A", strings.ToLower(secret), key(secret), "*", ">"} {
		none(t, b, guess)
	}
	none(t, b, made(t, b, -time.Second))
	take(t, b, secret)
}

// The bus knows no secret.
func TestTheBusHasNoSecret(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	secret := made(t, b, time.Hour)
	keys, err := b.Runs().List(t.Context(), ">")
	if err != nil || len(keys) != 1 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	for key, value := range keys {
		if strings.Contains(key+string(value), secret) {
			t.Errorf("%s: %s", key, value)
		}
	}
}

// Twenty requests at a time: one gets the link, the others learn that it is used.
func TestOneOfManyWins(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	secret := made(t, b, time.Hour)
	var all sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 20 {
		all.Go(func() {
			f, err := Take(t.Context(), b, secret)
			if errors.Is(err, ErrNone) {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			won++
			mu.Unlock()
			if err := f.Used(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if won != 1 {
		t.Errorf("%d requests won", won)
	}
}

// A request whose reporter died holds the link for a while only, and is not believed
// any more when it comes back.
func TestTheHoldOfTheDeadEnds(t *testing.T) {
	t.Parallel()
	b := bustest.New(t)
	secret := made(t, b, time.Hour)
	dead := take(t, b, secret)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Take(ctx, b, secret); !errors.Is(err, context.Canceled) {
		t.Errorf("a held link was not waited for: %v", err)
	}
	dead.link.Held = time.Now().Add(-time.Second)
	if err := dead.write(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := take(t, b, secret)
	for what, err := range map[string]error{"renewed": dead.Renew(t.Context()), "used": dead.Used(t.Context()), "back": dead.Back(t.Context())} {
		if !errors.Is(err, ErrLost) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := next.Used(t.Context()); err != nil {
		t.Error(err)
	}
}
