package fakelightning

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Kind is what goes wrong with a request.
type Kind int

const (
	// Late answers after Delay.
	Late Kind = iota + 1
	// Hang never answers; the request has no effect.
	Hang
	// ErrorBefore is a 500 without effect, ErrorAfter one with its effect.
	ErrorBefore
	ErrorAfter
	// ResetAfter breaks the connection after the effect.
	ResetAfter
	// Busy is a 429 with Retry-After, without effect.
	Busy
	// Proxy answers 200 with a page that is not JSON, after the effect.
	Proxy
	// Truncated breaks the JSON off, after the effect.
	Truncated
	// Refused is a 403 whose message repeats the request.
	Refused
)

// Fault makes the next requests go wrong.
type Fault struct {
	Kind Kind
	// Method and Path choose the requests: those whose path ends so.
	Method, Path string
	// Times is how many requests; zero means one.
	Times int
	// Delay is how long Late waits.
	Delay time.Duration
}

// Fault switches a fault on.
func (s *Server) Fault(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.Times == 0 {
		f.Times = 1
	}
	s.faults = append(s.faults, &f)
}

// take finds the fault for a request, and uses one of its times up.
func (s *Server) take(r *http.Request) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if f.Times > 0 && f.Method == r.Method && strings.HasSuffix(r.URL.Path, f.Path) {
			f.Times--
			return f
		}
	}
	return nil
}

func (f *Fault) status() int {
	switch f.Kind {
	case ErrorBefore:
		return http.StatusInternalServerError
	case Busy:
		return http.StatusTooManyRequests
	case Refused:
		return http.StatusForbidden
	}
	return 0
}

// before answers what has no effect, and says whether it did.
func (f *Fault) before(w http.ResponseWriter, r *http.Request) bool {
	if f == nil {
		return false
	}
	switch f.Kind {
	case Late:
		select {
		case <-r.Context().Done():
		case <-time.After(f.Delay):
		}
		return false
	case Hang:
		<-r.Context().Done()
		return true
	case ErrorBefore:
		write(w, f.status(), []byte(`{"code":13,"message":"internal"}`))
		return true
	case Busy:
		w.Header().Set("Retry-After", strconv.Itoa(1))
		write(w, f.status(), []byte(`{"code":8,"message":"slow down"}`))
		return true
	case Refused:
		write(w, f.status(), []byte(`{"code":7,"message":`+strconv.Quote("not allowed for "+r.Header.Get("Authorization"))+`}`))
		return true
	}
	return false
}

// after gives the answer, or what is left of it.
func (f *Fault) after(w http.ResponseWriter, status int, answer []byte) {
	if f == nil {
		write(w, status, answer)
		return
	}
	switch f.Kind {
	case ErrorAfter:
		write(w, http.StatusInternalServerError, []byte(`{"code":13,"message":"internal"}`))
	case ResetAfter:
		panic(http.ErrAbortHandler)
	case Proxy:
		write(w, http.StatusOK, []byte("<html>Just a moment</html>"))
	case Truncated:
		write(w, status, answer[:len(answer)/2])
	default:
		write(w, status, answer)
	}
}

func write(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that is gone does not matter
}
