package workflow

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/litci/litci/pkg/flow"
)

// FuzzLoad holds what every file whatsoever must give: no panic, no endless work,
// problems with words and places, and jobs that can be sent.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/broken/*.yml", "testdata/broken-single/*.yaml", "testdata/examples/*"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			f.Fatalf("seeds %s: %v", pattern, err)
		}
		for _, p := range paths {
			f.Add(readSeed(f, p))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, path := range []string{Folder + "/ci.yml", SingleFile} {
			begin := time.Now()
			set := Load([]File{{Path: path, Data: data}})
			if took := time.Since(begin); took > time.Minute {
				t.Fatalf("took %v", took)
			}
			if len(set.Workflows) == 0 && !set.Broken() {
				t.Fatal("neither a workflow nor an error")
			}
			for _, p := range set.Problems {
				checkProblem(t, p)
			}
			for _, w := range set.Workflows {
				checkWorkflow(t, w)
			}
		}
	})
}

func checkProblem(t *testing.T, p flow.Problem) {
	t.Helper()
	if p.File == "" || p.Message == "" || !utf8.ValidString(p.Message) || p.Line < 0 || p.Column < 0 || (p.Severity != severityError && p.Severity != severityWarning) {
		t.Errorf("problem %+v", p)
	}
}

func checkWorkflow(t *testing.T, w Workflow) {
	t.Helper()
	event := Event{Kind: EventPush, Branch: "main", Changed: []string{"a/b.go"}}
	if d := w.Decide(event); d.Reason == "" || d.Triggered && !d.Listed {
		t.Errorf("decision %+v", d)
	}
	jobs := w.Jobs(event)
	if len(jobs) > maxCombinations {
		t.Errorf("%d jobs", len(jobs))
	}
	for _, j := range jobs {
		if n := utf8.RuneCountInString(j.Check); n > maxCheck || j.Image == "" || j.Machine == "" || j.TimeoutMinutes < 1 {
			t.Errorf("job %+v", j)
		}
		sent, err := json.Marshal(j.Params)
		if err != nil {
			t.Fatal(err)
		}
		var back flow.Params
		if err := json.Unmarshal(sent, &back); err != nil {
			t.Fatal(err)
		}
		if len(back) != len(j.Params) {
			t.Errorf("%d parameters sent, %d received", len(j.Params), len(back))
		}
	}
}

// FuzzPattern holds that no pattern panics and that shortcuts change no answer.
func FuzzPattern(f *testing.F) {
	for _, seed := range [][2]string{
		{"feature/**", "feature/a"},
		{"v[12].[0-9]+.[0-9]+", "v1.10.1"},
		{"**/*src/**", "a/src/b"},
		{"!*.jsx?", "page.js"},
		{`\*`, "*"},
		{"[", ""},
		{"a++", "a"},
		{"docs/**/*.md", "docs/a.md"},
		{"**/*.go", "x/y.go"},
		{"é?", "é"},
		{"[a-]", "-"},
		{"***", "a/b"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		p, err := CompilePattern(pattern)
		if err != nil {
			return
		}
		if p.Match(name) != expressionOf(t, pattern).MatchString(name) {
			t.Errorf("%q on %q: %t by the ends, not so by the expression", pattern, name, p.Match(name))
		}
	})
}

func readSeed(f *testing.F, path string) []byte {
	f.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	return data
}

// expressionOf is a pattern as an expression alone.
func expressionOf(t *testing.T, pattern string) *regexp.Regexp {
	t.Helper()
	atoms, err := parsePattern(strings.TrimPrefix(pattern, "!"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := compileAtoms(atoms)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
