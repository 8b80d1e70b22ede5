package ingress

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/litci/litci/pkg/flow"
	"go.uber.org/zap"
)

var update = flag.Bool("update", false, "write testdata/golden.json anew")

// example is one of GitHub's own payloads.
type example struct {
	name, kind string
	body       []byte
}

func examples(t testing.TB) []example {
	t.Helper()
	files, err := filepath.Glob("testdata/webhooks/*.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 31 {
		t.Fatalf("only %d examples", len(files))
	}
	var out []example
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		kind, _, _ := strings.Cut(name, ".")
		out = append(out, example{name, kind, body})
	}
	return out
}

// compact is the body as GitHub sends it.
func compact(t testing.TB, body []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, body); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// outcome is what ingress makes of an example, in testdata/golden.json. Examples
// of repository hooks are sent again as an App's hook would send them.
type outcome struct {
	Code   int         `json:"code"`
	Reason string      `json:"reason,omitempty"`
	Event  *flow.Event `json:"event,omitempty"`
	ByApp  *flow.Event `json:"event_with_installation,omitempty"`
}

func TestExamples(t *testing.T) {
	got := map[string]outcome{}
	for _, e := range examples(t) {
		o := sendExample(t, e, e.body)
		if o.Reason == reasonNoApp {
			var whole map[string]json.RawMessage
			if err := json.Unmarshal(e.body, &whole); err != nil {
				t.Fatal(err)
			}
			whole["installation"] = json.RawMessage(`{"id":1}`)
			body, err := json.Marshal(whole)
			if err != nil {
				t.Fatal(err)
			}
			o.ByApp = sendExample(t, e, body).Event
		}
		got[e.name] = o
	}
	if *update {
		golden, err := json.MarshalIndent(got, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile("testdata/golden.json", append(golden, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]outcome
	if err := json.Unmarshal(golden, &want); err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Errorf("%d examples, golden has %d", len(got), len(want))
	}
	for name, o := range got {
		have, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		expected, err := json.Marshal(want[name])
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(have, expected) {
			t.Errorf("%s:\nhave %s\nwant %s", name, have, expected)
		}
	}
}

// sendExample sends a body signed, as GitHub does.
func sendExample(t *testing.T, e example, body []byte) outcome {
	t.Helper()
	published := new(recorded)
	v := newTestReceiver(t, published, zap.NewNop(), nil)
	response, answer := send(t, v, signed(e.kind, "id-of-"+e.name, compact(t, body)))
	if response.StatusCode/100 != 2 {
		t.Errorf("%s: code %d: %s", e.name, response.StatusCode, answer.Error)
	}
	o := outcome{Code: response.StatusCode, Reason: answer.Reason}
	if len(published.events) > 0 {
		event := published.events[0]
		if event.ReceivedAt.IsZero() {
			t.Errorf("%s: no time", e.name)
		}
		event.ReceivedAt = time.Time{}
		o.Event = &event
	}
	return o
}

// TestMutations takes every example, and deletes or retypes every value in it,
// one at a time: nothing is a 5xx, nothing panics, and what is still accepted is
// a whole event.
func TestMutations(t *testing.T) {
	kinds := map[string]bool{}
	for _, e := range examples(t) {
		types := []string{`null`, `-1`, `{}`}
		if !kinds[e.kind] { // examples of one kind are much alike: all types once
			kinds[e.kind] = true
			types = append(types, `"text"`, `""`, `1.5`, `1e999`, `true`, `[]`, `[{}]`)
		}
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			published := new(recorded)
			v := newTestReceiver(t, published, zap.NewNop(), nil)
			v.secrets = []string{testSecret}
			body := compact(t, e.body)
			if !bytes.Contains(body, []byte(`"installation":{`)) {
				body = append([]byte(`{"installation":{"id":1},`), body[1:]...)
			}
			mutants := 0
			mutate(t, body, types, func(what string, mutant []byte) {
				mutants++
				published.events = published.events[:0]
				response, answer := send(t, v, signed(e.kind, testID, mutant))
				switch response.StatusCode {
				case http.StatusAccepted:
					if len(published.events) != 1 || published.events[0].Installation <= 0 {
						t.Errorf("%s: accepted %+v", what, published.events)
					}
				case http.StatusOK, http.StatusBadRequest:
					if len(published.events) != 0 {
						t.Errorf("%s: code %d and published", what, response.StatusCode)
					}
				default:
					t.Errorf("%s: code %d", what, response.StatusCode)
				}
				if strings.Contains(answer.Error, "cannot be handled") {
					t.Errorf("%s: panic", what)
				}
			})
			if mutants < 100 {
				t.Errorf("only %d mutants", mutants)
			}
		})
	}
}

// mutate visits copies of a compact JSON text in each of which one value is
// replaced by each of types or one member deleted. Working on the text is what makes it fast.
func mutate(t *testing.T, body []byte, types []string, visit func(what string, mutant []byte)) {
	t.Helper()
	splice := func(start, end int64, with string) []byte {
		return slices.Concat(body[:start], []byte(with), body[end:])
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	next := func() json.Token {
		token, err := decoder.Token()
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	// value reads the value that starts at the byte, and visits it and what is in it.
	var value func(path string, start int64)
	value = func(path string, start int64) {
		switch next() {
		case json.Delim('{'):
			for decoder.More() {
				begin := decoder.InputOffset()
				if body[begin] == ',' {
					begin++
				}
				name := next().(string)
				value(path+"."+name, decoder.InputOffset()+1)
				end := decoder.InputOffset()
				switch {
				case body[end] == ',':
					end++
				case body[begin-1] == ',':
					begin--
				}
				visit(path+"."+name+" deleted", splice(begin, end, ""))
			}
			next()
		case json.Delim('['):
			for decoder.More() {
				begin := decoder.InputOffset()
				if body[begin] == ',' {
					begin++
				}
				value(path+"[]", begin)
			}
			next()
		}
		end := decoder.InputOffset()
		if !valid(splice(start, end, types[0])) {
			t.Fatalf("%s was cut out wrongly", path)
		}
		for _, other := range types {
			visit(path+" as "+other, splice(start, end, other))
		}
	}
	value("", 0)
}
