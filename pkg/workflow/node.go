package workflow

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// kind is what a value is.
type kind int

const (
	nullKind kind = iota
	boolKind
	numberKind
	stringKind
	listKind
	mapKind
)

// node is a value with its place: aliases written out, merge keys merged,
// duplicate keys refused.
type node struct {
	kind kind
	at   position
	// text is a scalar's source text: of 3.10 it is "3.10". Of a quoted or block
	// scalar it is the content.
	text string
	// number is the value of a number: of 3.10 it is "3.1".
	number  json.Number
	items   []*node
	entries []entry
}

// entry is a key with its value.
type entry struct {
	name  string
	at    position
	value *node
}

func (n *node) scalar() bool { return n.kind != listKind && n.kind != mapKind }

// find returns the entry of a key, or nil.
func (n *node) find(name string) *entry {
	for i := range n.entries {
		if n.entries[i].name == name {
			return &n.entries[i]
		}
	}
	return nil
}

// describe names the value in a message.
func (n *node) describe() string {
	switch n.kind {
	case nullKind:
		return "nothing"
	case boolKind:
		return n.text
	case numberKind:
		return "the number " + n.text
	case stringKind:
		return quote(n.text)
	case listKind:
		if len(n.items) == 0 {
			return "an empty list"
		}
		return "a list"
	}
	if len(n.entries) == 0 {
		return "an empty mapping"
	}
	return "a mapping"
}

// value is the node as flow.Params holds it.
func (n *node) value() any {
	switch n.kind {
	case nullKind:
		return nil
	case boolKind:
		return strings.EqualFold(n.text, "true")
	case numberKind:
		return n.number
	case stringKind:
		return n.text
	case listKind:
		list := make([]any, len(n.items))
		for i, item := range n.items {
			list[i] = item.value()
		}
		return list
	}
	m := make(map[string]any, len(n.entries))
	for _, e := range n.entries {
		m[e.name] = e.value.value()
	}
	return m
}

// converter turns the library's tree into nodes.
type converter struct {
	reader  *reader
	anchors map[string]ast.Node
	values  int
	full    bool
	// alias is the outermost alias that is being written out, nil outside of one.
	alias *position
}

// convert returns a node for every input; what is wrong with it is a problem.
func (c *converter) convert(n ast.Node, depth int) *node {
	at := positionOf(n)
	c.values++
	switch {
	case c.full:
		return &node{at: at}
	case c.values > maxValues:
		c.full = true
		if c.alias != nil {
			at = *c.alias
		}
		c.reader.errorf(at, "the aliases of this file expand to more than %d values", maxValues)
		return &node{at: at}
	case depth > maxDepth:
		c.reader.errorf(at, "nested more than %d levels deep", maxDepth)
		return &node{at: at}
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		return c.mapping(at, n.Values, depth)
	case *ast.MappingValueNode:
		return c.mapping(at, []*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		list := &node{kind: listKind, at: at}
		for _, item := range n.Values {
			list.items = append(list.items, c.convert(item, depth+1))
		}
		return list
	case *ast.AnchorNode:
		value := c.convert(n.Value, depth)
		// Registered after its value, so that no anchor can hold an alias of itself.
		c.anchors[n.Name.GetToken().Value] = n.Value
		return value
	case *ast.AliasNode:
		name := n.Value.GetToken().Value
		target, ok := c.anchors[name]
		if !ok {
			c.reader.errorf(at, "the alias *%s has no anchor &%s before it", name, name)
			return &node{at: at}
		}
		if c.alias == nil {
			c.alias = &at
			defer func() { c.alias = nil }()
		}
		value := c.convert(target, depth+1)
		value.at = at
		return value
	case *ast.TagNode:
		return c.tag(n, depth)
	case *ast.LiteralNode:
		return &node{kind: stringKind, at: at, text: n.Value.Value}
	case *ast.StringNode:
		if n.Token.Type == token.SingleQuoteType || n.Token.Type == token.DoubleQuoteType {
			if strings.Contains(n.Value, "\x00") {
				// Only an escape can make one. No environment and no file name holds it.
				c.reader.errorf(at, "the text holds the character NUL, which no text of a workflow may")
			}
			return &node{kind: stringKind, at: at, text: n.Value}
		}
		return plainScalar(at, withTabs(n.Token))
	case *ast.NullNode:
		return &node{kind: nullKind, at: at}
	case ast.ScalarNode:
		return plainScalar(at, withTabs(n.GetToken()))
	}
	c.reader.errorf(at, "this piece of YAML (%s) has no place in a workflow file", strings.ToLower(n.Type().String()))
	return &node{at: at}
}

func (c *converter) tag(n *ast.TagNode, depth int) *node {
	at := tokenPosition(n.Start)
	if n.Value == nil {
		c.reader.errorf(at, "the tag %s has no value", n.Start.Value)
		return &node{at: at}
	}
	value := c.convert(n.Value, depth+1)
	switch n.Start.Value {
	case "!!str":
		if value.scalar() {
			return &node{kind: stringKind, at: at, text: value.text}
		}
	case "!!map", "!!seq", "!!int", "!!float", "!!bool", "!!null":
		return value
	}
	c.reader.errorf(at, "the YAML tag %s has no meaning here", quote(n.Start.Value))
	return value
}

func (c *converter) mapping(at position, values []*ast.MappingValueNode, depth int) *node {
	m := &node{kind: mapKind, at: at}
	lines := make(map[string]position, len(values))
	var merged []*node
	for _, v := range values {
		if v.Key.IsMergeKey() {
			merged = append(merged, c.mergeSources(v, depth)...)
			continue
		}
		name, keyAt, ok := c.key(v.Key, depth)
		value := c.convert(v.Value, depth+1)
		if !ok {
			continue
		}
		if first, ok := lines[name]; ok {
			c.reader.errorf(keyAt, "the key %s is here twice; it is at line %d already", quote(name), first.line)
			continue
		}
		lines[name] = keyAt
		m.entries = append(m.entries, entry{name, keyAt, value})
	}
	for _, source := range merged {
		for _, e := range source.entries {
			if _, ok := lines[e.name]; !ok {
				lines[e.name] = e.at
				m.entries = append(m.entries, e)
			}
		}
	}
	return m
}

// key reads a mapping's key, which is a scalar.
func (c *converter) key(k ast.MapKeyNode, depth int) (string, position, bool) {
	var n ast.Node = k
	if explicit, ok := k.(*ast.MappingKeyNode); ok {
		n = explicit.Value
	}
	value := c.convert(n, depth+1)
	if !value.scalar() {
		c.reader.errorf(value.at, "a key must be a word, not %s", value.describe())
		return "", value.at, false
	}
	if value.kind == nullKind {
		value.text = n.GetToken().Value
	}
	return value.text, value.at, true
}

// mergeSources are the mappings of a merge key: an alias or a list of aliases.
func (c *converter) mergeSources(v *ast.MappingValueNode, depth int) []*node {
	value := c.convert(v.Value, depth+1)
	sources := []*node{value}
	if value.kind == listKind {
		sources = value.items
	}
	for _, s := range sources {
		if s.kind != mapKind {
			c.reader.errorf(s.at, "the merge key << takes a mapping, not %s", s.describe())
			return nil
		}
	}
	return sources
}

// String shows the node in test failures.
func (n *node) String() string { return fmt.Sprintf("%d:%d %s", n.at.line, n.at.column, n.describe()) }
