package fakelightning

import (
	"crypto/rand"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// line is a line of a log.
type line struct {
	text string
	at   time.Time
}

// entry is a line as the service writes it.
type entry struct {
	Line       string `json:"line"`
	Message    string `json:"message"`
	Timestamp  string `json:"timestamp"`
	Severity   string `json:"severity"`
	ResourceID string `json:"resourceId"`
}

func (s *Server) pageLogs(r call) (any, error) {
	query := r.URL.Query()
	ids := query["jobIds"]
	if len(ids) != 1 {
		return nil, fail(http.StatusBadRequest, "a selector is required")
	}
	j, err := s.find(ids[0])
	if err != nil {
		return nil, err
	}
	size := s.options.PageLines
	if n, err := strconv.Atoi(query.Get("pageSize")); err == nil && n > 0 {
		size = min(size, n)
	}
	var since time.Time
	if text := query.Get("since"); text != "" {
		if since, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return nil, fail(http.StatusBadRequest, "since is malformed")
		}
	}
	begin := 0
	if token := query.Get("pageToken"); token != "" {
		if begin, err = strconv.Atoi(strings.TrimPrefix(token, "line-")); err != nil || begin > len(j.lines) {
			return nil, fail(http.StatusBadRequest, "pageToken is unknown")
		}
	}
	entries, next := []entry{}, ""
	if !s.options.NoLines {
		for i := begin; i < len(j.lines); i++ {
			if j.lines[i].at.Before(since) {
				continue
			}
			if len(entries) == size {
				next = "line-" + strconv.Itoa(i)
				break
			}
			entries = append(entries, entry{strconv.Itoa(i), j.lines[i].text, j.lines[i].at.Format(time.RFC3339Nano), "info", j.id})
		}
	}
	answer := map[string]any{"entries": entries, "nextPageToken": next}
	if !terminal(j.state) {
		answer["followUrl"] = "wss://" + r.Host + "/v1/projects/" + projectID + "/jobs/" + j.id + "/logs?follow=true"
	}
	return answer, nil
}

// download gives the address of the saved log, once it is there.
func (s *Server) download(r call, id string) (any, error) {
	j, err := s.find(id)
	if err != nil {
		return nil, err
	}
	if !terminal(j.state) || len(j.lines) == 0 || j.unsaved > 0 {
		j.unsaved--
		return nil, fail(http.StatusNotFound, "no log file")
	}
	token := rand.Text()
	s.saved[token] = j.id
	return map[string]any{"url": "http://" + r.Host + "/_presigned/" + token}, nil
}

// presigned serves a saved log to whoever has its address, once, and to nobody who
// shows credentials around.
func (s *Server) presigned(r call, token string) (int, []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Header.Get("Authorization") != "" {
		s.violations = append(s.violations, "credentials were sent to a signed address")
		return http.StatusBadRequest, nil
	}
	id, ok := s.saved[token]
	delete(s.saved, token)
	if !ok {
		return http.StatusForbidden, nil
	}
	j, err := s.find(id)
	if err != nil {
		return http.StatusNotFound, nil
	}
	var b strings.Builder
	for _, l := range j.lines {
		b.WriteString("[" + l.at.Format("2006-01-02T15:04:05.000000000Z") + "] " + l.text + "\n")
	}
	return http.StatusOK, []byte(b.String())
}
