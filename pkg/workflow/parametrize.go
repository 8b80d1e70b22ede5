package workflow

import (
	"slices"

	"github.com/litci/litci/pkg/flow"
)

// matrix reads parametrize. include and exclude stand beside matrix, as the
// original spells it, or inside it, as GitHub does.
func (r *reader) matrix(n *node) matrix {
	m := matrix{at: n.at}
	if n.kind == nullKind {
		return m
	}
	var includeAt, excludeAt *position
	entries := func(key string, seen **position, to *[]*node) field {
		return field{name: key, read: func(n *node) {
			if *seen != nil {
				r.errorf(n.at, "%q stands beside \"matrix\" and inside it; keep one", key)
				return
			}
			*seen = &n.at
			*to = r.entries(n, key)
		}}
	}
	include := entries("include", &includeAt, &m.include)
	exclude := entries("exclude", &excludeAt, &m.exclude)
	r.object(n, "\"parametrize\"", []field{
		{name: "matrix", read: func(n *node) {
			if n.kind == nullKind {
				return
			}
			if n.kind != mapKind {
				r.errorf(n.at, "\"matrix\" must be a mapping of parameters to lists of values, not %s", n.describe())
				return
			}
			for _, e := range n.entries {
				switch e.name {
				case "include":
					include.read(e.value)
				case "exclude":
					exclude.read(e.value)
				default:
					r.axis(e, &m)
				}
			}
		}},
		include,
		exclude,
	})
	if !r.broken {
		r.checkMatrix(m)
	}
	return m
}

// axis reads one parameter's list of values.
func (r *reader) axis(e entry, m *matrix) {
	if r.reserved(e) {
		return
	}
	if e.value.kind != listKind || len(e.value.items) == 0 {
		r.errorf(e.value.at, "the matrix parameter %s must be a list that is not empty, not %s", quote(e.name), e.value.describe())
		return
	}
	if len(e.value.items) > maxProduct {
		r.errorf(e.value.at, "the matrix parameter %s has %d values; at most %d jobs are allowed", quote(e.name), len(e.value.items), maxCombinations)
		return
	}
	for i, v := range e.value.items {
		r.warnNumber(v)
		if i < maxCombinations {
			r.warnRepeated(e.name, v, e.value.items[:i])
		}
	}
	m.axes = append(m.axes, axis{e.name, e.at, e.value.items})
}

// warnRepeated warns of a value that stands in its axis already.
func (r *reader) warnRepeated(name string, v *node, before []*node) {
	for _, b := range before {
		switch {
		case !v.scalar() || !b.scalar() || !looseEqual(v, b):
			continue
		case v.describe() == b.describe():
			r.warnf(v.at, "%s is in the list of %s twice; it is at line %d already", v.describe(), quote(name), b.at.line)
		default:
			r.warnf(v.at, "%s in the list of %s counts as %s, which is at line %d already", v.describe(), quote(name), b.describe(), b.at.line)
		}
		return
	}
}

// entries reads the list of include or exclude.
func (r *reader) entries(n *node, key string) []*node {
	if n.kind == nullKind {
		return nil
	}
	if n.kind != listKind {
		r.errorf(n.at, "%q must be a list of mappings, not %s", key, n.describe())
		return nil
	}
	for _, item := range n.items {
		if item.kind != mapKind || len(item.entries) == 0 {
			r.errorf(item.at, "an entry of %q must be a mapping that is not empty, not %s", key, item.describe())
			continue
		}
		for _, e := range item.entries {
			if !r.reserved(e) {
				r.warnNumber(e.value)
			}
		}
	}
	return n.items
}

// shellNames are the environment variables that change how bash and the loader
// work: as a parameter they would break the script before its first line.
func shellNames() []string {
	return []string{"BASHOPTS", "BASH_ENV", "ENV", "HOME", "IFS", "LD_LIBRARY_PATH", "LD_PRELOAD", "PATH", "PWD", "SHELLOPTS", "TMPDIR"}
}

// ownNames is the pattern of the names of matrix parameters and environment
// variables that litci sets itself: the launcher drops a workflow's own.
const ownNames = `^(?:LITCI$|(?:GITHUB|LITCI|RUNNER)[^A-Za-z0-9])`

// own tells whether a name becomes an environment variable that litci sets itself.
func own(name string) bool { return flow.OwnVariable(EnvName(name)) }

// reserved refuses names that would hide a key of the workflow, a variable that
// litci sets, or one that the shell heeds.
func (r *reader) reserved(e entry) bool {
	switch {
	case e.name == "":
		r.errorf(e.at, "a matrix parameter needs a name")
	case e.name == "env", e.name == "run":
		r.errorf(e.at, "a matrix parameter cannot be called %q", e.name)
	case own(e.name):
		r.errorf(e.at, "a matrix parameter cannot be called %s: it becomes the environment variable %s, and litci sets these itself; rename it", quote(e.name), quote(EnvName(e.name)))
	case slices.Contains(shellNames(), EnvName(e.name)):
		r.errorf(e.at, "a matrix parameter cannot be called %q: it becomes the environment variable %s, which the shell itself heeds; rename it", e.name, EnvName(e.name))
	default:
		return false
	}
	return true
}

