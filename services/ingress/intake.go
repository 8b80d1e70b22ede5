package ingress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/semaphore"
)

// GitHub sends no payload above 25 MB. Nobody has proved anything while a body is
// read, so the memory for all bodies together has a bound: 64 MiB for ordinary
// ones, by their length, and four places for large ones or ones of unknown
// length. Large ones cannot keep ordinary ones waiting.
const (
	bodyLimit    = 25 << 20
	ordinaryBody = 1 << 20
	ordinaryRoom = 64 << 20
	largePlaces  = 4
	// roomWait is how long a delivery waits for memory before it is turned away.
	roomWait = 2 * time.Second
)

var (
	errTooLarge = errors.New("body above 25 MB")
	errNoRoom   = errors.New("too many bodies at once")
)

// intake reads bodies within a bound of memory.
type intake struct {
	ordinary *semaphore.Weighted
	large    *semaphore.Weighted
	wait     time.Duration
}

func newIntake() *intake {
	return &intake{
		ordinary: semaphore.NewWeighted(ordinaryRoom),
		large:    semaphore.NewWeighted(largePlaces),
		wait:     roomWait,
	}
}

// read returns the raw body. The caller calls done when it no longer needs the
// bytes; done is nil with an error.
func (i *intake) read(w http.ResponseWriter, r *http.Request) (body []byte, done func(), err error) {
	if r.ContentLength > bodyLimit {
		return nil, nil, errTooLarge
	}
	room, weight := i.ordinary, r.ContentLength
	if r.ContentLength < 0 || r.ContentLength > ordinaryBody {
		room, weight = i.large, 1
	}
	ctx, cancel := context.WithTimeout(r.Context(), i.wait)
	defer cancel()
	if err := room.Acquire(ctx, weight); err != nil {
		return nil, nil, errNoRoom
	}
	body, err = readBody(w, r)
	if err != nil {
		room.Release(weight)
		return nil, nil, err
	}
	return body, func() { room.Release(weight) }, nil
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength >= 0 {
		body := make([]byte, r.ContentLength)
		if _, err := io.ReadFull(r.Body, body); err != nil {
			return nil, fmt.Errorf("body of %d bytes: %w", r.ContentLength, err)
		}
		return body, nil
	}
	var body bytes.Buffer
	_, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, bodyLimit))
	var over *http.MaxBytesError
	if errors.As(err, &over) {
		return nil, errTooLarge
	}
	if err != nil {
		return nil, fmt.Errorf("body of unknown length: %w", err)
	}
	return body.Bytes(), nil
}
