package watcher

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestLooksLikeError(t *testing.T) {
	tests := []struct {
		line string
		want bool
	}{
		{"error: something", true},
		{"Error: Cannot find module 'x'", true},
		{"ERROR: Could not find a version that satisfies the requirement x", true},
		{"[ERROR] Failed to execute goal", true},
		{"ERROR in ./src/index.js", true},
		{"npm ERR! code ELIFECYCLE", true},
		{"npm error code 1", true},
		{"main.c:4:5: error: expected ';' before 'return'", true},
		{"main.c:4:5: fatal error: x.h: No such file or directory", true},
		{"error[E0382]: borrow of moved value: `x`", true},
		{"src/a.ts(3,7): error TS2322: Type 'string' is not assignable to type 'number'.", true},
		{"./main.go:12:3: undefined: foo", true},
		{"vet: ./main.go:12:3: undefined: foo", true},
		{"--- FAIL: TestX (0.00s)", true},
		{"    --- FAIL: TestX/sub (0.00s)", true},
		{"FAIL\tgithub.com/x/y\t0.01s", true},
		{"FAIL", true},
		{"FAILED tests/test_a.py::test_b - assert 1 == 2", true},
		{"tests/test_a.py::test_b FAILED                                [ 50%]", true},
		{"=================================== FAILURES ===================================", true},
		{"E       assert 1 == 2", true},
		{"E   ModuleNotFoundError: No module named 'x'", true},
		{"Traceback (most recent call last):", true},
		{"ValueError: invalid literal for int()", true},
		{"java.lang.NullPointerException: x", true},
		{"panic: runtime error: index out of range [5] with length 3", true},
		{"thread 'main' panicked at src/main.rs:2:5:", true},
		{"fatal: not a git repository", true},
		{"script.sh: line 3: foo: command not found", true},
		{"cat: missing.txt: No such file or directory", true},
		{"bash: ./run: Permission denied", true},
		{"make: *** [Makefile:2: all] Error 1", true},
		{"make: *** No rule to make target 'x'.  Stop.", true},
		{"x.o: undefined reference to `f'", true},
		{"Segmentation fault (core dumped)", true},
		{"BUILD FAILED", true},
		{"::error file=a.go,line=1::broken", true},
		{"##[error]broken", true},
		{"Tests failed: 3", true},

		{"", false},
		{"all is well", false},
		{"0 errors", false},
		{"Found 0 errors in 12 files", false},
		{"No errors found.", false},
		{"12 passed, 0 failed in 0.3s", false},
		{"errors: 0", false},
		{"failures: 0, errors: 0", false},
		{"FAILED=0", false},
		{"error: null", false},
		{"gcc -Wall -Werror -c main.c", false},
		{"tests/test_error.py::test_failure PASSED [ 50%]", false},
		{"ok  \tgithub.com/x/errors\t0.01s", false},
		{"--- PASS: TestError (0.00s)", false},
		{"test parse_error ... ok", false},
		{"Compiling thiserror v1.0.1", false},
		{"Downloading errors-1.0.tar.gz", false},
		{"continue-on-error: true", false},
		{"built without errors", false},
		{"::warning::error: deprecated", false},
		{"::group::error: handling", false},
		{"prog: error: no such option: -x", true},
		{"error: 0 is not a valid port", true},
		{"terror", false},
	}
	for _, test := range tests {
		if got := looksLikeError(test.line); got != test.want {
			t.Errorf("looksLikeError(%q) = %v", test.line, got)
		}
	}
}

// Every line that the pattern finds must have one of the hints.
func TestHintsMissNothing(t *testing.T) {
	for _, line := range []string{
		"::error::x", "fatal: x", "[ERR] x", "npm ERR! x", "panic: x", "E   x", "--- FAIL: x", "failure x", "x failed",
		"a.go:1:2: x", "x: not found", "x: no such file or directory", "x: permission denied", "undefined reference to x",
		"segmentation fault", "no rule to make target", "*** [x] error 1", "x failed with y", "TypeException: x",
	} {
		if !errorLine.MatchString(line) {
			t.Errorf("%q does not match", line)
		}
		if !looksLikeError(line) {
			t.Errorf("%q is missed by the hints", line)
		}
	}
}

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
