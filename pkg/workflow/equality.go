package workflow

import (
	"math"
	"strconv"
	"strings"
)

// leafEqual tells whether every leaf of want equals the value at its place:
// mappings may name a part of the keys, lists are compared whole.
func leafEqual(want, have *node) bool {
	switch {
	case want.kind == mapKind && have.kind == mapKind:
		for _, e := range want.entries {
			other := have.find(e.name)
			if other == nil || !leafEqual(e.value, other.value) {
				return false
			}
		}
		return true
	case want.kind == listKind && have.kind == listKind:
		if len(want.items) != len(have.items) {
			return false
		}
		for i := range want.items {
			if !leafEqual(want.items[i], have.items[i]) {
				return false
			}
		}
		return true
	}
	return looseEqual(want, have)
}

// looseEqual is GitHub's == on scalars: texts without regard to case, and values
// of two kinds as numbers.
func looseEqual(a, b *node) bool {
	if !a.scalar() || !b.scalar() {
		return false
	}
	if a.kind == b.kind && a.kind != numberKind {
		return strings.EqualFold(a.text, b.text)
	}
	if a.kind == numberKind && b.kind == numberKind && a.number == b.number {
		return true // integers beyond a float's precision too
	}
	return asNumber(a) == asNumber(b) // not a number equals nothing
}

// strictEqual tells whether two scalars that are loosely equal are alike in kind
// and writing; where they are not, one of them is probably a slip.
func strictEqual(a, b *node) bool {
	return a.kind == b.kind && (a.kind != stringKind || a.text == b.text)
}

// asNumber is a scalar as GitHub's == coerces it.
func asNumber(n *node) float64 {
	switch n.kind {
	case nullKind:
		return 0
	case boolKind:
		if n.text == "true" {
			return 1
		}
		return 0
	case numberKind:
		f, err := strconv.ParseFloat(n.number.String(), 64)
		if err != nil {
			return math.NaN()
		}
		return f
	}
	text := strings.TrimSpace(n.text)
	if text == "" {
		return 0
	}
	number, ok := parseNumber(text)
	if !ok {
		return math.NaN()
	}
	f, err := strconv.ParseFloat(number.String(), 64)
	if err != nil {
		return math.NaN()
	}
	return f
}
