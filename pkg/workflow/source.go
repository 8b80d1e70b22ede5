package workflow

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits of a workflow file. They bound the time and memory that a file written
// to hurt can cost; the YAML library bounds neither.
const (
	// MaxFile is the size of a file in bytes; a larger one is refused unread.
	MaxFile = 1 << 20
	// MaxScript is the size of a script in bytes.
	MaxScript = 256 << 10

	maxTokens     = 20_000
	maxDepth      = 20
	maxKey        = 256
	maxBlankLines = 100
	// maxValues counts a file's values with every alias written out.
	maxValues = 20_000
)

// position is a place in a file, counted in lines and characters from 1.
type position struct{ line, column int }

// located is what the YAML library's errors can say of themselves.
type located interface {
	error
	GetMessage() string
	GetToken() *token.Token
}

// parse turns a file's bytes into nodes, or into problems and nil.
func (r *reader) parse(data []byte) (root *node) {
	text, ok := r.text(data)
	if !ok {
		return nil
	}
	r.source = text
	// A panic of the library, should an input find one, stays the fault of that file.
	defer func() {
		if p := recover(); p != nil {
			r.errorf(position{}, "the file is not YAML that can be read (%v)", p)
			root = nil
		}
	}()
	tokens := lexer.Tokenize(text)
	if !r.bounded(tokens) {
		return nil
	}
	file, err := parser.Parse(joinColons(tokens), 0, parser.AllowDuplicateMapKey())
	if err != nil {
		r.syntaxError(err, text)
		return nil
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			r.errorf(positionOf(doc.Body), "the file holds a second YAML document; one file is one document")
			return nil
		}
		body = doc.Body
	}
	if body == nil {
		r.errorf(position{1, 1}, "the file is empty")
		return nil
	}
	c := converter{reader: r, anchors: make(map[string]ast.Node)}
	root = c.convert(body, 0)
	if r.broken {
		return nil
	}
	return root
}

// text decodes bytes: UTF-8 with or without a byte order mark, any line ends.
func (r *reader) text(data []byte) (string, bool) {
	switch {
	case len(data) > MaxFile:
		r.errorf(position{}, "the file has %d bytes; a workflow file may have at most %d", len(data), MaxFile)
		return "", false
	case bytes.HasPrefix(data, []byte{0xFF, 0xFE}), bytes.HasPrefix(data, []byte{0xFE, 0xFF}):
		r.errorf(position{1, 1}, "the file is UTF-16; save it as UTF-8")
		return "", false
	}
	data = bytes.TrimPrefix(data, []byte("\uFEFF"))
	data = bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n"))
	data = bytes.ReplaceAll(data, []byte("\r"), []byte("\n"))
	line, column, blank := 1, 1, 0
	for i := 0; i < len(data); {
		c, size := utf8.DecodeRune(data[i:])
		switch {
		case c == utf8.RuneError && size == 1:
			r.errorf(position{line, column}, "the byte 0x%02X is not UTF-8; save the file as UTF-8", data[i])
			return "", false
		case c < ' ' && c != '\n' && c != '\t', c == 0x7F:
			r.errorf(position{line, column}, "the control character U+%04X is not allowed in YAML", c)
			return "", false
		case c == '\n':
			line, column, blank = line+1, 0, blank+1
			if blank > maxBlankLines {
				r.errorf(position{line, 1}, "more than %d blank lines in a row", maxBlankLines)
				return "", false
			}
		case c != ' ' && c != '\t':
			blank = 0
		}
		column++
		i += size
	}
	return string(data), true
}

// syntaxError reports what the YAML library says, in our words where its own
// leave people guessing.
func (r *reader) syntaxError(err error, text string) {
	var l located
	if !errors.As(err, &l) || l.GetToken() == nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		r.errorf(position{}, "the file is not valid YAML: %s", first)
		return
	}
	at := tokenPosition(l.GetToken())
	if tab, ok := tabIndent(text, at.line); ok {
		r.errorf(tab, "a tab indents this line; YAML wants spaces")
		return
	}
	r.errorf(at, "the file is not valid YAML: %s", strings.TrimSpace(l.GetMessage()))
}

// tabIndent finds a tab in a line's indentation, or in that of the line before,
// where the library sometimes reports the fault too late.
func tabIndent(text string, line int) (position, bool) {
	lines := strings.Split(text, "\n")
	for _, n := range []int{line, line - 1, line + 1} {
		if n < 1 || n > len(lines) {
			continue
		}
		content := strings.TrimLeft(lines[n-1], " \t")
		if i := strings.IndexByte(lines[n-1], '\t'); i >= 0 && i < len(lines[n-1])-len(content) {
			return position{n, i + 1}, true
		}
	}
	return position{}, false
}

func tokenPosition(t *token.Token) position {
	if t == nil || t.Position == nil {
		return position{}
	}
	return position{t.Position.Line, t.Position.Column}
}

func positionOf(n ast.Node) position {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return positionOf(n.Values[0])
		}
		return tokenPosition(n.Start)
	case *ast.MappingValueNode:
		return tokenPosition(n.Key.GetToken())
	case *ast.AnchorNode:
		return tokenPosition(n.Start)
	case *ast.LiteralNode:
		return tokenPosition(n.Start)
	}
	return tokenPosition(n.GetToken())
}

// quote shows a piece of a file in a message, cut to a readable length.
func quote(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most]) + "…"
	}
	return fmt.Sprintf("%q", s)
}