// warnNumber warns of a number that YAML reads as another than is written: a
// version without quotes. Leaves of lists and mappings count too.
func (r *reader) warnNumber(n *node) {
	for _, item := range n.items {
		r.warnNumber(item)
	}
	for _, e := range n.entries {
		r.warnNumber(e.value)
	}
	if n.kind == numberKind && n.text != n.number.String() {
		r.warnf(n.at, "YAML reads %s as the number %s; write \"%s\" to keep it as it is", n.text, n.number, n.text)
	}
}

// checkMatrix checks what the parts of a matrix say of each other.
func (r *reader) checkMatrix(m matrix) {
	axes := make([]string, len(m.axes))
	for i, a := range m.axes {
		axes[i] = a.name
	}
	safe := make(map[string]string)
	name := func(name string, at position) {
		if other, ok := safe[EnvName(name)]; ok && other != name {
			r.errorf(at, "the parameters %s and %s both become the environment variable %s; rename one", quote(other), quote(name), EnvName(name))
			return
		}
		safe[EnvName(name)] = name
	}
	for _, a := range m.axes {
		name(a.name, a.at)
	}
	for _, item := range m.exclude {
		for _, e := range item.entries {
			if !slices.Contains(axes, e.name) {
				s := Suggestion(e.name, axes)
				if s == "" {
					s = ": no combination has it"
				}
				r.errorf(e.at, "\"exclude\" names %s, which is no parameter of the matrix%s", quote(e.name), s)
			}
		}
	}
	for _, item := range m.include {
		for _, e := range item.entries {
			name(e.name, e.at)
		}
	}
	if m.product(maxProduct) > maxProduct {
		r.errorf(m.at, "the matrix multiplies to more than %d combinations; at most %d jobs are allowed", maxProduct, maxCombinations)
	}
	if r.broken {
		return
	}
	for _, item := range m.exclude {
		r.warnFilter(m, item, "exclude")
	}
	for _, item := range m.include {
		r.warnFilter(m, item, "include")
	}
}

// warnFilter warns of filter values that match in spite of their kind or case,
// and of those of exclude that match nothing.
func (r *reader) warnFilter(m matrix, item *node, key string) {
	for _, e := range item.entries {
		a := m.axis(e.name)
		if a == nil {
			continue
		}
		var loose *node
		found := false
		for _, v := range a.values {
			if !leafEqual(e.value, v) {
				continue
			}
			found = true
			if e.value.scalar() && v.scalar() && !strictEqual(e.value, v) {
				loose = v
			}
		}
		switch {
		case loose != nil:
			r.warnf(e.value.at, "%s in %q matches %s of %s, as GitHub compares them; write both alike", e.value.describe(), key, loose.describe(), quote(e.name))
		case !found && key == "exclude":
			r.warnf(e.value.at, "%q names %s, which is no value of %s: it leaves nothing out", key, e.value.describe(), quote(e.name))
		}
	}
}

// expand checks the size of the matrix and the values that override keys of the
// workflow, and returns the combinations.
func (r *reader) expand(m matrix, w *Workflow) []combination {
	list := m.combinations()
	if len(list) > maxCombinations {
		r.errorf(m.at, "the matrix has %d combinations; at most %d are allowed", len(list), maxCombinations)
		return nil
	}
	checked := make(map[*node]bool)
	warned := make(map[string]bool)
	for _, c := range list {
		for _, p := range c.params {
			if !checked[p.value] {
				checked[p.value] = true
				r.override(p, &Job{})
				if text := c.text(p); len(text) > maxValue {
					r.errorf(p.value.at, "the value of %s has %d bytes; at most %d are allowed", quote(p.name), len(text), maxValue)
				}
			}
			if _, ok := w.Env[EnvName(p.name)]; ok && !warned[p.name] {
				warned[p.name] = true
				r.warnf(p.value.at, "the matrix parameter %s hides the value of \"env\"", quote(p.name))
			}
		}
	}
	r.checkNames(m, list)
	return list
}

// checkNames refuses jobs that checks could not tell apart: the planner would.
func (r *reader) checkNames(m matrix, list []combination) {
	lines := make(map[string]bool, len(list))
	for _, c := range list {
		named := combination{params: c.params[:c.named]}
		values := valuesOf(named.flow())
		if lines[values] && values != "" {
			at := m.at
			if last := len(named.params) - 1; last >= 0 {
				at = named.params[last].value.at
			}
			r.errorf(at, "two jobs of the matrix have the same values in their check's name, (%s); one of their parameters must differ", values)
			return
		}
		lines[values] = true
	}
}
