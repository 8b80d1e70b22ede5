package fakekubernetes

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// nodeLog is a container's log file: what was before the last rotation is not served.
type nodeLog struct {
	lines []logLine
	size  int
	// spoken says that the script itself has printed something.
	spoken bool
}

// logLine is one entry, with its newline unless it is a part of a longer line.
type logLine struct {
	at   time.Time
	text []byte
}

// maxEntry is how much of a line a container runtime writes at once, in bytes.
const maxEntry = 16 << 10

// linePrefix is what the runtime writes before each entry: time, stream and tag.
const linePrefix = 40

// follow takes what a container prints, as a container runtime does.
func (p *podState) follow(from io.Reader) {
	s := p.server
	lines := bufio.NewReaderSize(from, maxEntry)
	for {
		text, err := lines.ReadSlice('\n')
		if len(text) > 0 {
			s.mu.Lock()
			l := &p.log
			if l.size+len(text)+linePrefix > s.options.LogFile {
				l.lines, l.size = nil, 0
			}
			l.lines = append(l.lines, logLine{time.Now().UTC(), bytes.Clone(text)})
			l.size += len(text) + linePrefix
			if !l.spoken && !bytes.HasPrefix(text, []byte("##litci-")) {
				l.spoken = true
				p.printed()
			}
			s.mu.Unlock()
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// serveLog answers with a log.
func (s *Server) serveLog(w http.ResponseWriter, c call) {
	data, err := s.readLog(c)
	if err != nil {
		writeError(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = w.Write(data) // who does not listen misses nothing else
}

func (s *Server) readLog(c call) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pods[c.name]
	if p == nil {
		return nil, notFound("pods", c.name)
	}
	query := c.request.URL.Query()
	main := p.pod.Spec.Containers[0].Name
	if query.Get("container") != main {
		return nil, fail(http.StatusBadRequest, "BadRequest", "container %s is not valid for pod %s", query.Get("container"), c.name)
	}
	var state containerState
	if len(p.pod.Status.Containers) > 0 {
		state = p.pod.Status.Containers[0].State
	}
	if state.Running == nil && state.Terminated == nil || p.dir == "" {
		return nil, fail(http.StatusBadRequest, "BadRequest", "container %q in pod %q is waiting to start: PodInitializing", main, c.name)
	}
	var since time.Time
	for name, values := range query {
		switch name {
		case "container":
		case "sinceTime":
			at, err := time.Parse(time.RFC3339, values[0])
			if err != nil {
				return nil, fail(http.StatusBadRequest, "BadRequest", "invalid sinceTime: %v", err)
			}
			since = at.Truncate(time.Second) // the node is asked for whole seconds
		case "limitBytes":
			if _, err := strconv.Atoi(values[0]); err != nil {
				return nil, fail(http.StatusBadRequest, "BadRequest", "invalid limitBytes")
			}
		default:
			return nil, fail(http.StatusBadRequest, "BadRequest", "the double knows no %s", name)
		}
	}
	var b bytes.Buffer
	for _, line := range p.log.lines {
		if !line.at.Before(since) {
			b.Write(line.text)
		}
	}
	return b.Bytes(), nil
}
