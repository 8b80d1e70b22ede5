package watcher

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func numbered(from, to int) (list []string) {
	for i := from; i <= to; i++ {
		list = append(list, fmt.Sprintf("line %d", i))
	}
	return list
}

func TestWindow(t *testing.T) {
	tests := map[string]struct {
		lines []string
		want  excerpt
	}{
		"nothing":       {nil, excerpt{}},
		"without error": {numbered(1, 3), excerpt{tail: numbered(1, 3)}},
		"in the middle": {
			append(append(numbered(1, 99), "error: one"), numbered(101, 200)...),
			excerpt{"error: one", append(append(numbered(80, 99), "error: one"), numbered(101, 120)...), 80, numbered(121, 200)},
		},
		"at the start": {
			append([]string{"error: one"}, numbered(2, 5)...),
			excerpt{"error: one", append([]string{"error: one"}, numbered(2, 5)...), 1, append([]string{"error: one"}, numbered(2, 5)...)},
		},
		"at the end": {
			append(numbered(1, 30), "error: one"),
			excerpt{"error: one", append(numbered(11, 30), "error: one"), 11, append(numbered(1, 30), "error: one")},
		},
		"the first of several": {
			[]string{"error: one", "error: two"},
			excerpt{"error: one", []string{"error: one", "error: two"}, 1, []string{"error: one", "error: two"}},
		},
		"a workflow command": {
			[]string{"::error file=x::it is%0Abroken"},
			excerpt{"it is", []string{"::error file=x::it is%0Abroken"}, 1, []string{"::error file=x::it is%0Abroken"}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var w window
			for _, line := range test.lines {
				w.add(line)
			}
			got := w.excerpt()
			if got.firstError != test.want.firstError || got.line != test.want.line {
				t.Errorf("first error %q, window at line %d", got.firstError, got.line)
			}
			if !slices.Equal(got.lines, test.want.lines) {
				t.Errorf("window %q", got.lines)
			}
			if !slices.Equal(got.tail, test.want.tail) {
				t.Errorf("tail %q", got.tail)
			}
		})
	}
}

// The excerpts of the nastiest log stay within their budget, around the error.
func TestWindowIsBounded(t *testing.T) {
	nasty := strings.Repeat("<é\\\">", 20_000)
	var w window
	for range 100 {
		w.add(nasty)
	}
	w.add("error: here " + nasty)
	for range 1000 {
		w.add(nasty)
	}
	e := w.excerpt()
	data, err := json.Marshal([]any{e.firstError, e.lines, e.tail})
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > 44<<10 {
		t.Errorf("%d bytes of JSON", len(data))
	}
	if len(e.firstError) > maxFirst || !strings.HasPrefix(e.firstError, "error: here") || !utf8.ValidString(e.firstError) {
		t.Errorf("first error %q", e.firstError)
	}
	at := 101 - e.line
	if at < 0 || at >= len(e.lines) || !strings.HasPrefix(e.lines[at], "error: here") {
		t.Errorf("the window of %d lines at %d does not show the error", len(e.lines), e.line)
	}
	if len(e.tail) == 0 {
		t.Error("no tail")
	}
}
