// Package rest is how executors speak to services that they reach by HTTP: what they
// make of errors, and when they ask again.
package rest

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Error is an answer other than 2xx.
type Error struct {
	// Code is the HTTP status.
	Code int
	// Message is the service's own, for people.
	Message string
	// After is how long the service wants to be left alone.
	After time.Duration
}

// Error gives the status and the message.
func (e *Error) Error() string {
	text := strconv.Itoa(e.Code) + " " + http.StatusText(e.Code)
	if e.Message == "" {
		return text
	}
	return text + ": " + e.Message
}

// Refusal reads an answer other than 2xx, of which at most that many bytes are kept.
// Its message is the text of a proxy's page; in the service's own form it is in the
// data.
func Refusal(answer *http.Response, most int64) (e *Error, data []byte) {
	e = &Error{Code: answer.StatusCode}
	data, _ = io.ReadAll(io.LimitReader(answer.Body, most)) // what is missing says nothing either
	if strings.HasPrefix(answer.Header.Get("Content-Type"), "text/plain") {
		e.Message = strings.TrimSpace(string(data))
	}
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.After = time.Duration(seconds) * time.Second
	}
	return e, data
}

// Status is the HTTP status of an error, 0 where there was no answer.
func Status(err error) int {
	if answer, ok := errors.AsType[*Error](err); ok {
		return answer.Code
	}
	return 0
}

// Missing says that the service knows no such thing.
func Missing(err error) bool { return Status(err) == http.StatusNotFound }

// Transient says that the same request may be answered better later.
func Transient(err error) bool {
	code := Status(err)
	return code == 0 || code == http.StatusRequestTimeout || code == http.StatusTooManyRequests || code >= 500 && code != http.StatusNotImplemented
}

// Tries is how often a request is made that may be repeated.
const Tries = 5

// Again makes a request again while that may help, at most Tries times in all. The
// first wait is doubled each time and never longer than most, also where the service
// asks for more.
func Again(ctx context.Context, first, most time.Duration, helps func(error) bool, do func() error) error {
	wait := first
	for try := 1; ; try++ {
		err := do()
		if err == nil || ctx.Err() != nil || !helps(err) || try == Tries {
			return err
		}
		pause := wait + rand.N(wait/2+1)
		if answer, ok := errors.AsType[*Error](err); ok {
			pause = max(pause, answer.After)
		}
		if !Sleep(ctx, min(pause, most)) {
			return err
		}
		wait *= 2
	}
}

// Sleep waits, and tells whether the time was waited for whole.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// Bare takes the address out of an error: it may carry a signature.
func Bare(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}
