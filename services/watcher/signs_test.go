package watcher

import "testing"

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

// A line without a hint is never looked at, so every sign needs one.
func TestEverySignHasAHint(t *testing.T) {
	for _, s := range signs {
		if !hinted(s.text + " ") {
			t.Errorf("nothing hints at %q", s.text)
		}
	}
}

// The slowest line is one with many hints and no sign.
func BenchmarkLooksLikeError(b *testing.B) {
	for name, line := range map[string]string{
		"innocent": "the quick brown fox jumps over the lazy dog and goes on for a while",
		"hinted":   "a line of a large log that goes on and on and on, and error-free it is",
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if looksLikeError(line) {
					b.Fatal(line)
				}
			}
		})
	}
}
