package workflow

import (
	"slices"

	"github.com/litci/litci/pkg/flow"
)

const (
	// maxCombinations is how many jobs one workflow may have, GitHub's limit.
	maxCombinations = 256
	// maxProduct bounds the cross product before exclude thins it out.
	maxProduct = 4096
)

// matrix is what stands under parametrize.
type matrix struct {
	at               position
	axes             []axis
	include, exclude []*node
}

// axis is a parameter with its values.
type axis struct {
	name   string
	at     position
	values []*node
}

// combination is one job's parameters, in order.
type combination struct {
	params []param
	// named counts the parameters, from the front, that the check's name shows: the
	// axes, or all of an entry that include added.
	named int
}

// param is one parameter; the node keeps its place for messages.
type param struct {
	name  string
	value *node
}

func (c combination) get(name string) *node {
	for _, p := range c.params {
		if p.name == name {
			return p.value
		}
	}
	return nil
}

// flow is the combination as messages carry it.
func (c combination) flow() flow.Params {
	params := make(flow.Params, len(c.params))
	for i, p := range c.params {
		params[i] = flow.Param{Name: p.name, Value: p.value.value()}
	}
	return params
}

// product is the number of combinations before exclude and include, at most limit+1.
func (m matrix) product(limit int) int {
	if len(m.axes) == 0 {
		return 0
	}
	n := 1
	for _, a := range m.axes {
		if n *= len(a.values); n > limit {
			return limit + 1
		}
	}
	return n
}

// combinations expands the matrix by GitHub's rules (behaviours.md §5.1):
// the cross product with the first axis slowest, less what exclude matches, with
// include's entries merged into what they match or appended.
func (m matrix) combinations() []combination {
	if len(m.axes) == 0 && len(m.include) == 0 {
		return []combination{{}}
	}
	base := m.base()
	var appended []combination
	// What include adds to a base combination hides no axis and is not matched again.
	for _, entry := range m.include {
		filter, extras := m.split(entry)
		matched := false
		for i := range base {
			if !matches(filter, base[i]) {
				continue
			}
			matched = true
			for _, e := range extras {
				base[i].add(e)
			}
		}
		if !matched {
			c := combination{named: len(entry.entries)}
			for _, e := range entry.entries {
				c.params = append(c.params, param{e.name, e.value})
			}
			appended = append(appended, c)
		}
	}
	return append(base, appended...)
}

// base is the cross product without what exclude matches.
func (m matrix) base() []combination {
	n := m.product(maxProduct)
	base := make([]combination, 0, min(n, maxCombinations))
	for i := range n {
		c := combination{params: make([]param, len(m.axes)), named: len(m.axes)}
		rest := i
		for a := len(m.axes) - 1; a >= 0; a-- {
			values := m.axes[a].values
			c.params[a] = param{m.axes[a].name, values[rest%len(values)]}
			rest /= len(values)
		}
		if !slices.ContainsFunc(m.exclude, func(e *node) bool { return matches(e.entries, c) }) {
			base = append(base, c)
		}
	}
	return base
}

// split parts an include entry into the keys that are axes and the others.
func (m matrix) split(n *node) (filter, extras []entry) {
	for _, e := range n.entries {
		if m.axis(e.name) != nil {
			filter = append(filter, e)
		} else {
			extras = append(extras, e)
		}
	}
	return filter, extras
}

func (m matrix) axis(name string) *axis {
	for i := range m.axes {
		if m.axes[i].name == name {
			return &m.axes[i]
		}
	}
	return nil
}

// add sets a parameter that is no axis; a later entry of include wins.
func (c *combination) add(e entry) {
	for i := range c.params {
		if c.params[i].name == e.name {
			c.params[i].value = e.value
			return
		}
	}
	c.params = append(c.params, param{e.name, e.value})
}

// matches tells whether every leaf that a filter names equals the combination's.
func matches(filter []entry, c combination) bool {
	for _, e := range filter {
		value := c.get(e.name)
		if value == nil || !leafEqual(e.value, value) {
			return false
		}
	}
	return true
}
