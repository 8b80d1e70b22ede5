package workflow

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// maxPattern is a pattern's length in bytes.
const maxPattern = 1024

// Pattern is one compiled pattern of a branches, tags or paths filter, in the
// language of GitHub's filter cheat sheet: * any characters but /, ** any
// characters, ? zero or one and + one or more of the character before it, [] one
// of a set, \ takes a character as it is, ! before all negates. It matches the
// whole of a name or path, with case.
type Pattern struct {
	text    string
	negated bool
	// prefix and suffix are the literal ends and inner are the literals between them,
	// in order: by these most names are told apart without the expression, which is
	// nil where the ends decide. whole says that prefix is the whole.
	prefix, suffix string
	inner          []string
	whole          bool
	expression     *regexp.Regexp
}

// CompilePattern reads a pattern.
func CompilePattern(text string) (Pattern, error) {
	p := Pattern{text: text}
	switch {
	case len(text) > maxPattern:
		return p, fmt.Errorf("longer than %d bytes", maxPattern)
	case !utf8.ValidString(text):
		return p, errors.New("not UTF-8")
	}
	body, negated := strings.CutPrefix(text, "!")
	p.negated = negated
	if body == "" {
		return p, errors.New("empty")
	}
	atoms, err := parsePattern(body)
	if err != nil {
		return p, err
	}
	first, last := 0, len(atoms)
	for first < last && atoms[first].literal() {
		p.prefix += string(atoms[first].char)
		first++
	}
	for last > first && atoms[last-1].literal() {
		last--
	}
	for _, a := range atoms[last:] {
		p.suffix += string(a.char)
	}
	middle := atoms[first:last]
	switch {
	case len(middle) == 0:
		p.whole = true
		return p, nil
	case len(middle) == 1 && middle[0].kind == anyAtom,
		// **/*.go: any folder and any name, so the end decides.
		len(middle) == 2 && middle[0].kind == foldersAtom && middle[1].kind == nameAtom && p.prefix == "" && !strings.Contains(p.suffix, "/"):
		return p, nil
	}
	p.inner = literals(middle)
	p.expression, err = compileAtoms(atoms)
	return p, err
}

// literals are the texts that every match holds, in order.
func literals(atoms []atom) (texts []string) {
	run := ""
	for _, a := range atoms {
		if a.literal() {
			run += string(a.char)
			continue
		}
		if run != "" {
			texts = append(texts, run)
		}
		run = ""
	}
	return texts
}

// compileAtoms is the expression that matches what the atoms match.
func compileAtoms(atoms []atom) (*regexp.Regexp, error) {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	for _, a := range atoms {
		a.write(&b)
	}
	b.WriteString(`\z`)
	e, err := regexp.Compile(b.String())
	if err != nil {
		return nil, fmt.Errorf("expression: %w", err)
	}
	return e, nil
}

// Match tells whether the pattern, without its !, matches a name or path.
func (p *Pattern) Match(name string) bool {
	if p.whole {
		return name == p.prefix
	}
	if len(name) < len(p.prefix)+len(p.suffix) || !strings.HasPrefix(name, p.prefix) || !strings.HasSuffix(name, p.suffix) {
		return false
	}
	rest := name[len(p.prefix) : len(name)-len(p.suffix)]
	for _, text := range p.inner {
		i := strings.Index(rest, text)
		if i < 0 {
			return false
		}
		rest = rest[i+len(text):]
	}
	return p.expression == nil || p.expression.MatchString(name)
}

// The kinds of atoms of a pattern.
const (
	charAtom    = iota // one character as it is
	setAtom            // one character of a set
	nameAtom           // * : characters but /
	anyAtom            // ** : characters
	foldersAtom        // **/ at the begin of a folder's name: any folders, or none
)

// atom is the smallest part of a pattern.
type atom struct {
	kind  int
	char  rune
	set   string // as a regular expression
	times byte   // ? or +, or 0 for once
}

func (a atom) literal() bool { return a.kind == charAtom && a.times == 0 }

func (a atom) write(b *strings.Builder) {
	switch a.kind {
	case charAtom:
		b.WriteString(regexp.QuoteMeta(string(a.char)))
	case setAtom:
		b.WriteString(a.set)
	case nameAtom:
		b.WriteString(`[^/]*`)
	case anyAtom:
		b.WriteString(`.*`)
	case foldersAtom:
		b.WriteString(`(?:.*/)?`)
	}
	if a.times != 0 {
		b.WriteByte(a.times)
	}
}

