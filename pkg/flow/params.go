package flow

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Param is one name and value of a matrix combination.
type Param struct {
	Name string
	// Value is a string, a bool, a number (json.Number), nil, a list or a map.
	Value any
}

// Params are the parameters of a job in the order of the matrix. In JSON they are
// an object whose members keep that order.
type Params []Param

// Get returns the value of a name.
func (p Params) Get(name string) (any, bool) {
	for _, param := range p {
		if param.Name == name {
			return param.Value, true
		}
	}
	return nil, false
}

// MarshalJSON writes an object with its members in order.
func (p Params) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, param := range p {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(param.Name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(param.Value)
		if err != nil {
			return nil, fmt.Errorf("parameter %s: %w", param.Name, err)
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// UnmarshalJSON reads an object and keeps the order of its members.
func (p *Params) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	open, err := d.Token()
	if err != nil {
		return err
	}
	*p = nil
	if open == nil {
		return nil
	}
	if open != json.Delim('{') {
		return fmt.Errorf("parameters: want an object, have %v", open)
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		var value any
		if err := d.Decode(&value); err != nil {
			return err
		}
		*p = append(*p, Param{Name: name.(string), Value: value})
	}
	return nil
}

// Text is a parameter's value as environment variables and check names show it:
// scalars as written, lists and maps as JSON.
func (p Param) Text() string {
	switch v := p.Value.(type) {
	case nil:
		return ""
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		if v {
			return "true"
		}
		return "false"
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(p.Value); err != nil {
		return fmt.Sprint(p.Value)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
