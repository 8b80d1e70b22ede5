package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/spf13/pflag"
)

// section is a part of the configuration file that holds settings: the file itself,
// or one of its pools.
type section map[string]part

// part is the value of one key.
type part struct {
	node ast.Node
	// file and line are where it stands.
	file string
	line int
	// decoder knows the file's anchors.
	decoder *yaml.Decoder
}

func (p part) where() string { return fmt.Sprintf("configuration file %s:%d", p.file, p.line) }

// into decodes the value; keys that the target does not have are errors.
func (p part) into(target any) error {
	if err := p.decoder.DecodeFromNode(p.node, target); err != nil {
		return plainly(err)
	}
	return nil
}

// plainly is an error of the parser without the text that it quotes: there may be
// secrets in it.
func plainly(err error) error { return errors.New(yaml.FormatError(err, false, false)) }

// file reads the configuration file, --config or LITCI_CONFIG, and returns its pools.
func (r *reader) file(flags *pflag.FlagSet, path string) map[string]section {
	if f := flags.Lookup("config"); f != nil && f.Changed {
		path = f.Value.String()
	}
	if path == "" {
		return nil
	}
	top, err := readFile(path)
	if err != nil {
		r.wrong("configuration file %s: %v", path, err)
		return nil
	}
	pools, there := top[poolsKey]
	delete(top, poolsKey)
	r.take(top, "")
	if !there {
		return nil
	}
	found := map[string]section{}
	named, err := sectionOf(pools)
	if err != nil {
		r.wrong("%s: %s: %v", pools.where(), poolsKey, err)
	}
	for name, p := range named {
		own, err := sectionOf(p)
		if err != nil {
			r.wrong("%s: pool %s: %v", p.where(), name, err)
		}
		found[name] = own
	}
	return found
}

// poolsKey is the key of the pools in the configuration file.
const poolsKey = "pools"

func readFile(path string) (section, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, plainly(err)
	}
	if len(file.Docs) > 1 {
		return nil, errors.New("it has more than one document")
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return nil, nil
	}
	p := part{node: file.Docs[0].Body, file: path, decoder: yaml.NewDecoder(strings.NewReader(""), yaml.Strict())}
	var whole any
	if err := p.into(&whole); err != nil { // it learns the anchors
		return nil, err
	}
	return sectionOf(p)
}

// sectionOf are the keys of a mapping; nothing is an empty one.
func sectionOf(p part) (section, error) {
	found := section{}
	node := p.node
	if anchor, ok := node.(*ast.AnchorNode); ok {
		node = anchor.Value
	}
	switch mapping := node.(type) {
	case *ast.NullNode:
	case ast.MapNode:
		for pairs := mapping.MapRange(); pairs.Next(); {
			key := pairs.Key()
			if key.IsMergeKey() {
				return nil, errors.New("<< is understood in the values of settings alone")
			}
			found[key.GetToken().Value] = part{pairs.Value(), p.file, key.GetToken().Position.Line, p.decoder}
		}
	default:
		return nil, errors.New("want keys with values")
	}
	return found, nil
}

// take merges a section's values. Whose says whose it is, for messages: nothing, or
// "pool gpu: ".
func (r *reader) take(values section, whose string) {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		p := values[key]
		s, known := find(key)
		switch {
		case !known:
			r.wrong("%s: %sunknown key %q; the keys are the names of the flags", p.where(), whose, key)
			continue
		case whose != "" && !s.ofPool():
			r.wrong("%s: %skey %q is of the whole process and not of a pool; move it out of %s", p.where(), whose, key, poolsKey)
			continue
		case s.file:
			r.parts[key] = p
			if s.value == "" {
				continue
			}
		}
		text, given, err := p.text()
		switch {
		case err != nil:
			r.wrong("%s: %s%s: %v", p.where(), whose, key, err)
		case given:
			r.merge(key, text)
		}
	}
}

// text is a value as a flag would have it: lists are separated by commas, and so are
// mappings as NAME=VALUE. Given is false for a key without a value.
func (p part) text() (text string, given bool, err error) {
	var value any
	if err := p.into(&value); err != nil {
		return "", false, err
	}
	switch v := value.(type) {
	case nil:
		return "", false, nil
	case []any:
		texts := make([]string, len(v))
		for i := range v {
			texts[i], err = element(v[i])
			if err != nil {
				return "", false, err
			}
		}
		return strings.Join(texts, ","), true, nil
	case map[string]any:
		var pairs []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			one, err := element(v[name])
			if err != nil {
				return "", false, err
			}
			pairs = append(pairs, name+"="+one)
		}
		return strings.Join(pairs, ","), true, nil
	}
	return fmt.Sprint(value), true, nil
}

// element is a value within a list.
func element(value any) (string, error) {
	switch value.(type) {
	case nil, []any, map[string]any:
		return "", errors.New("want plain values in the list")
	}
	text := fmt.Sprint(value)
	if strings.Contains(text, ",") {
		return "", errors.New("a value of the list has a comma")
	}
	return text, nil
}
