package watcher

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode"
)

const (
	// minSecret is the shortest value, or line of one, that is masked: shorter ones
	// would blank half of every log.
	minSecret = 5
	// maxSecret bounds one masked form in bytes; what is longer is masked line by line.
	maxSecret = 16 << 10
	// maxForms bounds all forms of all values of a job.
	maxForms = 5_000
	// redacted stands where a secret was.
	redacted = "***"
)

// masker hides secrets in text: values as given, and as base64, hexadecimal, JSON
// and URLs would write them.
type masker struct {
	*secrets
	// shared says that others look for the same, so that adding makes a copy.
	shared bool

	// carry is the end of a long line's last piece, in which a secret may begin; the
	// first covered bytes of it belong to one that was found already.
	carry   string
	covered int
}

// secrets are what is looked for.
type secrets struct {
	// forms are what is looked for, by their first four bytes, the longest first.
	forms map[[4]byte][]string
	known map[string]struct{}
	// begins has a bit for each pair of first bytes, a quick no for most positions.
	begins  []uint64
	longest int
}

func newMasker(values []string) *masker {
	m := &masker{secrets: &secrets{forms: map[[4]byte][]string{}, known: map[string]struct{}{}}}
	for _, v := range values {
		m.add(v)
	}
	return m
}

// fork returns a masker that hides the same, for another text. Thousands of them
// take the room of one as long as they add nothing.
func (m *masker) fork() *masker { return &masker{secrets: m.secrets, shared: true} }

// hide hides secrets in a text that stands apart from the one in hand.
func (m *masker) hide(text string) string { return m.fork().apply(text, false) }

// own makes the secrets this masker's alone.
func (m *masker) own() {
	if !m.shared {
		return
	}
	s := &secrets{forms: make(map[[4]byte][]string, len(m.forms)), known: maps.Clone(m.known), begins: slices.Clone(m.begins), longest: m.longest}
	for key, forms := range m.forms {
		s.forms[key] = slices.Clone(forms)
	}
	m.secrets, m.shared = s, false
}

// add hides a value from now on. Values of several lines are hidden line by line,
// and as a whole where an encoding makes one line of them.
func (m *masker) add(value string) {
	m.own()
	value = strings.Trim(value, "\r\n")
	if strings.ContainsAny(value, "\r\n") {
		m.addEncoded(value)
	}
	for line := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == '\n' || r == '\r' }) {
		for _, text := range []string{line, strings.TrimSpace(line)} {
			m.addForm(text)
			m.addEncoded(text)
		}
	}
}

// addEncoded hides what encodings make of a value.
func (m *masker) addEncoded(value string) {
	if len(value) > maxSecret || !secret(value) {
		return
	}
	m.addForm(url.QueryEscape(value))
	m.addForm(url.PathEscape(value))
	m.addForm(hex.EncodeToString([]byte(value)))
	m.addForm(strings.ToUpper(hex.EncodeToString([]byte(value))))
	for _, html := range []bool{true, false} {
		m.addForm(jsonEscape(value, html))
	}
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for shift := range 3 {
			m.addForm(aligned(encoding, value, shift))
		}
	}
}

// aligned is what a value becomes in base64 behind shift other bytes: only the
// characters that depend on the value alone.
func aligned(encoding *base64.Encoding, value string, shift int) string {
	text := encoding.EncodeToString(append(make([]byte, shift), value...))
	first := (shift*8 + 5) / 6
	last := (shift + len(value)) * 8 / 6
	return text[first:last]
}

// jsonEscape is a value inside a JSON string.
func jsonEscape(value string, html bool) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(html)
	if err := e.Encode(value); err != nil {
		return value
	}
	return strings.TrimSuffix(strings.TrimPrefix(strings.TrimSuffix(b.String(), "\n"), `"`), `"`)
}

// secret tells values worth hiding from the dashes of a key file and the like.
func secret(text string) bool {
	return len(text) >= minSecret && strings.ContainsFunc(text, func(r rune) bool {
		return !unicode.IsPunct(r) && !unicode.IsSymbol(r) && !unicode.IsSpace(r)
	})
}

func (m *masker) addForm(text string) {
	if len(text) > maxSecret {
		text = strings.ToValidUTF8(text[:maxSecret], "")
	}
	// The log is compared as it is stored: clean.
	text = clean([]byte(text))
	if _, known := m.known[text]; known || !secret(text) || len(m.known) >= maxForms {
		return
	}
	m.known[text] = struct{}{}
	key := [4]byte([]byte(text[:4]))
	place, _ := slices.BinarySearchFunc(m.forms[key], text, func(a, b string) int { return len(b) - len(a) })
	m.forms[key] = slices.Insert(m.forms[key], place, text)
	if m.begins == nil {
		m.begins = make([]uint64, 1<<16/64)
	}
	pair := uint(text[0])<<8 | uint(text[1])
	m.begins[pair/64] |= 1 << (pair % 64)
	m.longest = max(m.longest, len(text))
}

// apply hides secrets in a line, or in the next piece of one when more is true or
// was true in the call before. The end of a piece is held back until what follows
// shows that no secret lies across the cut.
func (m *masker) apply(text string, more bool) string {
	if m.longest == 0 {
		return text
	}
	if m.carry != "" {
		text = m.carry + text
	}
	safe := len(text)
	if more {
		safe = max(0, len(text)-m.longest+1)
	}
	var out strings.Builder
	covered := m.covered // what lies before this index is written, or hidden
	found := covered > 0
	for i := range safe {
		n := m.match(text[i:])
		if n == 0 {
			continue
		}
		if i >= covered {
			out.WriteString(text[covered:i])
			out.WriteString(redacted)
		}
		covered, found = max(covered, i+n), true
	}
	m.carry, m.covered = "", 0
	if more {
		m.carry, m.covered = strings.Clone(text[safe:]), max(0, covered-safe)
	}
	if !found {
		return text[:safe]
	}
	if covered < safe {
		out.WriteString(text[covered:safe])
	}
	return out.String()
}

// match is the length of the longest secret at the start of text, 0 for none.
func (m *masker) match(text string) int {
	if len(text) < minSecret {
		return 0
	}
	pair := uint(text[0])<<8 | uint(text[1])
	if m.begins[pair/64]&(1<<(pair%64)) == 0 {
		return 0
	}
	for _, form := range m.forms[[4]byte([]byte(text[:4]))] {
		if strings.HasPrefix(text, form) {
			return len(form)
		}
	}
	return 0
}
