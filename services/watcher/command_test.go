package watcher

import (
	"slices"
	"strings"
	"testing"
)

func TestParseCommand(t *testing.T) {
	tests := map[string]struct {
		line string
		want command
		ok   bool
	}{
		"simple":              {"::debug::text", command{"debug", "text"}, true},
		"with properties":     {"::error file=a.go,line=3::bad", command{"error", "bad"}, true},
		"in capitals":         {"::ADD-MASK::x", command{"add-mask", "x"}, true},
		"behind spaces":       {"  ::group::x", command{"group", "x"}, true},
		"escaped":             {"::error::a%0Ab%25", command{"error", "a\nb%"}, true},
		"escaped percent":     {"::error::%250A", command{"error", "%0A"}, true},
		"empty data":          {"::endgroup::", command{"endgroup", ""}, true},
		"colons in the data":  {"::error::a::b", command{"error", "a::b"}, true},
		"in the middle":       {"x ::error::y", command{}, false},
		"not ended":           {"::error", command{}, false},
		"without a name":      {":: ::x", command{}, false},
		"a path in C++":       {"std::vector", command{}, false},
		"a header of nothing": {"::::", command{}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got, ok := parseCommand(test.line); got != test.want || ok != test.ok {
				t.Errorf("parseCommand(%q) = %v, %v", test.line, got, ok)
			}
		})
	}
}

func lines(masks []string, log string) []string {
	var got []string
	p := newPipeline(newMasker(masks), func(line string) { got = append(got, line) })
	p.write([]byte(log))
	p.flush()
	return got
}

func TestPipeline(t *testing.T) {
	tests := map[string]struct {
		log  string
		want []string
	}{
		"a mask hides what follows and is not stored": {
			"early hunter22\n::add-mask::hunter22\nlate hunter22\n", []string{"early hunter22", "late ***"},
		},
		"a mask in colours": {"\x1b[1m::add-mask::hunter22\x1b[0m\r\nhunter22", []string{"***"}},
		"a mask of several lines": {
			"::add-mask::first line%0Asecond line\nsecond line\n", []string{"***"},
		},
		"a secret in colours": {"::add-mask::hunter22\nhun\x1b[31mter22\n", []string{"***"}},
		"a mask between stopped commands is text": {
			"::stop-commands::tok\n::add-mask::hunter22\n::tok::\nhunter22\n::add-mask::hunter22\nhunter22\n",
			[]string{"::stop-commands::tok", "::add-mask::hunter22", "::tok::", "hunter22", "***"},
		},
		"given values are hidden from the start": {"x given-secret\n", []string{"x ***"}},
		"an empty mask hides nothing":            {"::add-mask::\na b\n", []string{"a b"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := lines([]string{"given-secret"}, test.log); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestPipelineHidesSecretsInLongLines(t *testing.T) {
	const value = "a secret of some length"
	for shift := range 60 {
		log := strings.Repeat("x", maxLine-30+shift) + value + strings.Repeat("y", maxLine) + "\n"
		got := strings.Join(lines([]string{value}, log), "")
		if want := strings.ReplaceAll(strings.TrimSuffix(log, "\n"), value, redacted); got != want {
			t.Fatalf("shifted by %d: %d bytes, want %d", shift, len(got), len(want))
		}
	}
}

func TestPipelineDoesNotStoreALongMask(t *testing.T) {
	value := strings.Repeat("0123456789", maxLine/5)
	got := lines(nil, "a\n::add-mask::"+value+"\nb\n"+value[:1000]+"\n")
	if len(got) != 3 || got[0] != "a" || got[1] != "b" {
		t.Errorf("%d lines: %.80q", len(got), got)
	}
}

func TestPipelineNotesStandOnLinesOfTheirOwn(t *testing.T) {
	var got []string
	p := newPipeline(newMasker(nil), func(line string) { got = append(got, line) })
	p.write([]byte("half a line"))
	p.note("[a note]")
	p.write([]byte("the rest\n"))
	p.flush()
	if want := []string{"half a line", "[a note]", "the rest"}; !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}
