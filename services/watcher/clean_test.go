package watcher

import (
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	tests := map[string]struct{ raw, want string }{
		"plain text":                     {"hello, world\t!", "hello, world\t!"},
		"unicode":                        {"grüße ✓ 日本", "grüße ✓ 日本"},
		"colours":                        {"\x1b[31mred\x1b[0m and \x1b[1;4mbold\x1b[m", "red and bold"},
		"a link":                         {"\x1b]8;;https://example.com\x1b\\text\x1b]8;;\x1b\\", "text"},
		"a title":                        {"\x1b]0;title\x07text", "text"},
		"a title with a tick":            {"\x1b]0;✓\x07text", "text"},
		"windows line end":               {"text\r", "text"},
		"a progress bar":                 {" 10%\r 50%\r100%\r", "100%"},
		"cursor movement":                {"one\x1b[2Ktwo", "onetwo"},
		"control characters":             {"a\x00b\x08c\x7fd\u0085e", "abcde"},
		"invalid bytes":                  {"a\xffb\xc3", "a\uFFFDb\uFFFD"},
		"a control sequence of one byte": {"a\x9b31mb", "a\uFFFD31mb"},
		"an escape at the end":           {"text\x1b[", "text"},
		"nothing":                        {"", ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := clean([]byte(test.raw)); got != test.want {
				t.Errorf("clean(%q) = %q, want %q", test.raw, got, test.want)
			}
		})
	}
}

// collect returns the lines of a log that arrives in writes of the given size; the
// pieces of a long line are joined.
func collect(log string, size int) (lines []string, longest int) {
	var s splitter
	joined := ""
	emit := func(raw []byte, more bool) {
		joined += string(raw)
		longest = max(longest, len(raw))
		if !more {
			lines = append(lines, joined)
			joined = ""
		}
	}
	for part := range slices.Chunk([]byte(log), size) {
		s.write(part, emit)
	}
	s.flush(emit)
	return lines, longest
}

func TestSplitter(t *testing.T) {
	long := strings.Repeat("x", 3*maxLine+17)
	tests := map[string]struct {
		log  string
		want []string
	}{
		"lines":                       {"a\nb\n\nc", []string{"a", "b", "", "c"}},
		"nothing":                     {"", nil},
		"one line end":                {"\n", []string{""}},
		"a long line":                 {"a\n" + long + "\nb\n", []string{"a", long, "b"}},
		"a long line without an end":  {long, []string{long}},
		"a line of exactly the limit": {long[:maxLine] + "\nb", []string{long[:maxLine], "b"}},
		"a long progress bar":         {strings.Repeat("50%\r", maxLine) + "100%\n", []string{"50%\r100%"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{len(test.log) + 1, 1, 7, maxLine, maxLine + 1} {
				lines, longest := collect(test.log, size)
				if name == "a long progress bar" { // only what is shown counts
					for i := range lines {
						lines[i] = string(visible([]byte(lines[i])))
					}
					test.want = []string{"100%"}
				}
				if !slices.Equal(lines, test.want) {
					t.Errorf("in writes of %d: %d lines, want %d", size, len(lines), len(test.want))
				}
				if longest > maxLine {
					t.Errorf("in writes of %d: a piece of %d bytes", size, longest)
				}
			}
		})
	}
}

func TestSplitterKeepsRunesAndEscapesWhole(t *testing.T) {
	for _, unit := range []string{"é", "日", "😀", "\x1b[31m"} {
		for shift := range 8 {
			log := strings.Repeat(".", shift) + strings.Repeat("ab"+unit, maxLine/2)
			var s splitter
			var text strings.Builder
			emit := func(raw []byte, _ bool) { text.WriteString(clean(raw)) }
			s.write([]byte(log), emit)
			s.flush(emit)
			if want := clean([]byte(log)); text.String() != want {
				t.Errorf("%q shifted by %d: %d bytes, want %d", unit, shift, text.Len(), len(want))
			}
		}
	}
}

func FuzzClean(f *testing.F) {
	for _, seed := range []string{
		"plain", "\x1b[31mred\x1b[0m", "a\rb", "\xff\xfe", "\x1b]0;✓\x07x", "\u009b31m", "a\x1b", "é\x9c", "\x1b]\xe2\x9c\x93y",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		text := clean(raw)
		if !utf8.ValidString(text) {
			t.Errorf("clean(%q) = %q is not UTF-8", raw, text)
		}
		if i := strings.IndexFunc(text, func(r rune) bool { return r != '\t' && unicode.IsControl(r) }); i >= 0 {
			t.Errorf("clean(%q) = %q has a control character", raw, text)
		}
		if again := clean([]byte(text)); again != text {
			t.Errorf("clean twice gives %q, then %q", text, again)
		}
	})
}

func FuzzSplitter(f *testing.F) {
	f.Add([]byte("a\nb"), 1)
	f.Add([]byte("\r\n\r"), 2)
	f.Add([]byte("\x1b[31m\n"), 3)
	f.Fuzz(func(t *testing.T, log []byte, size int) {
		if size < 1 || size > 1<<20 {
			size = 1
		}
		whole, _ := collect(string(log), len(log)+1)
		parts, _ := collect(string(log), size)
		if !slices.Equal(whole, parts) {
			t.Errorf("writes of %d make a difference: %q and %q", size, whole, parts)
		}
	})
}