func parsePattern(s string) ([]atom, error) {
	var atoms []atom
	runes := []rune(s)
	for i := 0; i < len(runes); i++ {
		switch c := runes[i]; c {
		case '*':
			stars := 1
			for i+1 < len(runes) && runes[i+1] == '*' {
				stars++
				i++
			}
			begins := len(atoms) == 0 || atoms[len(atoms)-1].literal() && atoms[len(atoms)-1].char == '/' || atoms[len(atoms)-1].kind == foldersAtom
			switch {
			case stars == 1:
				atoms = append(atoms, atom{kind: nameAtom})
			case begins && i+1 < len(runes) && runes[i+1] == '/':
				i++
				atoms = append(atoms, atom{kind: foldersAtom})
			default:
				atoms = append(atoms, atom{kind: anyAtom})
			}
		case '?', '+':
			if len(atoms) == 0 || atoms[len(atoms)-1].kind > setAtom || atoms[len(atoms)-1].times != 0 {
				return nil, fmt.Errorf("%c repeats the character before it, and there is none; write \\%c for the character itself", c, c)
			}
			atoms[len(atoms)-1].times = byte(c)
		case '[':
			end := i + 1
			for end < len(runes) && runes[end] != ']' {
				end++
			}
			if end == len(runes) {
				return nil, errors.New("[ has no ]; write \\[ for the character itself")
			}
			set, err := parseSet(runes[i+1 : end])
			if err != nil {
				return nil, err
			}
			atoms = append(atoms, atom{kind: setAtom, set: set})
			i = end
		case '\\':
			if i+1 == len(runes) {
				return nil, errors.New("\\ stands at the end with nothing to take as it is")
			}
			i++
			atoms = append(atoms, atom{kind: charAtom, char: runes[i]})
		default:
			atoms = append(atoms, atom{kind: charAtom, char: c})
		}
	}
	return atoms, nil
}

// parseSet reads what stands between brackets into a regular expression.
func parseSet(runes []rune) (string, error) {
	if len(runes) == 0 {
		return "", errors.New("[] holds no character")
	}
	if runes[0] == '^' || runes[0] == '!' {
		return "", fmt.Errorf("[%c…] has no meaning: a set cannot be negated", runes[0])
	}
	var b strings.Builder
	b.WriteByte('[')
	for i := 0; i < len(runes); i++ {
		if i+2 < len(runes) && runes[i+1] == '-' {
			low, high := runes[i], runes[i+2]
			if class(low) == 0 || class(low) != class(high) || low > high {
				return "", fmt.Errorf("the range %c-%c is none of letters or digits in order", low, high)
			}
			b.WriteString(string(low) + "-" + string(high))
			i += 2
			continue
		}
		// A hyphen has a meaning in a set that QuoteMeta does not know.
		b.WriteString(`\x{` + fmt.Sprintf("%x", runes[i]) + `}`)
	}
	b.WriteByte(']')
	return b.String(), nil
}

// class is which of the three kinds of ranges a character belongs to, or 0.
func class(c rune) int {
	switch {
	case c >= 'a' && c <= 'z':
		return 1
	case c >= 'A' && c <= 'Z':
		return 2
	case c >= '0' && c <= '9':
		return 3
	}
	return 0
}

// Filter is a list of patterns, read from top to bottom: the last that matches a
// name decides on it.
type Filter struct {
	// Key is the filter's key: branches, paths-ignore.
	Key string
	// Ignore says that the patterns name what to leave out.
	Ignore   bool
	patterns []Pattern
}

// NewFilter compiles a filter from the patterns of a key such as "paths-ignore".
func NewFilter(key string, patterns ...string) (*Filter, error) {
	f := &Filter{Key: key, Ignore: strings.HasSuffix(key, "-ignore")}
	for _, text := range patterns {
		p, err := CompilePattern(text)
		if err != nil {
			return nil, fmt.Errorf("pattern %q of %s: %w", text, key, err)
		}
		f.patterns = append(f.patterns, p)
	}
	return f, nil
}

// Includes tells whether a name gets through the filter.
func (f *Filter) Includes(name string) bool {
	for i := len(f.patterns) - 1; i >= 0; i-- {
		if f.patterns[i].Match(name) {
			return f.patterns[i].negated == f.Ignore
		}
	}
	return f.Ignore
}

// verdict says what the filter does with a name, after "is": "ignored by tags-ignore [v*]".
func (f *Filter) verdict(name string) string {
	verb := "selected by "
	if f.Ignore {
		verb = "ignored by "
	}
	if f.Includes(name) == f.Ignore {
		verb = "not " + verb
	}
	return verb + f.String()
}

// IncludesAny tells whether one of the names gets through: paths selects by one
// included file, paths-ignore skips only when all are ignored.
func (f *Filter) IncludesAny(names []string) bool {
	for _, name := range names {
		if f.Includes(name) {
			return true
		}
	}
	return false
}
