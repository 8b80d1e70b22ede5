package rest

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAgain(t *testing.T) {
	t.Parallel()
	busy, refused := &Error{Code: 503, After: 10 * time.Second}, &Error{Code: 422}
	for name, test := range map[string]struct {
		answers []error
		asked   int
		waited  time.Duration // at least
	}{
		"taken at once":    {[]error{nil}, 1, 0},
		"better later":     {[]error{busy, busy, nil}, 3, 16 * time.Second},
		"never any better": {[]error{busy, busy, busy, busy, busy, busy}, Tries, 32 * time.Second},
		"no use":           {[]error{refused, nil}, 1, 0},
		"nobody answers":   {[]error{errors.New("reset"), nil}, 2, time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			began, asked := time.Now(), 0
			err := Again(t.Context(), time.Second, 8*time.Second, Transient, func() error {
				asked++
				return test.answers[asked-1]
			})
			if asked != test.asked || time.Since(began) < test.waited || !errors.Is(err, test.answers[asked-1]) {
				t.Errorf("%s: asked %d times in %s, %v", name, asked, time.Since(began), err)
			}
		})
	}
}

func TestAgainEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		began := time.Now()
		err := Again(ctx, time.Minute, time.Hour, Transient, func() error { return &Error{Code: 500} })
		if Status(err) != 500 || time.Since(began) != 3*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

func TestRefusal(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Retry-After", "7")
	w.WriteHeader(http.StatusTooManyRequests)
	w.WriteString(" slow down, please \n")
	e, data := Refusal(w.Result(), 10)
	if e.Error() != "429 Too Many Requests: slow down" || e.After != 7*time.Second || len(data) != 10 || !Transient(e) || Missing(e) {
		t.Errorf("%v, %s, %q", e, e.After, data)
	}
}

func TestBareHasNoAddress(t *testing.T) {
	t.Parallel()
	_, err := http.Get("http://127.0.0.1:1/?signature=canary")
	if err == nil || strings.Contains(Bare(err).Error(), "canary") {
		t.Errorf("%v", err)
	}
}
