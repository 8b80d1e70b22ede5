package workflow

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// pair and naive are a second implementation of the matrix, written from the
// rules alone: by recursion, over plain values, without regard to cost.
type pair struct {
	name  string
	value any
}

type naive struct {
	axes             []pair // values are []any
	include, exclude [][]pair
}

func (n naive) expand() (out [][]pair) {
	var grow func(done []pair, rest []pair)
	grow = func(done, rest []pair) {
		if len(rest) > 0 {
			for _, v := range rest[0].value.([]any) {
				grow(append(slices.Clone(done), pair{rest[0].name, v}), rest[1:])
			}
			return
		}
		for _, entry := range n.exclude {
			if n.fits(entry, done) {
				return
			}
		}
		out = append(out, done)
	}
	if len(n.axes) > 0 {
		grow(nil, n.axes)
	} else if len(n.include) == 0 {
		return [][]pair{{}}
	}
	base := len(out)
	for _, entry := range n.include {
		var filter, extras []pair
		for _, p := range entry {
			if slices.ContainsFunc(n.axes, func(a pair) bool { return a.name == p.name }) {
				filter = append(filter, p)
			} else {
				extras = append(extras, p)
			}
		}
		hit := false
		for i := range base {
			if !n.fits(filter, out[i][:len(n.axes)]) {
				continue
			}
			hit = true
			for _, x := range extras {
				at := slices.IndexFunc(out[i], func(p pair) bool { return p.name == x.name })
				if at < 0 {
					out[i] = append(out[i], x)
				} else {
					out[i][at] = x
				}
			}
		}
		if !hit {
			out = append(out, entry)
		}
	}
	return out
}

func (n naive) fits(entry, combination []pair) bool {
	for _, want := range entry {
		for _, have := range combination {
			if want.name == have.name && !sameToGitHub(want.value, have.value) {
				return false
			}
		}
	}
	return true
}

func sameToGitHub(a, b any) bool {
	x, xText := a.(string)
	y, yText := b.(string)
	if xText && yText {
		return strings.EqualFold(x, y)
	}
	am, aMap := a.(map[string]any)
	bm, bMap := b.(map[string]any)
	if aMap && bMap {
		for k, v := range am {
			if other, ok := bm[k]; !ok || !sameToGitHub(v, other) {
				return false
			}
		}
		return true
	}
	if aMap || bMap {
		return false
	}
	number := func(v any) float64 {
		switch v := v.(type) {
		case nil:
			return 0
		case bool:
			return map[bool]float64{true: 1}[v]
		case int:
			return float64(v)
		case string:
			if v == "" {
				return 0
			}
			if f, err := strconv.ParseFloat(v, 64); err == nil {
				return f
			}
		}
		return math.NaN()
	}
	return number(a) == number(b)
}

