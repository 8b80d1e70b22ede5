package workflow

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// load reads one workflow that must be sound.
func load(t testing.TB, text string) Workflow {
	t.Helper()
	set := Load([]File{{Path: Folder + "/ci.yml", Data: []byte(text)}})
	if len(set.Workflows) != 1 || set.Broken() {
		t.Fatalf("workflows %d, problems %v\n%s", len(set.Workflows), set.Problems, text)
	}
	return set.Workflows[0]
}

// errorsOf are the messages of a file's errors.
func errorsOf(text string) (messages []string) {
	for _, p := range Load([]File{{Path: Folder + "/ci.yml", Data: []byte(text)}}).Problems {
		if p.Severity == severityError {
			messages = append(messages, fmt.Sprintf("%d:%d %s", p.Line, p.Column, p.Message))
		}
	}
	return messages
}

// indented puts a text under a key.
func indented(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ") + "\n"
}

func paramsOf(t testing.TB, jobs []Job) []string {
	t.Helper()
	var list []string
	for _, j := range jobs {
		b, err := json.Marshal(j.Params)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, string(b))
	}
	return list
}

func TestMatrix(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, parametrize string
		want              []string
	}{
		{"M1 docs fruit", `
matrix: {fruit: [apple, pear], animal: [cat, dog]}
include:
  - {color: green}
  - {color: pink, animal: cat}
  - {fruit: apple, shape: circle}
  - {fruit: banana}
  - {fruit: banana, animal: cat}`, []string{
			`{"fruit":"apple","animal":"cat","color":"pink","shape":"circle"}`,
			`{"fruit":"apple","animal":"dog","color":"green","shape":"circle"}`,
			`{"fruit":"pear","animal":"cat","color":"pink"}`,
			`{"fruit":"pear","animal":"dog","color":"green"}`,
			`{"fruit":"banana"}`,
			`{"fruit":"banana","animal":"cat"}`,
		}},
		{"M2 partial exclude", `
matrix: {os: [macos, windows], version: [12, 14, 16], environment: [staging, production]}
exclude:
  - {os: macos, version: 12, environment: production}
  - {os: windows, version: 16}`, []string{
			`{"os":"macos","version":12,"environment":"staging"}`,
			`{"os":"macos","version":14,"environment":"staging"}`,
			`{"os":"macos","version":14,"environment":"production"}`,
			`{"os":"macos","version":16,"environment":"staging"}`,
			`{"os":"macos","version":16,"environment":"production"}`,
			`{"os":"windows","version":12,"environment":"staging"}`,
			`{"os":"windows","version":12,"environment":"production"}`,
			`{"os":"windows","version":14,"environment":"staging"}`,
			`{"os":"windows","version":14,"environment":"production"}`,
		}},
		{"M3 add back", `
matrix: {python: ["3.10", "3.11"], machine: [CPU, T4]}
exclude: [{machine: T4}]
include: [{python: "3.11", machine: T4, interruptible: true}]`, []string{
			`{"python":"3.10","machine":"CPU"}`,
			`{"python":"3.11","machine":"CPU"}`,
			`{"python":"3.11","machine":"T4","interruptible":true}`,
		}},
		{"M4 include only", `
include: [{site: production, dc: a}, {site: staging, dc: b}]`, []string{
			`{"site":"production","dc":"a"}`,
			`{"site":"staging","dc":"b"}`,
		}},
		{"M5 expand one", `
matrix: {os: [windows, ubuntu], node: [12, 14, 16]}
include: [{os: windows, node: 16, npm: 6}]`, []string{
			`{"os":"windows","node":12}`,
			`{"os":"windows","node":14}`,
			`{"os":"windows","node":16,"npm":6}`,
			`{"os":"ubuntu","node":12}`,
			`{"os":"ubuntu","node":14}`,
			`{"os":"ubuntu","node":16}`,
		}},
		{"M6 new axis value", `
matrix: {os: [windows, ubuntu], node: [14]}
include: [{os: windows, node: 17}]`, []string{
			`{"os":"windows","node":14}`,
			`{"os":"ubuntu","node":14}`,
			`{"os":"windows","node":17}`,
		}},
		{"M7 the original's example", `
matrix: {image: [py3.10, py3.11], machine: [CPU, L4, T4]}
exclude: [{image: py3.10, machine: L4}]`, []string{
			`{"image":"py3.10","machine":"CPU"}`,
			`{"image":"py3.10","machine":"T4"}`,
			`{"image":"py3.11","machine":"CPU"}`,
			`{"image":"py3.11","machine":"L4"}`,
			`{"image":"py3.11","machine":"T4"}`,
		}},
		{"M8 all excluded", `
matrix: {os: [linux]}
exclude: [{os: linux}]`, nil},
		{"M9 all excluded, one included", `
matrix: {os: [linux]}
exclude: [{os: linux}]
include: [{os: bsd}]`, []string{`{"os":"bsd"}`}},
		{"M10 objects", `
matrix: {os: [ubuntu, macos], node: [{version: 14}, {version: 20, env: X}]}`, []string{
			`{"os":"ubuntu","node":{"version":14}}`,
			`{"os":"ubuntu","node":{"env":"X","version":20}}`,
			`{"os":"macos","node":{"version":14}}`,
			`{"os":"macos","node":{"env":"X","version":20}}`,
		}},
		{"M10 objects, excluded by a leaf", `
matrix: {os: [ubuntu, macos], node: [{version: 14, env: Y}, {version: 20, env: X}]}
exclude: [{node: {version: 14}}]`, []string{
			`{"os":"ubuntu","node":{"env":"X","version":20}}`,
			`{"os":"macos","node":{"env":"X","version":20}}`,
		}},
		{"no matrix is one job", `{}`, []string{`{}`}},
		{"an empty matrix is one job", `{matrix: {}, include: [], exclude: []}`, []string{`{}`}},
		{"include and exclude inside matrix, as GitHub has them", `
matrix:
  os: [a, b]
  exclude: [{os: a}]
  include: [{os: c}]`, []string{`{"os":"b"}`, `{"os":"c"}`}},
		{"an entry that only matches adds nothing", `
matrix: {os: [a, b]}
include: [{os: a}]`, []string{`{"os":"a"}`, `{"os":"b"}`}},
		{"a later entry overwrites an extra, never an axis", `
matrix: {os: [a]}
include: [{os: A, x: 1}, {x: 2}]`, []string{`{"os":"a","x":2}`}},
		{"entries never merge into appended ones", `
matrix: {os: [a]}
include: [{os: b}, {x: 1}]`, []string{`{"os":"a","x":1}`, `{"os":"b"}`}},
		{"texts match without case, kinds as numbers", `
matrix: {os: [Linux, mac], v: ["3", 4]}
exclude: [{os: LINUX, v: 3.0}, {os: mac, v: "4"}]`, []string{
			`{"os":"Linux","v":4}`, `{"os":"mac","v":"3"}`,
		}},
		{"true matches 1 and null matches nothing written", `
matrix: {flag: [true, false], n: [null, "x"]}
exclude: [{flag: 1, n: ""}]`, []string{
			`{"flag":true,"n":"x"}`, `{"flag":false,"n":null}`, `{"flag":false,"n":"x"}`,
		}},
		{"lists are compared whole", `
matrix: {args: [[a, b], [a]]}
exclude: [{args: [a]}]`, []string{`{"args":["a","b"]}`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := load(t, "run: make\nparametrize:\n"+indented(c.parametrize))
			if have := paramsOf(t, w.Jobs(Event{})); !slices.Equal(have, c.want) {
				t.Errorf("have\n%s\nwant\n%s", strings.Join(have, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

func TestMatrixErrors(t *testing.T) {
	t.Parallel()
	// M12: 257 combinations.
	values := func(n int) string {
		list := "0"
		for i := 1; i < n; i++ {
			list += fmt.Sprintf(", %d", i)
		}
		return list
	}
	long := "run: make\nparametrize: {matrix: {a: [" + values(257) + "]}}"
	if have, want := errorsOf(long), "2:14 the matrix has 257 combinations; at most 256 are allowed"; len(have) != 1 || have[0] != want {
		t.Errorf("M12: have %q, want %q", have, want)
	}
	if w := load(t, "run: make\nparametrize: {matrix: {a: ["+values(256)+"]}}"); len(w.Jobs(Event{})) != 256 {
		t.Errorf("256 combinations: %d jobs", len(w.Jobs(Event{})))
	}
	if w := load(t, "run: make\nparametrize: {matrix: {a: ["+values(257)+"]}, exclude: [{a: 7}]}"); len(w.Jobs(Event{})) != 256 {
		t.Errorf("257 combinations less one: %d jobs", len(w.Jobs(Event{})))
	}
	// The product is refused before it is built.
	many := "run: make\nparametrize: {matrix: {"
	for i := range 60 {
		many += fmt.Sprintf("a%d: [1, 2, 3], ", i)
	}
	if have := errorsOf(many + "}}"); len(have) != 1 || !strings.Contains(have[0], "multiplies to more than 4096") {
		t.Errorf("3^60 combinations: %q", have)
	}
}

func TestRepeatedValues(t *testing.T) {
	t.Parallel()
	set := Load([]File{{Path: Folder + "/ci.yml", Data: []byte("run: make\nparametrize:\n  matrix:\n    n: [1]\n    a: [1, x, 1, X]\n")}})
	var have []string
	for _, p := range set.Problems {
		if p.Severity == severityWarning {
			have = append(have, line(p))
		}
	}
	want := []string{
		"ci.yml:5:15: warning: the number 1 is in the list of \"a\" twice; it is at line 5 already\n",
		"ci.yml:5:18: warning: \"X\" in the list of \"a\" counts as \"x\", which is at line 5 already\n",
	}
	if !slices.Equal(have, want) {
		t.Errorf("have %q, want %q", have, want)
	}
}

func TestCheckNames(t *testing.T) {
	t.Parallel()
	push := Event{Kind: EventPush, Branch: "main"}
	pull := Event{Kind: EventPullRequest, Branch: "main"}
	queue := Event{Kind: EventMergeGroup, Branch: "main"}
	long := strings.Repeat("ä", 200)
	for _, c := range []struct {
		name, text string
		event      Event
		want       []string
	}{
		{
			"extras do not show", "name: T\nrun: make\nparametrize: {matrix: {a: [1, x]}, include: [{a: 1, extra: e}, {a: y, extra: e}]}", pull,
			[]string{"ci.yml / T (1)", "ci.yml / T (x)", "ci.yml / T (y, e)"},
		},
		{
			"values in the order of the axes", "name: T\nrun: make\nparametrize: {matrix: {b: [1], a: [true], c: [null]}}", pull,
			[]string{"ci.yml / T (1, true, )"},
		},
		{"no matrix", "name: T\nrun: make", pull, []string{"ci.yml / T"}},
		{"no name", "run: make", pull, []string{"ci.yml / ci"}},
		{"objects as JSON", "name: T\nrun: make\nparametrize: {matrix: {n: [{v: 1}]}}", pull, []string{`ci.yml / T ({"v":1})`}},
		{"a push of a workflow for both", "name: T\nrun: make", push, []string{"ci.yml / T [push]"}},
		{"a push of a workflow for pushes", "name: T\ntrigger: push\nrun: make", push, []string{"ci.yml / T"}},
		{"a push where pull requests are off", "name: T\ntrigger: {push: , pull_request: false}\nrun: make", push, []string{"ci.yml / T"}},
		{"the queue has the names of pull requests", "name: T\nrun: make", queue, []string{"ci.yml / T"}},
		{"one line", "name: |\n  T\n  U\nrun: make", pull, []string{"ci.yml / T U"}},
		{
			"cut with a hash", "name: T\nrun: make\nparametrize: {matrix: {a: [" + long + "]}}", pull,
			[]string{"ci.yml / T (" + long[:2*79] + "…" + "506494f2"},
		},
		{
			"cut with a hash, the suffix stays", "name: T\nrun: make\nparametrize: {matrix: {a: [" + long + "]}}", push,
			[]string{"ci.yml / T (" + long[:2*72] + "…" + "506494f2 [push]"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var have []string
			for _, j := range load(t, c.text).Jobs(c.event) {
				have = append(have, j.Check)
				if n := len([]rune(j.Check)); n > maxCheck {
					t.Errorf("%d characters", n)
				}
			}
			if !slices.Equal(have, c.want) {
				t.Errorf("have %q, want %q", have, c.want)
			}
		})
	}
	if have := load(t, "name: T\nrun: make\nparametrize: {matrix: {a: [1]}}").Check(push); have != "ci.yml / T [push]" {
		t.Errorf("skipped: %q", have)
	}
}

func TestJobOverrides(t *testing.T) {
	t.Parallel()
	w := load(t, `
image: base:1
machine: CPU
env: {PY: "3.9", KEEP: 3.10, ON: true, EMPTY: , HEX: 0x10}
timeout: 30
run: make
parametrize:
  matrix: {image: [a:1, b:2], python-version: ["3.10"]}
  include:
    - {image: b:2, machine: T4, timeout: 5, queue_timeout: 7, interruptible: true, continue_on_error: true, mode: debug, pool: desk, 1st: x}
`)
	jobs := w.Jobs(Event{})
	if len(jobs) != 2 {
		t.Fatalf("%d jobs", len(jobs))
	}
	a, b := jobs[0], jobs[1]
	if a.Image != "a:1" || a.Machine != "CPU" || a.TimeoutMinutes != 30 || a.QueueTimeoutMinutes != 0 || a.Interruptible || a.Options.ContinueOnError || a.Mode != "info" || a.Pool != "" {
		t.Errorf("first: %+v", a)
	}
	if b.Image != "b:2" || b.Machine != "T4" || b.TimeoutMinutes != 5 || b.QueueTimeoutMinutes != 7 || !b.Interruptible || !b.Options.ContinueOnError || b.Mode != "debug" || b.Pool != "desk" {
		t.Errorf("second: %+v", b)
	}
	for name, want := range map[string]string{
		"PY": "3.9", "KEEP": "3.10", "ON": "true", "EMPTY": "", "HEX": "0x10", "python_version": "3.10", "image": "b:2", "_1st": "x", "timeout": "5",
	} {
		if have, ok := b.Env[name]; !ok || have != want {
			t.Errorf("env %s: have %q, want %q", name, have, want)
		}
	}
	if _, ok := a.Env["_1st"]; ok {
		t.Error("the first job's env holds what the second's include adds")
	}
}

func TestEnvName(t *testing.T) {
	t.Parallel()
	for have, want := range map[string]string{"a": "a", "python-version": "python_version", "3d": "_3d", "": "_", "ä.b": "__b", "A_1": "A_1"} {
		if name := EnvName(have); name != want {
			t.Errorf("EnvName(%q) is %q, want %q", have, name, want)
		}
	}
}
