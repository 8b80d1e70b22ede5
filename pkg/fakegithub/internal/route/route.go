// Package route matches request paths against path templates such as
// /repos/{owner}/{repo}/commits/{ref}/check-runs, where some parameters hold
// slashes: what GitHub's description marks x-multi-segment.
package route

import (
	"net/url"
	"strings"
)

// Template is a parsed path template.
type Template struct {
	text     string
	segments []segment
	literals int
}

// segment is one literal, or one parameter, which may span several segments
// of a path.
type segment struct {
	literal string
	param   string
	multi   bool
}

// Parse returns the template written as text. Parameters for which multi
// answers true match one path segment or more; all others exactly one.
func Parse(text string, multi func(param string) bool) Template {
	t := Template{text: text}
	for _, part := range split(text) {
		name, isParam := strings.CutPrefix(part, "{")
		if !isParam {
			t.segments = append(t.segments, segment{literal: part})
			t.literals++
			continue
		}
		name = strings.TrimSuffix(name, "}")
		t.segments = append(t.segments, segment{param: name, multi: multi != nil && multi(name)})
	}
	return t
}

// String returns the text the template was parsed from.
func (t Template) String() string { return t.text }

// Literals counts the literal segments; of two templates that match a path,
// the one with more literals is meant.
func (t Template) Literals() int { return t.literals }

// Match reports whether the escaped path fits, and the unescaped parameters.
func (t Template) Match(escapedPath string) (map[string]string, bool) {
	params := map[string]string{}
	if !match(t.segments, split(escapedPath), params) {
		return nil, false
	}
	return params, true
}

func match(want []segment, have []string, params map[string]string) bool {
	if len(want) == 0 {
		return len(have) == 0
	}
	if len(have) == 0 {
		return false
	}
	first := want[0]
	if first.param == "" {
		return first.literal == have[0] && match(want[1:], have[1:], params)
	}
	longest := 1
	if first.multi {
		longest = len(have)
	}
	// The longest span first: a ref named "a/check-runs" still leaves the
	// literal that follows it to match.
	for n := longest; n >= 1; n-- {
		value, err := url.PathUnescape(strings.Join(have[:n], "/"))
		if err != nil || value == "" {
			continue
		}
		if match(want[1:], have[n:], params) {
			params[first.param] = value
			return true
		}
	}
	return false
}

func split(path string) []string {
	return strings.Split(strings.TrimPrefix(path, "/"), "/")
}
