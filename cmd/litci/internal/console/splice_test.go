package console

import (
	"fmt"
	"strings"
	"testing"

	"github.com/litci/litci/pkg/flow"
)

func spliced() (*splice, *strings.Builder) {
	var out strings.Builder
	return &splice{out: &out, note: func(gap int64) { fmt.Fprintf(&out, "<%d>", gap) }}, &out
}

func TestBlocksAreWrittenOnce(t *testing.T) {
	s, out := spliced()
	for _, b := range []flow.LogBlock{
		{Offset: 0, Text: "one\n"},
		{Offset: 0, Text: "one\n"},
		{Offset: 4, Text: "two\n"},
		{Offset: 2, Text: "e\ntwo\nth"},
		{Offset: 10, Text: "ree\n", Last: true},
		{Offset: 14},
	} {
		if err := s.block(b); err != nil {
			t.Fatal(err)
		}
	}
	if out.String() != "one\ntwo\nthree\n" {
		t.Errorf("log is %q", out)
	}
}

func TestGapsAreTold(t *testing.T) {
	s, out := spliced()
	for _, b := range []flow.LogBlock{{Offset: 3, Text: "b\n"}, {Offset: 7, Text: "d\n"}} {
		if err := s.block(b); err != nil {
			t.Fatal(err)
		}
	}
	if out.String() != "<3>b\n<2>d\n" {
		t.Errorf("log is %q", out)
	}
}

func TestArchivesGoOnWhereBlocksEnded(t *testing.T) {
	const left = "[litci: 100 bytes of the log are left out here]\n"
	long := strings.Repeat("x", 100_000)
	for _, c := range []struct {
		name, archive string
		next          int64
		dropped       bool
		want          string
	}{
		{"from the start", "one\ntwo\n", 0, false, "one\ntwo\n"},
		{"from a line", "one\ntwo\n", 4, false, "two\n"},
		{"within a line", "one\ntwo\n", 6, false, "o\n"},
		{"from the end", "one\ntwo\n", 8, false, ""},
		{"within a long line", long + "\nend", 99_998, false, "xx\nend"},
		{"what only looks like a gap", "a\n" + left + "b\n", 2, false, left + "b\n"},
		{"before a gap", "one\n" + left + "two\n", 2, true, "e\n<100>two\n"},
		{"within a gap", "one\n" + left + "two\n", 50, true, "<54>two\n"},
		{"behind a gap", "one\n" + left + "two\n", 106, true, "o\n"},
		{"a whole archive with a gap", "one\n" + left + "two\n", 0, true, "one\n" + left + "two\n"},
	} {
		s, out := spliced()
		s.next = c.next
		if err := s.archive(strings.NewReader(c.archive), c.dropped); err != nil {
			t.Fatal(err)
		}
		if out.String() != c.want {
			t.Errorf("%s: %q, want %q", c.name, out, c.want)
		}
	}
}
