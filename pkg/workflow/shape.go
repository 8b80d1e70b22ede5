package workflow

// shape is the JSON Schema (draft 7) of a value. Keywords that speak of one type
// leave values of others alone, so a shape may list several types.
type shape map[string]any

// notBlank is the pattern of a text that is more than spaces.
const notBlank = `\S`

// textShape is a text that becomes a name: YAML's numbers and booleans count as written.
func textShape() shape {
	return shape{"type": []string{"string", "number", "boolean"}, "pattern": notBlank, "maxLength": maxName}
}

func boolShape() shape { return shape{"type": "boolean", "default": false} }

func integerShape(least, most int) shape {
	return shape{"type": "integer", "minimum": least, "maximum": most}
}

// oneOrMore is a value, or a list of at least so many of them.
func oneOrMore(item shape, least int) shape {
	return shape{"anyOf": []shape{item, {"type": "array", "items": item, "minItems": least}}}
}

// objectShape is a mapping with exactly the fields of a table, none of which must
// be there.
func objectShape(fields []field) shape {
	properties := make(shape, len(fields))
	for _, f := range fields {
		property := f.shape()
		property["description"] = f.about
		properties[f.name] = property
	}
	return shape{"type": "object", "properties": properties, "additionalProperties": false}
}

// byDefault is the field with the value that holds where the key is not there.
func (f field) byDefault(value any) field {
	plain := f.shape
	f.shape = func() shape {
		s := plain()
		s["default"] = value
		return s
	}
	return f
}

func (r *reader) textKey(name, about string, to *string) field {
	return field{name, about, textShape, func(n *node) { *to = r.nameText(n, name) }}
}

func (r *reader) boolKey(name, about string, to *bool) field {
	return field{name, about, boolShape, func(n *node) { *to, _ = r.boolean(n, name) }}
}

func (r *reader) integerKey(name, about, unit string, least, most int, to *int) field {
	return field{name, about, func() shape { return integerShape(least, most) }, func(n *node) {
		*to, _ = r.integer(n, name, unit, least, most)
	}}
}

func (r *reader) wordKey(name, about string, to *string, words ...string) field {
	return field{name, about, func() shape { return shape{"enum": words} }, func(n *node) { *to, _ = r.word(n, name, words...) }}
}
