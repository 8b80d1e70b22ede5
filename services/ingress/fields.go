package ingress

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// The limits keep an encoded Event under 256 KiB, whatever is in it. What
// identifies something is refused when it is longer, since a shortened name
// names something else; what people write is cut.
const (
	// nameLimit is far above GitHub's limits for logins (39) and repositories (100).
	nameLimit = 256
	// refLimit is above GitHub's limit for branch names (255 bytes).
	refLimit = 1 << 10
	// textLimit is for names of check runs and what comes back with them.
	textLimit = 1 << 10
	// messageLimit is for the head commit's message.
	messageLimit = 4 << 10
	// bodyTextLimit is for comments; GitHub's own limit is 65,536 characters.
	bodyTextLimit = 64 << 10
)

// fields checks the values of a payload, and keeps the first thing that is wrong.
type fields struct{ err error }

// wrong notes a problem with a field, by its name and never by its value.
func (f *fields) wrong(field, problem string) {
	if f.err == nil {
		f.err = fmt.Errorf("%s %s", field, problem)
	}
}

// optional is check for a value that may be empty.
func (f *fields) optional(check func(field, value string) string, field, value string) string {
	if value == "" {
		return ""
	}
	return check(field, value)
}

// id demands one of GitHub's ids, which are positive and 64 bits wide.
func (f *fields) id(field string, v int64) int64 {
	if v <= 0 {
		f.wrong(field, "is missing or not positive")
	}
	return v
}

// number demands the number of an issue or pull request.
func (f *fields) number(field string, v int) int {
	if v <= 0 {
		f.wrong(field, "is missing or not positive")
	}
	return v
}

// sha demands a full commit id: 40 lower-case hex digits.
func (f *fields) sha(field, v string) string {
	if len(v) != 40 || strings.Trim(v, "0123456789abcdef") != "" {
		f.wrong(field, "is not 40 hex digits")
	}
	return v
}

// ref demands a name that git could have for a ref or branch.
func (f *fields) ref(field, v string) string {
	switch {
	case v == "":
		f.wrong(field, "is missing")
	case len(v) > refLimit:
		f.wrong(field, "is too long for a ref")
	case strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		f.wrong(field, "holds characters that no ref has")
	}
	return v
}

// name demands the name of a repository or its owner. It becomes a part of
// paths, so it is not "." or "..".
func (f *fields) name(field, v string) string {
	if v == "" || len(v) > nameLimit || v == "." || v == ".." || strings.ContainsFunc(v, notName) {
		f.wrong(field, "is not a name of GitHub's")
	}
	return v
}

// login demands the name of an account; those of apps end in "[bot]".
func (f *fields) login(field, v string) string {
	f.name(field, strings.TrimSuffix(v, "[bot]"))
	return v
}

// word demands an identifier of GitHub's API such as an action, or nothing.
func (f *fields) word(field, v string) string {
	if len(v) > nameLimit || strings.ContainsFunc(v, notName) {
		f.wrong(field, "is not a word of GitHub's")
	}
	return v
}

func notName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
}

// cut shortens a text to limit bytes at the boundary of a character. A text that
// JSON would blow up by escaping is cut earlier, at three times the limit encoded.
func cut(text string, limit int) string {
	encoded := 0
	for i, r := range text {
		size := utf8.RuneLen(r)
		if size < 0 {
			size = 1
		}
		encoded += encodedSize(r)
		if i+size > limit || encoded > 3*limit {
			return text[:i]
		}
	}
	return text
}

// encodedSize is the most bytes that encoding/json writes for a character.
func encodedSize(r rune) int {
	switch {
	case r == '"' || r == '\\':
		return 2
	case r < ' ', r == '<', r == '>', r == '&', r == 0x7f, r == '\u2028', r == '\u2029', r == utf8.RuneError:
		return 6
	}
	return utf8.RuneLen(r)
}
