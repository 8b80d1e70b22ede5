package watcher

import (
	"encoding/json"
	"regexp"
	"strings"
	"unicode/utf8"
)

const (
	// around is how many lines the window has before and behind the first error.
	around = 20
	// tailLines is how many of the log's last lines a result carries.
	tailLines = 80
	// maxExcerpt is the longest line of an excerpt, maxFirst of the first error, in bytes.
	maxExcerpt = 500
	maxFirst   = 300
	// excerptBudget bounds the window, and the tail, in bytes of JSON: with the rest
	// of a result they stay under 48 KiB.
	excerptBudget = 20 << 10
)

// window finds, while the lines of a log pass, the first one that looks like an
// error, what stands around it, and the end of the log.
type window struct {
	// number counts the lines so far.
	number int
	// last are the lines seen last, tailLines at most; in a ring.
	last []string
	// first is the error's own line; 0 is none. lines begin at line start.
	first int
	start int
	lines []string
	text  string
}

// add takes the next line.
func (w *window) add(line string) {
	short := strings.Clone(cutText(line, maxExcerpt))
	switch {
	case w.first == 0 && looksLikeError(line):
		w.first, w.text = w.number+1, strings.Clone(cutText(errorText(line), maxFirst))
		before := w.tail()
		before = before[max(0, len(before)-around):]
		w.start = w.first - len(before)
		w.lines = append(append(w.lines, before...), short)
	case w.first != 0 && w.number < w.first+around:
		w.lines = append(w.lines, short)
	}
	if len(w.last) < tailLines {
		w.last = append(w.last, short)
	} else {
		w.last[w.number%tailLines] = short
	}
	w.number++
}

// tail are the last lines in order.
func (w *window) tail() []string {
	if len(w.last) < tailLines {
		return append([]string(nil), w.last...)
	}
	oldest := w.number % tailLines
	return append(append([]string(nil), w.last[oldest:]...), w.last[:oldest]...)
}

// excerpt is what a result says of the log.
type excerpt struct {
	firstError string
	lines      []string
	line       int
	tail       []string
}

// excerpt returns what was found, within the budget: of the window what is nearest
// to the error, of the tail what is nearest to the end.
func (w *window) excerpt() excerpt {
	e := excerpt{firstError: w.text, lines: w.lines, line: w.start, tail: w.tail()}
	for cost(e.lines) > excerptBudget {
		// The error stands at index w.first-e.line; the longer side gives way.
		if before, behind := w.first-e.line, len(e.lines)-1-(w.first-e.line); before >= behind {
			e.lines, e.line = e.lines[1:], e.line+1
		} else {
			e.lines = e.lines[:len(e.lines)-1]
		}
	}
	for cost(e.tail) > excerptBudget {
		e.tail = e.tail[1:]
	}
	return e
}

// cost is what lines take up in JSON, where a byte may become six.
func cost(lines []string) int {
	data, err := json.Marshal(lines)
	if err != nil { // strings always encode
		panic(err)
	}
	return len(data)
}

// cutText cuts a text to at most n bytes, between runes.
func cutText(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// hints are what every line that errorLine matches contains, in lower case: a
// cheap no for almost all lines.
var hints = []string{
	"error", "err!", "[err]", "fail", "panic", "traceback", "exception", "fatal", "not found", ".go:", "no such file",
	"undefined reference", "segmentation fault", "permission denied", "no rule to make", "e  ",
}

// errorLine is what compilers, test runners and shells print when something is
// wrong.
var errorLine = regexp.MustCompile(`(?i)` + strings.Join([]string{
	`^\s*::error\b`, `^\s*##\[error\]`,
	`(^|[\s\]\[(:'"<>|*-])([\w.$]*error|[\w.$]*exception|fatal)(\[\w+\])?\s?:`,     // error: TypeError: error[E0308]: fatal:
	`\berror (?-i:[A-Z]{1,4})\d+:`,                                                 // tsc, msbuild
	`^\s*(\[(error|fatal|err)\]|(?-i:ERROR|FATAL)\b|error (in|at|while|during)\b)`, // maven, gradle, webpack, logs
	`^npm (err!|error)`, `^error$`,
	`^traceback \(most recent call last\)`,
	`^(panic|fatal error|thread '.*' panicked)\b`,
	`^e   `, `^=+ (failures|errors) =+`, // pytest
	`^\s*--- fail:`, `^fail(\t|$)`, `^\s*(failed|failure|failures?)\b[^=]`, // go test and others
	`\bfailed\s*(\[\s*\d+%\])?\s*$`, `\bbuild failed\b`, `\bassertion failed\b`, `\btests? failed\b`, `\bfailed with\b`,
	`^(vet: )?\S+\.go:\d+:\d+: `,
	`: (command )?not found$`, `: no such file or directory$`, `: permission denied$`, `undefined reference to`,
	`segmentation fault`, `no rule to make target`, `\*\*\* \[.*\] error \d`,
}, "|"))

// noError is what looks like an error and is none.
var noError = regexp.MustCompile(`(?i)` + strings.Join([]string{
	`\b(0|no|zero|without( any)?) (\w+ )?(errors?|failures?|failed|exceptions?)\b`,
	`\b(errors?|failures?|failed|exceptions?)\s*[:=]\s*(0|none|no|false|nil|null)\s*($|[,;.)\]}])`,
	`-w?error\b`, `\b(allow|ignor|expect)\w* (failure|error)`, `continue-on-error`, `fail-?fast`,
	`^\s*(\+ )?(pass|ok|passed)\b`, `\b(passed|ok)\s*(\[\s*\d+%\])?$`,
}, "|"))

// looksLikeError is a guess, good enough to show people the right place of a log.
func looksLikeError(line string) bool {
	line = cutText(line, 4<<10)
	lower := strings.ToLower(line)
	for _, hint := range hints {
		if strings.Contains(lower, hint) {
			if cmd, ok := parseCommand(line); ok && cmd.name != "error" {
				return false // a warning, or the title of a group
			}
			return errorLine.MatchString(line) && !noError.MatchString(line)
		}
	}
	return false
}

// errorText is an error line for people: the message of a workflow command.
func errorText(line string) string {
	if cmd, ok := parseCommand(line); ok && cmd.name == "error" && cmd.data != "" {
		first, _, _ := strings.Cut(cmd.data, "\n")
		return clean([]byte(first))
	}
	return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "##[error]"))
}
