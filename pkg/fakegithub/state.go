package fakegithub

import (
	"maps"
)

// State is what the server holds, for people and tests to look at. Objects
// have GitHub's own field names.
type State struct {
	CheckRuns  []CheckRun `json:"check_runs"` // in the order they were created, of all repositories
	Comments   []Comment  `json:"comments"`
	Pulls      []Pull     `json:"pulls"`
	Deliveries []Delivery `json:"deliveries"` // oldest first
	// Requests counts API requests by method and path template, refused ones
	// too. Requests to no endpoint stand as "unknown METHOD PATH".
	Requests map[string]int `json:"requests"`
}

// State returns what the server holds now.
func (s *Server) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.linksHeld("")
	st := State{
		CheckRuns: []CheckRun{}, Comments: []Comment{}, Pulls: []Pull{}, Deliveries: []Delivery{},
		Requests: maps.Clone(s.requests),
	}
	for _, r := range s.sortedRepos() {
		for _, run := range r.checkRuns {
			st.CheckRuns = append(st.CheckRuns, s.checkRun(l, r, run))
		}
		for _, cm := range r.comments {
			st.Comments = append(st.Comments, s.comment(l, r, cm))
		}
		for _, p := range r.pulls {
			st.Pulls = append(st.Pulls, s.pull(l, r, p))
		}
	}
	for _, d := range s.deliveries {
		st.Deliveries = append(st.Deliveries, *d)
	}
	return st
}
