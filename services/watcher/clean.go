package watcher

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"
)

const (
	// maxLine is the longest line in bytes; a longer one goes on in further lines.
	maxLine = 64 << 10
	// maxEscape is how near the end of a piece an escape sequence may begin to be kept
	// together with what follows.
	maxEscape = 256
)

// splitter cuts the raw bytes of a log into lines, without their ends. How the
// bytes arrive in writes makes no difference to the lines.
type splitter struct {
	pending []byte
	// inside says that a part of the present line was emitted.
	inside bool
}

// write takes the next bytes. emit gets each line raw; more says that the line
// goes on in the next call.
func (s *splitter) write(p []byte, emit func(raw []byte, more bool)) {
	for len(p) > 0 {
		room := p[:min(len(p), maxLine-len(s.pending))]
		if end := bytes.IndexByte(room, '\n'); end >= 0 {
			if len(s.pending) == 0 {
				emit(room[:end], false)
			} else {
				s.pending = append(s.pending, room[:end]...)
				emit(s.pending, false)
				s.pending = s.pending[:0]
			}
			s.inside = false
			p = p[end+1:]
			continue
		}
		s.pending = append(s.pending, room...)
		p = p[len(room):]
		if len(s.pending) == maxLine {
			s.cut(emit)
		}
	}
}

// flush emits what has no line end, when the log is complete or goes on elsewhere.
func (s *splitter) flush(emit func(raw []byte, more bool)) {
	if len(s.pending) > 0 || s.inside {
		emit(s.pending, false)
	}
	s.pending, s.inside = nil, false
}

// cut makes room in a full buffer: progress bars overwrite themselves, other text
// becomes a piece of a long line.
func (s *splitter) cut(emit func(raw []byte, more bool)) {
	if seen := visible(s.pending); len(seen) <= maxLine/2 {
		s.pending = append(s.pending[:0], seen...)
		return
	}
	end := len(s.pending)
	if escape := bytes.LastIndexByte(s.pending[end-maxEscape:], 0x1b); escape >= 0 {
		end = end - maxEscape + escape
	}
	for n := 1; n < utf8.UTFMax && n < end; n++ {
		if utf8.RuneStart(s.pending[end-n]) {
			if !utf8.FullRune(s.pending[end-n : end]) {
				end -= n
			}
			break
		}
	}
	emit(s.pending[:end], true)
	s.inside = true
	s.pending = append(s.pending[:0], s.pending[end:]...)
}

// visible is what a terminal would roughly show of a line in which carriage returns
// overwrite: the last text.
func visible(raw []byte) []byte {
	raw = bytes.TrimRight(raw, "\r")
	return raw[bytes.LastIndexByte(raw, '\r')+1:]
}

// clean makes a raw line safe to store and to show: without what carriage returns
// overwrote, without escape sequences and control characters, and valid UTF-8.
func clean(raw []byte) string {
	if plain(raw) {
		return string(raw)
	}
	text := strings.ToValidUTF8(string(visible(raw)), "\uFFFD")
	// Strip ends an escape sequence in the middle of a rune whose bytes look like a
	// terminator; what is left of the rune goes.
	text = strings.ToValidUTF8(ansi.Strip(text), "")
	return strings.Map(func(r rune) rune {
		if r != '\t' && unicode.IsControl(r) {
			return -1
		}
		return r
	}, text)
}

func plain(raw []byte) bool {
	for _, c := range raw {
		if (c < ' ' && c != '\t') || c > '~' {
			return false
		}
	}
	return true
}
