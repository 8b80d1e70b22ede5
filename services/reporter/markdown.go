package reporter

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Everything that comes from code or from logs is a stranger's text. It goes
// into Markdown as a code span or a fenced block, where nothing is interpreted,
// or as prose with all that GitHub would interpret taken apart.

// zeroWidth keeps two characters from being read as one mention or link.
const zeroWidth = "\u200b"

// elide cuts s to at most n bytes, between characters, and marks the cut.
func elide(s string, n int) string {
	const mark = "…"
	if len(s) <= n {
		return s
	}
	if n <= len(mark) {
		return s[:wholeBefore(s, n)]
	}
	return s[:wholeBefore(s, n-len(mark))] + mark
}

// wholeBefore is the largest cut of s at or before n that splits no character.
func wholeBefore(s string, n int) int {
	for n > 0 && n < len(s) && !utf8.RuneStart(s[n]) {
		n--
	}
	return n
}

// oneLine makes a single line of s.
func oneLine(s string) string {
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))), " ")
}

// longestTicks is the length of the longest run of back-ticks in s.
func longestTicks(s string) int {
	longest, run := 0, 0
	for i := range len(s) {
		if s[i] != '`' {
			run = 0
			continue
		}
		run++
		longest = max(longest, run)
	}
	return longest
}

// code makes a code span of s that may also stand in a table's cell.
func code(s string) string {
	s = oneLine(s)
	if s == "" {
		return ""
	}
	ticks := strings.Repeat("`", longestTicks(s)+1)
	// A back-slash before a pipe would escape the back-slash that escapes the pipe.
	s = strings.ReplaceAll(s, `\|`, `\ |`)
	s = strings.ReplaceAll(s, "|", `\|`)
	if strings.HasPrefix(s, "`") || strings.HasSuffix(s, "`") {
		s = " " + s + " "
	}
	return ticks + s + ticks
}

// fence makes a code block of lines; no run of back-ticks in them ends it.
func fence(lines []string) string {
	text := strings.Join(lines, "\n")
	ticks := strings.Repeat("`", max(3, longestTicks(text)+1))
	return ticks + "text\n" + text + "\n" + ticks + "\n"
}

// prose escapes a sentence so that it shows as it is written: no Markdown, no
// HTML, no mention, no reference, no link.
func prose(s string) string {
	var b strings.Builder
	s = oneLine(s)
	for i, r := range s {
		switch r {
		case '<':
			b.WriteString("&lt;")
		case '>':
			b.WriteString("&gt;")
		case '&':
			b.WriteString("&amp;")
		case '|', '\\', '`', '*', '_', '[', ']', '~', '!', '(', ')', '$':
			b.WriteByte('\\')
			b.WriteRune(r)
		case '@', '#':
			b.WriteRune(r)
			b.WriteString(zeroWidth)
		case ':':
			b.WriteRune(r)
			if strings.HasPrefix(s[i:], "://") {
				b.WriteString(zeroWidth)
			}
		case '.':
			if i >= 3 && strings.EqualFold(s[i-3:i], "www") {
				b.WriteString(zeroWidth)
			}
			b.WriteRune(r)
		case '-', '+', '=':
			if i == 0 {
				b.WriteByte('\\')
			}
			b.WriteRune(r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// fenceTail makes a code block of the last lines that fit into n bytes, all
// told, and says in its first line what is missing.
func fenceTail(lines []string, n int) string {
	whole := fence(lines)
	if len(whole) <= n {
		return whole
	}
	// Fences grow with the back-ticks they enclose, so they are counted in.
	room := n - 2*max(3, longestTicks(strings.Join(lines, "\n"))+1) - len("text\n\n\n") - len("… 1000000 earlier lines\n")
	from, size := len(lines), 0
	for from > 0 && size+len(lines[from-1])+1 <= room {
		from--
		size += len(lines[from]) + 1
	}
	kept := lines[from:]
	if len(kept) == 0 {
		if room <= len("…") || len(lines) == 0 {
			return ""
		}
		last := lines[len(lines)-1]
		at := len(last) - (room - len("…"))
		for at < len(last) && !utf8.RuneStart(last[at]) {
			at++
		}
		return fence([]string{"…" + last[at:]})
	}
	return fence(append([]string{fmt.Sprintf("… %d earlier lines", from)}, kept...))
}

// length says how long something took, as people do: 40ms, 0.4s, 12s, 3m 12s, 1h 5m.
func length(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm %ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh %dm", int(d.Hours()), int(d.Minutes())%60)
}

// clock is a time of day, UTC.
func clock(t time.Time) string { return t.UTC().Format("15:04:05") + " UTC" }

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func short(sha string) string { return sha[:min(7, len(sha))] }
