package workflow

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/litci/litci/pkg/flow"
)

const (
	severityError   = "error"
	severityWarning = "warning"
)

// maxProblems is how many problems of one severity in one file are worth reading.
const maxProblems = 50

// reader reads nodes into the language's types and collects what is wrong.
type reader struct {
	path string
	// source is the decoded text of the file.
	source string
	// searched are the texts in which expressions were looked for: the workflows of a
	// file share its defaults.
	searched map[*node]bool
	problems []flow.Problem
	// broken says that an error was found since it was last set to false.
	broken bool
}

// field is a key of a mapping: what people are told of it, the JSON Schema of its
// value, and what reads the value. One table serves the parser and the schema.
type field struct {
	name, about string
	shape       func() shape
	read        func(*node)
}

func (r *reader) errorf(at position, format string, args ...any) {
	r.broken = true
	r.add(at, severityError, fmt.Sprintf(format, args...))
}

func (r *reader) warnf(at position, format string, args ...any) {
	r.add(at, severityWarning, fmt.Sprintf(format, args...))
}

// add keeps the first problems of each severity; what comes after is counted only
// by a last one that says so.
func (r *reader) add(at position, severity, message string) {
	switch count := r.count(severity); {
	case count == maxProblems:
		r.problems = append(r.problems, flow.Problem{
			File: r.path, Severity: severity, Message: fmt.Sprintf("more than %d %ss; the rest is not shown", maxProblems, severity),
		})
	case count < maxProblems:
		r.problems = append(r.problems, flow.Problem{
			File: r.path, Line: at.line, Column: at.column, Severity: severity, Message: message,
		})
	}
}

func (r *reader) count(severity string) (n int) {
	for _, p := range r.problems {
		if p.Severity == severity {
			n++
		}
	}
	return n
}

// object reads a mapping by its fields. what names it in messages.
func (r *reader) object(n *node, what string, fields []field) {
	if n.kind != mapKind {
		r.errorf(n.at, "%s must be a mapping, not %s", what, n.describe())
		return
	}
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
entries:
	for _, e := range n.entries {
		for _, f := range fields {
			if f.name == e.name {
				f.read(e.value)
				continue entries
			}
		}
		r.unknownKey(e, what, names)
	}
}

func (r *reader) unknownKey(e entry, what string, names []string) {
	if len(r.problems) > maxProblems {
		r.errorf(e.at, "unknown key") // not shown any more, so not worth a search
		return
	}
	if hint := foreignKey(e.name, names); hint != "" {
		r.errorf(e.at, "unknown key %s in %s; %s", quote(e.name), what, hint)
		return
	}
	if s := Suggestion(e.name, names); s != "" {
		r.errorf(e.at, "unknown key %s in %s%s", quote(e.name), what, s)
		return
	}
	r.errorf(e.at, "unknown key %s in %s; known are %s", quote(e.name), what, strings.Join(names, ", "))
}

// foreignKey says what a key of GitHub Actions is called here, if the mapping
// at hand has that key.
func foreignKey(name string, names []string) string {
	hints := map[string]struct{ key, hint string }{
		"on":              {"trigger", "the events stand under \"trigger\""},
		"jobs":            {"run", "a workflow here is one job: its script stands under \"run\""},
		"steps":           {"run", "the whole script stands under \"run\""},
		"script":          {"run", "the script stands under \"run\""},
		"strategy":        {"parametrize", "the matrix stands under \"parametrize\""},
		"matrix":          {"parametrize", "the matrix stands under \"parametrize\""},
		"runs-on":         {"machine", "the kind of machine stands under \"machine\""},
		"container":       {"image", "the container's image stands under \"image\""},
		"timeout-minutes": {"timeout", "write \"timeout\", in minutes"},
		"timeout_minutes": {"timeout", "write \"timeout\", in minutes"},
	}
	if h, ok := hints[name]; ok {
		for _, n := range names {
			if n == h.key {
				return h.hint
			}
		}
	}
	return ""
}

// str reads a text that is not blank; numbers and booleans count as they are written.
func (r *reader) str(n *node, key string) (string, bool) {
	if !n.scalar() || n.kind == nullKind || strings.TrimSpace(n.text) == "" {
		r.errorf(n.at, "%q must be a text, not %s", key, n.describe())
		return "", false
	}
	return n.text, true
}

// word reads one of a few words.
func (r *reader) word(n *node, key string, words ...string) (string, bool) {
	if n.scalar() {
		for _, w := range words {
			if n.text == w {
				return w, true
			}
		}
	}
	if n.kind == stringKind {
		if s := Suggestion(n.text, words); s != "" {
			r.errorf(n.at, "%q cannot be %s%s", key, n.describe(), s)
			return "", false
		}
	}
	r.errorf(n.at, "%q must be %s, not %s", key, alternatives(words), n.describe())
	return "", false
}

func alternatives(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	if len(quoted) == 1 {
		return quoted[0]
	}
	return strings.Join(quoted[:len(quoted)-1], ", ") + " or " + quoted[len(quoted)-1]
}

func (r *reader) boolean(n *node, key string) (bool, bool) {
	if n.kind == boolKind {
		return n.text == "true", true
	}
	switch fold(n.text) {
	case "yes", "on", "y", "true":
		r.errorf(n.at, "%q must be true or false, not %s; write true", key, n.describe())
	case "no", "off", "n", "false":
		r.errorf(n.at, "%q must be true or false, not %s; write false", key, n.describe())
	default:
		r.errorf(n.at, "%q must be true or false, not %s", key, n.describe())
	}
	return false, false
}

// integer reads a whole number between least and most; unit ends the phrase "a
// whole number", as in " of minutes".
func (r *reader) integer(n *node, key, unit string, least, most int) (int, bool) {
	if n.kind == numberKind {
		if i, err := strconv.Atoi(n.number.String()); err == nil && i >= least && i <= most {
			return i, true
		}
	}
	if n.kind == stringKind {
		if i, err := strconv.Atoi(strings.TrimSpace(n.text)); err == nil && i >= least && i <= most {
			r.errorf(n.at, "%q must be a whole number%s from %d to %d, not the text %s; write %d without quotes", key, unit, least, most, n.describe(), i)
			return 0, false
		}
	}
	r.errorf(n.at, "%q must be a whole number%s from %d to %d, not %s", key, unit, least, most, n.describe())
	return 0, false
}

// list returns the items of a list, or the value itself where one stands alone.
func (r *reader) list(n *node, key string) []*node {
	switch {
	case n.kind == listKind && len(n.items) > 0:
		return n.items
	case n.scalar() && n.kind != nullKind:
		return []*node{n}
	}
	r.errorf(n.at, "%q must be a list that is not empty, not %s", key, n.describe())
	return nil
}
