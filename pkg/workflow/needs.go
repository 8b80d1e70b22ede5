package workflow

import (
	"fmt"
	"slices"
	"strings"

	"github.com/litci/litci/pkg/flow"
)

// needs reads the workflows that must succeed first.
func (r *reader) needs(n *node, w *Workflow) {
	if n.kind == listKind && len(n.items) == 0 {
		return
	}
	for _, item := range r.list(n, "needs") {
		need, ok := r.str(item, "needs")
		if !ok {
			continue
		}
		if slices.Contains(w.Options.Needs, need) {
			r.warnf(item.at, "%q names %s twice", "needs", quote(need))
			continue
		}
		w.Options.Needs = append(w.Options.Needs, need)
		w.needLines = append(w.needLines, item.at)
	}
}

// checkNeeds drops the workflows that need what is not there, or each other.
// names are all workflows of the commit, broken ones too.
func (s *Set) checkNeeds(names map[string]bool) {
	known := make([]string, 0, len(names))
	for name := range names {
		known = append(known, name)
	}
	slices.Sort(known)
	graph := make(map[string][]string)
	for _, w := range s.Workflows {
		graph[w.ID()] = w.Options.Needs
	}
	s.Workflows = slices.DeleteFunc(s.Workflows, func(w Workflow) bool {
		bad := false
		for i, need := range w.Options.Needs {
			message := ""
			if !names[need] {
				message = fmt.Sprintf("\"needs\" names %s, which is no workflow of this commit", quote(need))
				if hint := nearest(need, known); hint != "" {
					message += Suggestion(need, known)
				} else if hint := nearestFile(need, known); hint != "" {
					message += "; did you mean \"" + hint + "\"?"
				}
			} else if chain := cycle(graph, w.ID(), need); chain != nil {
				message = "\"needs\" goes round in a circle: " + strings.Join(chain, " needs ")
			}
			if message != "" {
				bad = true
				at := w.needLines[i]
				s.Problems = append(s.Problems, flow.Problem{File: w.Path, Line: at.line, Column: at.column, Severity: severityError, Message: message})
			}
		}
		return bad
	})
}

// nearestFile is the file that a name without its extension means.
func nearestFile(need string, known []string) string {
	for _, k := range known {
		if k == need+".yml" || k == need+".yaml" {
			return k
		}
	}
	return ""
}

// cycle is the way from a workflow over one of its needs back to itself, or nil.
func cycle(graph map[string][]string, from, need string) []string {
	seen := make(map[string]bool)
	var walk func(at string, chain []string) []string
	walk = func(at string, chain []string) []string {
		chain = append(chain, at)
		if at == from {
			return chain
		}
		if seen[at] {
			return nil
		}
		seen[at] = true
		for _, next := range graph[at] {
			if found := walk(next, slices.Clone(chain)); found != nil {
				return found
			}
		}
		return nil
	}
	return walk(need, []string{from})
}
