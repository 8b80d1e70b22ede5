package watcher

import (
	"encoding/json"
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
