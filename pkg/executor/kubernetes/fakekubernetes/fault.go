package fakekubernetes

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// Fault is what goes wrong with requests. The zero value closes the connection before
// anything was done.
type Fault struct {
	// Method and Path choose the requests; a path by a part of it, empty means all.
	Method, Path string
	// Times is how many requests it meets; zero means one.
	Times int
	// Status is answered instead; Lost does what was asked for and says nothing; Hang
	// never answers.
	Status     int
	Lost, Hang bool
	// Expire answers, and makes the next pages of all lists too old.
	Expire bool
	// Echo repeats the request in the error, as careless servers do.
	Echo bool
}

// Fail makes requests fail.
func (s *Server) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.Times = max(1, f.Times)
	s.faults = append(s.faults, &f)
}

// Heal ends what is left of all faults.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// fault is the next one for a request. The lock is held.
func (s *Server) fault(r *http.Request) *Fault {
	for _, f := range s.faults {
		if f.Times > 0 && (f.Method == "" || f.Method == r.Method) && strings.Contains(r.URL.Path, f.Path) {
			f.Times--
			return f
		}
	}
	return nil
}

func (f *Fault) message(r *http.Request, body string) string {
	if f.Echo {
		return "refused " + r.Header.Get("Authorization") + " " + body
	}
	return "injected"
}

// Release lets a scenario that waits go on, for a job.
func (s *Server) Release(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.released[id] = true
	s.touch()
}

// scenario is what befalls a pod, by the name of its image.
func scenario(image string) string {
	name, _ := strings.CutPrefix(image, "fake:")
	return name
}

// Write makes a file in a job's folder, for scripts that wait for one.
func (s *Server) Write(id, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pods {
		if p.job.job.Metadata.Name == id {
			return os.WriteFile(filepath.Join(p.dir, "job", name), nil, 0o644)
		}
	}
	return os.ErrNotExist
}
