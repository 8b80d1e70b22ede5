package ghapp

import (
	"context"
	"io"
	"net/http"
	"time"
)

// bounded ends a request, its answer's body included, when it lasts too long. It
// stands in for http.Client.Timeout, which keeps a goroutine for every refusal,
// because go-github reads the body of a refusal and does not close it.
type bounded struct {
	next http.RoundTripper
	most time.Duration
}

// RoundTrip sends the request with a deadline.
func (b bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(req.Context(), b.most)
	resp, err := b.next.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	resp.Body = &boundedBody{resp.Body, cancel}
	return resp, nil
}

// boundedBody gives the deadline up at its end.
type boundedBody struct {
	io.ReadCloser
	done context.CancelFunc
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		b.done()
	}
	return n, err
}

func (b *boundedBody) Close() error {
	defer b.done()
	return b.ReadCloser.Close()
}
