package executortest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/litci/litci/pkg/executor"
)

// canaryValue is looked for everywhere in the environment of jobs.
const canaryValue = "canary-7f1d9c55e0"

// scripts shows that a script is a file with the bytes that were given: bash reads
// them in its own way, and the file's hash is printed from within.
func scripts(s *suite) {
	const hash = "sha256sum <\"$0\" | cut -d' ' -f1\n"
	for name, test := range map[string]struct{ script, want string }{
		"a heredoc that ends with EOF": {"cat <<EOF\n$((1+1)) \"two\" 'three' \\\\\nEOF\n", "2 \"two\" 'three' \\\n"},
		"zero bytes":                   {"echo one\n# \x00\x00\n: 'a\x00b'\necho two\n", "one\ntwo\n"},
		"1 MB":                         {strings.Repeat("# 0123456789abcdef\n", 1<<20/19) + "echo end\n", "end\n"},
		"CRLF":                         {"printf '%s|' a\r\nprintf '%s|' b\r\n", "a\r|b\r|"},
		"no newline at the end":        {"echo end", "end\n"},
		"quotes, dollars, backslashes": {"echo \"\\$HOME\" '$(false)' '\\' \"`echo x`\"\n", "$HOME $(false) \\ x\n"},
		"invalid UTF-8":                {"printf '%s' '\xff\xfe'\n", "\xff\xfe"},
	} {
		script := test.script
		if name != "no newline at the end" {
			script += hash
			sum := sha256.Sum256([]byte(script))
			test.want += hex.EncodeToString(sum[:]) + "\n"
		}
		state, log := s.run(s.spec(script))
		if state.ExitCode == nil || *state.ExitCode != 0 {
			s.Errorf("%s: %s, exit code %s", name, describe(state), codeOf(state))
		}
		// bash warns about zero bytes in some places.
		if log != test.want && !strings.HasSuffix(log, test.want) {
			s.Errorf("%s: log is %q, want %q", name, log, test.want)
		}
	}
}

// environmentOf runs env and decodes what it prints.
func (s *suite) environmentOf(spec executor.Spec) map[string]string {
	s.Helper()
	spec.Script = []byte("env -0 | base64 -w0\n")
	state, log := s.run(spec)
	s.exited(state, 0)
	data, err := base64.StdEncoding.DecodeString(log)
	if err != nil {
		s.Fatalf("environment: %v", err)
	}
	env := map[string]string{}
	for entry := range strings.SplitSeq(strings.TrimSuffix(string(data), "\x00"), "\x00") {
		name, value, _ := strings.Cut(entry, "=")
		env[name] = value
	}
	return env
}

func environmentExact(s *suite) {
	spec := s.spec("")
	want := map[string]string{
		"LINES_OF":    "one\ntwo\n\nthree\n",
		"QUOTES":      `it's "quoted" and \back\ $HOME $(id) ` + "`id`",
		"EMPTY":       "",
		"EQUALS":      "a=b=c",
		"SPACES":      "  both ends  ",
		"UNICODE":     "größer ✓",
		"CARRIAGE":    "a\r\nb",
		"LARGE":       strings.Repeat("x", 100_000),
		"lower_case":  "1",
		"CI":          "true",
		"GITHUB_SHA":  "0123456789abcdef0123456789abcdef01234567",
		"GIT_EDITOR":  "the workflow's own",
		"LITCI_THING": "1",
	}
	maps.Copy(spec.Env, want)
	got := s.environmentOf(spec)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if value, there := got[name]; !there || value != want[name] {
			s.Errorf("%s is %.80q (%t), want %.80q", name, value, there, want[name])
		}
	}
}

// fromBash are the names that bash exports by itself.
func fromBash() []string { return []string{"PWD", "OLDPWD", "SHLVL", "_"} }

func environmentClean(s *suite) {
	spec := s.spec("")
	spec.Env["ASKED_FOR"] = "yes"
	got := s.environmentOf(spec)
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if strings.Contains(got[name], canaryValue) {
			s.Errorf("%s holds what is only in our own environment", name)
		}
		_, asked := spec.Env[name]
		if !asked && !slices.Contains(s.opts.Environment, name) && !slices.Contains(fromBash(), name) {
			s.Errorf("%s=%q was not asked for", name, got[name])
		}
	}
	for _, name := range []string{"PATH", "HOME", "ASKED_FOR"} {
		if got[name] == "" {
			s.Errorf("%s is not set", name)
		}
	}
}

func environmentRefused(s *suite) {
	for _, env := range []map[string]string{{"": "x"}, {"A=B": "x"}, {"A\x00B": "x"}, {"A": "x\x00y"}} {
		spec := s.spec("true\n")
		spec.Env = env
		h, err := s.executor.Start(s.Context(), spec)
		if err == nil {
			s.cleanup(h)
		}
		if _, refused := errors.AsType[*executor.StartError](err); !refused {
			s.Errorf("environment %q: %v", env, err)
		}
	}
}
