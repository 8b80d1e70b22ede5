package reporter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/litci/litci/pkg/bus"
	"github.com/litci/litci/pkg/sourcelink"
)

// settleLink bounds the write that ends a fetch, which the fetch's own end must not
// interrupt.
const settleLink = 5 * time.Second

// source serves the archive behind a link once. All that is wrong with a link is
// answered alike. The link's secret is in the path: nothing here logs it.
func (p *Pages) source(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Robots-Tag", "noindex, nofollow")
	err := sourcelink.ErrNone
	if r.Method == http.MethodGet { // a HEAD fetches nothing
		err = p.fetch(w, r)
	}
	switch {
	case err == nil || r.Context().Err() != nil:
	case errors.Is(err, sourcelink.ErrNone):
		http.Error(w, "There is nothing here.", http.StatusNotFound)
	default:
		p.log.Warn("source", zap.Error(err))
		http.Error(w, "Try again in a moment.", http.StatusServiceUnavailable)
	}
}

// fetch sends the archive. It returns an error only before it has sent anything.
func (p *Pages) fetch(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	link, err := sourcelink.Take(ctx, p.bus, r.PathValue("secret"))
	if err != nil {
		return err
	}
	log := p.log.With(zap.String("attempt", link.Attempt()), zap.String("object", link.Object()))
	archive, size, err := p.bus.Sources().GetSized(ctx, link.Object())
	if err != nil {
		p.settle(ctx, log, link.Back)
		if errors.Is(err, bus.ErrNotFound) {
			log.Warn("source is not there any more")
			return sourcelink.ErrNone
		}
		return err
	}
	defer archive.Close()
	w.Header().Set("Content-Type", "application/gzip")
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	sent, err := send(ctx, w, archive, link)
	if err == nil && sent == size {
		p.settle(ctx, log, link.Used)
		log.Info("source fetched", zap.Int64("bytes", size))
		return nil
	}
	// The server closes the connection, since fewer bytes were sent than announced.
	log.Warn("source was not sent whole", zap.Int64("bytes", sent), zap.Int64("of", size), zap.Error(err))
	if !errors.Is(err, sourcelink.ErrLost) {
		p.settle(ctx, log, link.Back)
	}
	return nil
}

// send copies the archive and keeps the link meanwhile.
func send(ctx context.Context, w http.ResponseWriter, archive io.Reader, link *sourcelink.Fetch) (sent int64, err error) {
	control := http.NewResponseController(w)
	renewed := time.Now()
	buffer := make([]byte, 64<<10)
	for {
		n, failed := archive.Read(buffer)
		if n > 0 {
			// A write that stalls for longer than a hold would outlast it.
			_ = control.SetWriteDeadline(time.Now().Add(sourcelink.Hold / 2))
			n, err = w.Write(buffer[:n])
			sent += int64(n)
			if err != nil {
				return sent, err
			}
		}
		if errors.Is(failed, io.EOF) {
			return sent, control.Flush()
		}
		if failed != nil {
			return sent, fmt.Errorf("archive: %w", failed)
		}
		if time.Since(renewed) > sourcelink.Hold/4 {
			if err := link.Renew(ctx); err != nil {
				return sent, err
			}
			renewed = time.Now()
		}
	}
}

// settle writes what became of a link, whatever became of the request.
func (p *Pages) settle(ctx context.Context, log *zap.Logger, write func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleLink)
	defer cancel()
	if err := write(ctx); err != nil {
		log.Warn("source link is not settled, its hold ends by itself", zap.Error(err))
	}
}