func (n naive) yaml() string {
	object := func(pairs []pair) string {
		var parts []string
		for _, p := range pairs {
			parts = append(parts, asJSON(p.name)+": "+asJSON(p.value))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	list := func(entries [][]pair) string {
		var parts []string
		for _, e := range entries {
			parts = append(parts, object(e))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	return fmt.Sprintf("run: make\nparametrize: {matrix: %s, include: %s, exclude: %s}", object(n.axes), list(n.include), list(n.exclude))
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func anyMatrix(t *rapid.T) naive {
	value := rapid.OneOf(
		rapid.SampledFrom([]any{"x", "X", "y", "1", "", "true", 1, 2, 10, true, false, nil}),
		rapid.Map(rapid.SampledFrom([]string{"v", "w"}), func(k string) any { return map[string]any{"k": k, "n": 1} }),
		rapid.Just[any](map[string]any{"n": 1}),
	)
	entry := func(names []string) *rapid.Generator[[]pair] {
		return rapid.Custom(func(t *rapid.T) []pair {
			var pairs []pair
			for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, len(names), rapid.ID).Draw(t, "names") {
				pairs = append(pairs, pair{name, value.Draw(t, "value")})
			}
			return pairs
		})
	}
	var n naive
	axes := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 3, rapid.ID).Draw(t, "axes")
	for _, name := range axes {
		n.axes = append(n.axes, pair{name, rapid.SliceOfN(value, 1, 4).Draw(t, "values")})
	}
	if len(axes) > 0 {
		n.exclude = rapid.SliceOfN(entry(axes), 0, 4).Draw(t, "exclude")
	}
	n.include = rapid.SliceOfN(entry([]string{"a", "b", "c", "p", "q"}), 0, 5).Draw(t, "include")
	return n
}

func TestMatrixAsTheNaiveOne(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := anyMatrix(t)
		// Not by Load, which refuses combinations that have the same name.
		r := &reader{}
		m := r.matrix(r.parse([]byte(n.yaml())).find("parametrize").value)
		if r.broken {
			t.Fatalf("problems %v\n%s", r.problems, n.yaml())
		}
		var have, want []string
		for _, c := range m.combinations() {
			var pairs []string
			for _, p := range c.flow() {
				pairs = append(pairs, p.Name+"="+asJSON(p.Value))
			}
			have = append(have, strings.Join(pairs, " "))
		}
		for _, c := range n.expand() {
			var pairs []string
			for _, p := range c {
				pairs = append(pairs, p.name+"="+asJSON(p.value))
			}
			want = append(want, strings.Join(pairs, " "))
		}
		if !slices.Equal(have, want) {
			t.Fatalf("%s\nhave\n%s\nwant\n%s", n.yaml(), strings.Join(have, "\n"), strings.Join(want, "\n"))
		}
	})
}

// naiveMatch matches by trying every way, without expressions or shortcuts.
func naiveMatch(pattern, name string) bool {
	if pattern == "" {
		return name == ""
	}
	if rest, ok := strings.CutPrefix(pattern, "**"); ok {
		for i := 0; i <= len(name); i++ {
			if naiveMatch(rest, name[i:]) {
				return true
			}
		}
		return false
	}
	if pattern[0] == '*' {
		for i := 0; i <= len(name); i++ {
			if naiveMatch(pattern[1:], name[i:]) {
				return true
			}
			if i < len(name) && name[i] == '/' {
				return false
			}
		}
		return false
	}
	one, rest := pattern[:1], pattern[1:]
	if one == "[" {
		end := strings.IndexByte(pattern, ']')
		one, rest = pattern[:end+1], pattern[end+1:]
	}
	fits := func(c byte) bool {
		return one == string(c) || len(one) > 1 && strings.IndexByte(one[1:len(one)-1], c) >= 0
	}
	switch {
	case strings.HasPrefix(rest, "?"):
		return naiveMatch(rest[1:], name) || name != "" && fits(name[0]) && naiveMatch(rest[1:], name[1:])
	case strings.HasPrefix(rest, "+"):
		for i := 0; i < len(name) && fits(name[i]); i++ {
			if naiveMatch(rest[1:], name[i+1:]) {
				return true
			}
		}
		return false
	}
	return name != "" && fits(name[0]) && naiveMatch(rest, name[1:])
}

// naiveFolders tries **/ both as any folders and as none.
func naiveFolders(pattern, name string) bool {
	if i := strings.Index(pattern, "**/"); i == 0 || i > 0 && pattern[i-1] == '/' {
		// The marker keeps the folders that are tried from being read again.
		return naiveFolders(pattern[:i]+"\x00"+pattern[i+3:], name)
	}
	if i := strings.IndexByte(pattern, 0); i >= 0 {
		return naiveFolders(pattern[:i]+pattern[i+1:], name) || naiveFoldersAt(pattern, i, name)
	}
	return naiveMatch(pattern, name)
}

func naiveFoldersAt(pattern string, i int, name string) bool {
	if strings.IndexByte(pattern[i+1:], 0) < 0 {
		return naiveMatch(pattern[:i]+"**/"+pattern[i+1:], name)
	}
	j := i + 1 + strings.IndexByte(pattern[i+1:], 0)
	return naiveFoldersAt(pattern[:j]+pattern[j+1:], i, name) || naiveFoldersAt(pattern[:j]+"**/"+pattern[j+1:], i, name)
}

func TestPatternsAsTheNaiveOnes(t *testing.T) {
	t.Parallel()
	part := rapid.SampledFrom([]string{"a", "b", "/", ".", "a?", "b+", "[ab]", "[ab]+", "*", "**", "/**/", "**/", "/**"})
	rapid.Check(t, func(t *rapid.T) {
		pattern := strings.Join(rapid.SliceOfN(part, 1, 6).Draw(t, "pattern"), "")
		if strings.Contains(pattern, "***") || strings.Count(pattern, "**/") > 2 || strings.Contains(pattern, "**/**") {
			return // their reading is a matter of taste
		}
		p, err := CompilePattern(pattern)
		if err != nil {
			return // a repeated repetition
		}
		for _, name := range rapid.SliceOfN(rapid.StringMatching(`[ab/.]{0,8}`), 1, 20).Draw(t, "names") {
			if have, want := p.Match(name), naiveFolders(pattern, name); have != want {
				t.Fatalf("%q on %q: have %t, want %t", pattern, name, have, want)
			}
		}
	})
}
