package workflow

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// expressions warns of GitHub's ${{ … }} in a workflow's texts, which stay as they
// are here, and names what to write instead. It is no error: a script may mean them.
func (r *reader) expressions(n *node) {
	for _, e := range n.entries {
		switch e.name {
		case "run":
			r.expressionsIn(e.value, inScript)
		case "image", "machine":
			r.expressionsIn(e.value, func(string) string {
				return fmt.Sprintf("for one %s a job, call a parameter of the matrix %q and list them there", e.name, e.name)
			})
		case "env":
			r.expressionsIn(e.value, inEnv)
		case "name":
			r.expressionsIn(e.value, func(string) string { return "the names of checks show the values of the matrix by themselves" })
		case "parametrize":
			r.expressionsIn(e.value, func(string) string { return "write every value out" })
		case "concurrency":
			r.expressionsIn(e.value, func(string) string {
				return "all runs share the group; without the key a newer commit replaces the older one of its pull request"
			})
		}
	}
}

// inScript says what a script has in place of an expression.
func inScript(expression string) string {
	if name := variableFor(expression); name != "" {
		return "write the environment variable $" + name
	}
	return "write it in bash"
}

// inEnv says it of a value under env, where bash does not look.
func inEnv(expression string) string {
	if name := variableFor(expression); name != "" {
		return "use $" + name + " in the script itself"
	}
	return "set it in the script"
}

// variableFor is the environment variable of a job that holds what an expression
// asks for, or "" where none does.
func variableFor(expression string) string {
	parts := regexp.MustCompile(`^(matrix|env|github)(?:\.([A-Za-z_][A-Za-z0-9_-]*)|\[ *'([^']+)' *\])$`).FindStringSubmatch(expression)
	if parts == nil {
		return ""
	}
	name := parts[2] + parts[3]
	switch {
	case parts[1] == "matrix":
		return EnvName(name)
	case parts[1] == "env":
		return name
	case slices.Contains(contextNames(), name):
		return "GITHUB_" + strings.ToUpper(name)
	}
	return ""
}

// contextNames are the properties of GitHub's context github that jobs find in
// GITHUB_ variables.
func contextNames() []string {
	return []string{
		"actor", "api_url", "base_ref", "event_name", "graphql_url", "head_ref", "job", "ref", "ref_name", "ref_type", "repository",
		"repository_id", "repository_owner", "run_attempt", "run_id", "server_url", "sha", "workflow",
	}
}

// expressionsIn warns of the expressions in a value and in the values it holds, once
// each; instead completes the warning.
func (r *reader) expressionsIn(n *node, instead func(expression string) string) {
	for _, item := range n.items {
		r.expressionsIn(item, instead)
	}
	for _, e := range n.entries {
		r.expressionsIn(e.value, instead)
	}
	if n.kind != stringKind || r.searched[n] || !strings.Contains(n.text, "${{") {
		return
	}
	if r.searched == nil {
		r.searched = make(map[*node]bool)
	}
	r.searched[n] = true
	seen := make(map[string]bool)
	for text := n.text; r.count(severityWarning) <= maxProblems; {
		_, rest, ok := strings.Cut(text, "${{")
		if !ok {
			return
		}
		inner, rest, ok := strings.Cut(rest, "}}")
		if !ok {
			return
		}
		text = rest
		if seen[inner] {
			continue
		}
		seen[inner] = true
		whole := "${{" + inner + "}}"
		hint := "a job gets no secrets"
		if inner = strings.TrimSpace(inner); !strings.HasPrefix(inner, "secrets.") {
			hint = instead(inner)
		}
		r.warnf(r.placeOf(whole, n.at), "litci has no expressions, so %s stays as it is; %s", quote(whole), hint)
	}
}

// placeOf finds a piece of a text in the source, from the place on where the text
// begins. Where it is written in another way, with escapes or over several lines, the
// text's own place is as near as it gets.
func (r *reader) placeOf(piece string, from position) position {
	rest := r.source
	for range from.line - 1 {
		_, after, ok := strings.Cut(rest, "\n")
		if !ok {
			return from
		}
		rest = after
	}
	for at := from.line; rest != ""; at++ {
		line, after, _ := strings.Cut(rest, "\n")
		start := 0
		if at == from.line {
			start = len(string([]rune(line)[:min(max(from.column-1, 0), utf8.RuneCountInString(line))]))
		}
		if i := strings.Index(line[start:], piece); i >= 0 {
			return position{at, utf8.RuneCountInString(line[:start+i]) + 1}
		}
		rest = after
	}
	return from
}
