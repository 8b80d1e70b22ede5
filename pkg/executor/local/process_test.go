package local

import (
	"os"
	"slices"
	"testing"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	const rest = " 7 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1000 10"
	for name, test := range map[string]struct {
		line string
		want process
		fail bool
	}{
		"plain":           {line: "42 (bash) S" + rest, want: process{pid: 42, parent: 7, group: 12, state: 'S', born: 987654}},
		"spaces":          {line: "42 (a b) R" + rest, want: process{pid: 42, parent: 7, group: 12, state: 'R', born: 987654}},
		"forged end":      {line: "42 (x) Z 1 1 1) S" + rest, want: process{pid: 42, parent: 7, group: 12, state: 'S', born: 987654}},
		"no parenthesis":  {line: "42 bash S", fail: true},
		"too short":       {line: "42 (bash) S 7 12", fail: true},
		"malformed birth": {line: "42 (bash) S 7 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 x 1000 10", fail: true},
		"empty":           {fail: true},
	} {
		got, err := parseStat(42, []byte(test.line))
		if (err != nil) != test.fail || got != test.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestInspectSelf(t *testing.T) {
	t.Parallel()
	p, err := inspect(os.Getpid())
	if err != nil || p.parent != os.Getppid() || p.dead() || p.born == 0 {
		t.Errorf("this process is %+v, %v", p, err)
	}
	// A process with the number and another birth is not the one that was seen.
	p.born++
	if err := p.signal(0); err == nil {
		t.Error("a stranger was signalled")
	}
	if err := p.signalByNumber(0); err == nil {
		t.Error("a stranger was signalled by number")
	}
	p.born--
	if err := p.signalByNumber(0); err != nil {
		t.Errorf("this process by number: %v", err)
	}
}

func TestEnvironmentFile(t *testing.T) {
	t.Parallel()
	want := []string{"A=1", "B=", "C=two\nlines", "D=\xff"}
	if got := decodeEnv(encodeEnv(want)); !slices.Equal(got, want) {
		t.Errorf("environment is %q, want %q", got, want)
	}
	if got := decodeEnv(nil); got == nil || len(got) != 0 {
		t.Errorf("an empty file gives %#v, which would mean our own environment", got)
	}
}

func TestSearchPath(t *testing.T) {
	t.Parallel()
	if got := searchPath("/opt/bin"); got != "/opt/bin" {
		t.Errorf("path is %q", got)
	}
	if got := searchPath(""); got != defaultPath && got != defaultPath+":"+goBin {
		t.Errorf("path is %q", got)
	}
}
