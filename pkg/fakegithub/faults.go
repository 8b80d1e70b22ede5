package fakegithub

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/litci/litci/pkg/fakegithub/internal/route"
)

// Fault makes the server answer requests otherwise than it would.
type Fault struct {
	Method string `json:"method,omitempty"` // empty: any
	// Path is a template such as /repos/{owner}/{repo}/check-runs, or the path
	// of one request, without /api/v3; empty: any.
	Path    string            `json:"path,omitempty"`
	Status  int               `json:"status,omitempty"` // 0 with Drop unset: only the delay
	Headers map[string]string `json:"headers,omitempty"`
	Body    json.RawMessage   `json:"body,omitempty"` // default: GitHub's shape of an error
	DelayMS int               `json:"delay_ms,omitempty"`
	// AfterEffect does what was asked for first, and then answers so: as when
	// an answer is lost.
	AfterEffect bool `json:"after_effect,omitempty"`
	Drop        bool `json:"drop,omitempty"`  // close the connection without an answer
	Count       int  `json:"count,omitempty"` // how many requests; 0: one, negative: all
}

// AddFaults sets faults beside those that stand. A request meets the first
// that fits it.
func (s *Server) AddFaults(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range faults {
		if f.Count == 0 {
			f.Count = 1
		}
		s.faults = append(s.faults, &f)
	}
}

// ClearFaults takes all faults away.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// takeFault uses up one count of the first fault that fits the request.
func (s *Server) takeFault(method, path string, rt *endpoint) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, f := range s.faults {
		if !f.fits(method, path, rt) {
			continue
		}
		taken := *f
		if f.Count > 0 {
			f.Count--
		}
		if f.Count == 0 {
			s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
		}
		return &taken
	}
	return nil
}

func (f *Fault) fits(method, path string, rt *endpoint) bool {
	if f.Method != "" && f.Method != method {
		return false
	}
	if f.Path == "" || rt != nil && rt.template.String() == f.Path {
		return true
	}
	_, matches := route.Parse(f.Path, multiSegment).Match(path)
	return matches
}

// meets waits out the delay, and answers unless the effect comes first. It
// reports whether the request goes on.
func (f *Fault) meets(s *Server, w http.ResponseWriter, r *http.Request) bool {
	if f.DelayMS > 0 {
		timer := time.NewTimer(time.Duration(f.DelayMS) * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
		case <-s.closing:
		}
	}
	if f.AfterEffect || f.Status == 0 && !f.Drop {
		return true
	}
	f.answer(w)
	return false
}

// answer sends what the fault says in place of GitHub's answer.
func (f *Fault) answer(w http.ResponseWriter) {
	if f.Drop || f.Status == 0 {
		// net/http closes the connection without a word and logs nothing.
		panic(http.ErrAbortHandler)
	}
	body := []byte(f.Body)
	if body == nil {
		rep := (&refusal{status: f.Status, message: http.StatusText(f.Status)}).reply()
		body, _, _ = rep.encode() // a map of strings always encodes
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	for name, value := range f.Headers {
		w.Header().Set(name, value)
	}
	w.WriteHeader(f.Status)
	_, _ = w.Write(body) // a caller that hung up needs no answer
}

// discard is where the real answer goes when a fault answers after the effect.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}
