package workflow

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Schema is the JSON Schema (draft 7) of a workflow file, made from the tables by
// which Load reads one, with descriptions and defaults. What it refuses, Load
// refuses; Load refuses more: what one value says of another, texts with a grammar
// of their own such as patterns, and what depends on the file's name.
func Schema() []byte {
	quiet := &reader{}
	workflow := objectShape(quiet.workflowKeys(&Workflow{}, &matrix{}))
	workflow["required"] = []string{"run"}
	several := objectShape([]field{
		{name: "workflows", about: "The workflows of " + SingleFile + ", each with a name of its own.", shape: func() shape {
			return shape{
				"type": "array", "minItems": 1,
				"items": shape{"allOf": []shape{reference("workflow"), {"required": []string{"name"}}}},
			}
		}},
		{name: "defaults", about: "Keys for all workflows of the list; their own win, and env is merged name by name.", shape: func() shape {
			s := objectShape(quiet.defaultKeys(&Workflow{}))
			s["type"] = []string{"object", "null"}
			return s
		}},
	})
	several["required"] = []string{"workflows"}
	root := shape{
		"$schema":     "http://json-schema.org/draft-07/schema#",
		"title":       "litci workflow",
		"description": fmt.Sprintf("A workflow file of litci: one of %s, or %s.", Folder, SingleFile),
		"type":        "object",
		"if":          shape{"anyOf": []shape{{"required": []string{"workflows"}}, {"required": []string{"defaults"}}}},
		"then":        reference("workflows"),
		"else":        reference("workflow"),
		"definitions": shape{"workflow": workflow, "workflows": several},
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(root); err != nil {
		panic(err) // a shape holds what JSON can say
	}
	return b.Bytes()
}

func reference(definition string) shape { return shape{"$ref": "#/definitions/" + definition} }

// triggerShape is an event, a list of events, or a mapping of events to filters.
func (r *reader) triggerShape() shape {
	event := shape{"enum": knownEvents()}
	properties := make(shape)
	for _, name := range knownEvents() {
		fields := r.triggerFields(&Trigger{Event: name}, new(bool))
		s := objectShape(fields)
		s["type"] = []string{"object", "boolean", "null"}
		s["description"] = map[string]string{
			EventPullRequest: "Pull requests into a branch. Null takes all; false switches them off.",
			EventPush:        "Pushes of branches and tags. Null takes all; false switches them off.",
			EventMergeGroup:  "The merge queue of a branch. Null takes all; false switches it off. Without it, what listens to pull requests listens here too.",
		}[name]
		var pairs []shape
		for _, f := range fields {
			if base, ok := strings.CutSuffix(f.name, "-ignore"); ok {
				pairs = append(pairs, shape{"not": shape{"type": "object", "required": []string{base, f.name}}})
			}
		}
		s["allOf"] = pairs
		properties[name] = s
	}
	return shape{"anyOf": []shape{
		event,
		{"type": "null"},
		{"type": "array", "items": event, "minItems": 1, "uniqueItems": true},
		{"type": "object", "properties": properties, "additionalProperties": false, "minProperties": 1},
	}}
}

// filterAbout says what a filter is for.
func filterAbout(key string, ignore bool) string {
	switch {
	case key == "paths" && ignore:
		return "Patterns of files: the workflow is left out if all changed files match."
	case key == "paths":
		return "Patterns of files: the workflow runs if a changed file is selected. The last pattern that matches a file decides; ! before it leaves out."
	case ignore:
		return fmt.Sprintf("Patterns of %s that do not count.", key)
	}
	return fmt.Sprintf("Patterns of %s that count. The last pattern that matches decides; ! before it leaves out.", key)
}

// filterShape is a pattern or a list of them: without any ! where it ignores, and
// otherwise with one at least that has no !.
func filterShape(ignore bool) shape {
	pattern := func(expression string) shape {
		return shape{"type": []string{"string", "number", "boolean"}, "pattern": expression, "maxLength": maxPattern}
	}
	positive := pattern(`^[^!]`)
	list := shape{"type": "array", "minItems": 1, "maxItems": maxPatterns, "items": positive}
	if !ignore {
		list["items"], list["contains"] = pattern(`^(?:[^!]|![\s\S])`), positive
	}
	return shape{"anyOf": []shape{positive, list}}
}

// matrixShape is the value of parametrize. Parameters that are keys of the workflow
// override them, so their values look alike.
func matrixShape() shape {
	quiet := &reader{}
	axes, overrides := make(shape), make(shape)
	for _, f := range quiet.settings(&Workflow{}) {
		if !overridable(f.name) {
			continue
		}
		value := f.shape()
		delete(value, "default")
		overrides[f.name] = value
		axes[f.name] = shape{"type": "array", "minItems": 1, "items": value, "description": "Overrides \"" + f.name + "\" of the workflow."}
	}
	names := shape{"not": shape{"anyOf": []shape{{"enum": append([]string{"env", "run", ""}, shellNames()...)}, {"pattern": ownNames}}}}
	list := func(about string, properties shape) shape {
		return shape{"type": []string{"array", "null"}, "description": about, "items": shape{
			"type": "object", "minProperties": 1, "propertyNames": names, "properties": properties,
		}}
	}
	include := list("Adds parameters to the combinations that an entry matches; an entry that matches none is a combination of its own.", overrides)
	exclude := list("Leaves out the combinations that an entry matches.", shape{})
	axes["include"], axes["exclude"] = include, exclude
	twice := func(key string) shape {
		return shape{"not": shape{"type": "object", "required": []string{key, "matrix"}, "properties": shape{"matrix": shape{"type": "object", "required": []string{key}}}}}
	}
	return shape{
		"type": []string{"object", "null"}, "additionalProperties": false,
		"properties": shape{
			"matrix": shape{
				"type": []string{"object", "null"}, "description": "Parameters with their values. The first varies slowest.",
				"propertyNames": names, "properties": axes,
				"additionalProperties": shape{"type": "array", "minItems": 1, "maxItems": maxProduct},
			},
			"include": include, "exclude": exclude,
		},
		"allOf": []shape{twice("exclude"), twice("include")},
	}
}

// overridable tells whether a parameter of a matrix overrides a key of the
// workflow: then it refuses what no key takes.
func overridable(name string) bool {
	r := &reader{}
	r.override(param{name, &node{kind: mapKind}}, &Job{})
	return r.broken
}
