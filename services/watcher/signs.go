package watcher

import (
	"regexp"
	"strings"
)

// sign is a text by which compilers, test runners and shells say that something is
// wrong. All text is in lower case. Signs are literal up to a short rest, because a
// log has millions of lines and most of them are innocent.
type sign struct {
	text string
	// start wants it at the start of the line, behind spaces and tabs.
	start bool
	// rest is what must follow, anchored; nil is anything.
	rest *regexp.Regexp
}

var signs = []sign{
	{text: "error", rest: regexp.MustCompile(`^(\[\w+\])?\s?:|^ [a-z]{1,4}\d+:`)}, // error: TypeError: error[E0308]: error TS2322:
	{text: "exception", rest: regexp.MustCompile(`^\s?:`)},
	{text: "fatal", rest: regexp.MustCompile(`^\s?:`)},
	{text: "error", start: true, rest: regexp.MustCompile(`^( (in|at|while|during)\b|$)`)},
	{text: "::error", start: true, rest: regexp.MustCompile(`^[ :]`)},
	{text: "##[error]", start: true},
	{text: "[error]", start: true},
	{text: "[fatal]", start: true},
	{text: "[err]", start: true},
	{text: "fatal error", start: true},
	{text: "npm err!", start: true},
	{text: "npm error", start: true},
	{text: "traceback (most recent call last)", start: true},
	{text: "panic", start: true, rest: regexp.MustCompile(`^[: ]`)},
	{text: "' panicked at"},
	{text: "e   ", start: true},
	{text: "= failures ="},
	{text: "= errors ="},
	{text: "--- fail:", start: true},
	{text: "fail", start: true, rest: regexp.MustCompile(`^(\t|$)`)},
	{text: "failed", start: true, rest: regexp.MustCompile(`^[^=\w]`)},
	{text: "failure", start: true, rest: regexp.MustCompile(`^s?[^=\w]`)},
	{text: "failed", rest: regexp.MustCompile(`^(\s*(\[\s*\d+%\])?\s*$| with\b)`)},
	{text: "build failed"},
	{text: "assertion failed"},
	{text: "test failed"},
	{text: "tests failed"},
	{text: ".go:", rest: regexp.MustCompile(`^\d+:\d+: `)},
	{text: ": not found", rest: regexp.MustCompile(`^$`)},
	{text: ": command not found", rest: regexp.MustCompile(`^$`)},
	{text: ": no such file or directory", rest: regexp.MustCompile(`^$`)},
	{text: ": permission denied", rest: regexp.MustCompile(`^$`)},
	{text: "undefined reference to"},
	{text: "segmentation fault"},
	{text: "no rule to make target"},
	{text: "] error", rest: regexp.MustCompile(`^ \d`)}, // make: *** [Makefile:2: all] Error 1
}

// hints are parts of all signs: a line without any of them has no sign.
var hints = []string{
	"err", "fail", "panic", "traceback", "exception", "fatal", "not found", ".go:", "no such file",
	"undefined ref", "segmentation", "permission", "no rule", "e   ",
}

// shouted are words that mean an error at the start of a line in capitals only.
var shouted = []string{"ERROR", "FATAL"}

// noError is what looks like an error and is none.
var noError = regexp.MustCompile(strings.Join([]string{
	`\b(0|no|zero|without( any)?) (\w+ )?(errors?|failures?|failed|exceptions?)\b`,
	`\b(errors?|failures?|failed|exceptions?)\s*[:=]\s*(0|none|no|false|nil|null)\s*($|[,;.)\]}])`,
	`-w?error\b`, `\b(allow|ignor|expect)\w* (failure|error)`, `continue-on-error`, `fail-?fast`,
	`^\s*(\+ )?(pass|ok|passed)\b`, `\b(passed|ok)\s*(\[\s*\d+%\])?$`,
}, "|"))

// maxLook is how much of a line is looked at, in bytes.
const maxLook = 2 << 10

// looksLikeError is a guess, good enough to show people the right place of a log.
func looksLikeError(line string) bool {
	line = cutText(line, maxLook)
	lower := strings.ToLower(line)
	if !hinted(lower) {
		return false
	}
	if cmd, ok := parseCommand(line); ok && cmd.name != "error" {
		return false // a warning, or the title of a group
	}
	return signed(line, lower) && !noError.MatchString(lower)
}

func hinted(lower string) bool {
	for _, hint := range hints {
		if strings.Contains(lower, hint) {
			return true
		}
	}
	return false
}

func signed(line, lower string) bool {
	line, lower = strings.TrimLeft(line, " \t"), strings.TrimLeft(lower, " \t")
	for _, word := range shouted {
		if rest, ok := strings.CutPrefix(line, word); ok && (rest == "" || strings.ContainsAny(rest[:1], " :-|\t")) {
			return true
		}
	}
	for _, s := range signs {
		if s.in(lower) {
			return true
		}
	}
	return false
}

// in tells whether a line, in lower case and without spaces before it, has the sign.
func (s sign) in(line string) bool {
	for at := 0; ; {
		next := strings.Index(line[at:], s.text)
		if next < 0 || (s.start && at+next > 0) {
			return false
		}
		at += next + len(s.text)
		if s.rest == nil || s.rest.MatchString(line[at:]) {
			return true
		}
	}
}

// errorText is an error line for people: the message of a workflow command.
func errorText(line string) string {
	if cmd, ok := parseCommand(line); ok && cmd.name == "error" && cmd.data != "" {
		first, _, _ := strings.Cut(cmd.data, "\n")
		return clean([]byte(first))
	}
	return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "##[error]"))
}
