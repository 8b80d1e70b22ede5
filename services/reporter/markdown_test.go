package reporter

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestCode(t *testing.T) {
	for in, want := range map[string]string{
		"":                "",
		"plain":           "`plain`",
		"a|b":             "`a\\|b`",
		`a\|b`:            "`a\\ \\|b`",
		"tick ` here":     "``tick ` here``",
		"`ends`":          "`` `ends` ``",
		"two\nlines\x1b[": "`two lines [`",
		"@team #1 <b>":    "`@team #1 <b>`",
	} {
		if got := code(in); got != want {
			t.Errorf("code(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestProse(t *testing.T) {
	for in, want := range map[string]string{
		"all well":            "all well",
		"ask @team":           "ask @" + zeroWidth + "team",
		"see #12":             "see #" + zeroWidth + "12",
		"<script>&":           "&lt;script&gt;&amp;",
		"[x](https://a.b)":    `\[x\]\(https:` + zeroWidth + `//a.b\)`,
		"www.example.com":     "www" + zeroWidth + ".example.com",
		"a | *b* _c_ `d` ~e~": "a \\| \\*b\\* \\_c\\_ \\`d\\` \\~e\\~",
		"- list":              `\- list`,
	} {
		if got := prose(in); got != want {
			t.Errorf("prose(%q) = %q, want %q", in, got, want)
		}
	}
}

// No text, whatever back-ticks it holds, ends its own fence or leaves its bounds.
func TestFenceHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfN(rapid.StringOfN(rapid.RuneFrom([]rune("`a é~\\")), 0, 60, -1), 1, 30).Draw(t, "lines")
		n := rapid.IntRange(60, 400).Draw(t, "n")
		got := fenceTail(lines, n)
		if len(got) > n {
			t.Fatalf("%d bytes of at most %d: %q", len(got), n, got)
		}
		if got == "" {
			return
		}
		if !utf8.ValidString(got) {
			t.Fatalf("split a character: %q", got)
		}
		open, rest, _ := strings.Cut(got, "text\n")
		inside, ended := strings.CutSuffix(rest, "\n"+open+"\n")
		if !ended || len(open) < 3 || longestTicks(inside) >= len(open) {
			t.Fatalf("fence %q around %q", open, inside)
		}
	})
}

func TestFenceTailKeepsTheTail(t *testing.T) {
	lines := strings.Split(strings.Repeat("earlier\n", 1_000)+"last", "\n")
	got := fenceTail(lines, 500)
	if !strings.Contains(got, "last\n```") || !strings.Contains(got, "earlier lines") || len(got) > 500 {
		t.Errorf("%d bytes: %s", len(got), got)
	}
}

func TestFenceTailOfOneLongLine(t *testing.T) {
	got := fenceTail([]string{"first", strings.Repeat("é", 1_000) + "end"}, 101)
	if len(got) > 101 || len(got) < 70 || !strings.HasPrefix(got, "```text\n…é") || !strings.HasSuffix(got, "end\n```\n") || !utf8.ValidString(got) {
		t.Errorf("%d bytes: %q", len(got), got)
	}
	if got := fenceTail([]string{strings.Repeat("`", 500)}, 100); got != "" {
		t.Errorf("%q", got)
	}
}

func TestCutMarkdownKeepsWholeLines(t *testing.T) {
	got := cutMarkdown(strings.Repeat("- a line\n", 100), 100)
	if len(got) > 100 || !strings.HasPrefix(got, "- a line\n- a line\n") || !strings.HasSuffix(got, "- a line\n\n… and more than fits here.\n") {
		t.Errorf("%q", got)
	}
	if got := cutMarkdown(strings.Repeat("é", 100), 60); got != "\n… and more than fits here.\n" {
		t.Errorf("%q", got)
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{1: "1 byte", 1000: "1000 bytes", 1536: "1.5 KiB", 64 << 20: "64.0 MiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %s", n, got)
		}
	}
}

func TestCutText(t *testing.T) {
	if got := elide("ééé", 5); got != "é…" || len(got) > 5 {
		t.Errorf("%q", got)
	}
	if got := elide("short", 5); got != "short" {
		t.Errorf("%q", got)
	}
}

func TestLength(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 40 * time.Millisecond: "40ms", 400 * time.Millisecond: "0.4s", 12 * time.Second: "12s",
		192 * time.Second: "3m 12s", 65 * time.Minute: "1h 5m",
	} {
		if got := length(d); got != want {
			t.Errorf("length(%s) = %s, want %s", d, got, want)
		}
	}
}
