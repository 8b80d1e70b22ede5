package workflow

import (
	"bytes"
	"fmt"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/litci/litci/pkg/flow"
)

func TestExamples(t *testing.T) {
	t.Parallel()
	var files []File
	for _, p := range glob(t, "testdata/examples/*.yml") {
		files = append(files, File{Path: Folder + "/" + path.Base(p), Data: read(t, p)})
	}
	set := Load(files)
	if len(set.Problems) > 0 || len(set.Workflows) != len(files) {
		t.Fatalf("%d workflows, problems %v", len(set.Workflows), set.Problems)
	}
	want := map[string][]string{
		"gpu-matrix.yml": {
			"gpu-matrix.yml / Unit tests (python:3.12-slim, CPU)",
			"gpu-matrix.yml / Unit tests (python:3.12-slim, T4)",
			"gpu-matrix.yml / Unit tests (python:3.13-slim, CPU)",
			"gpu-matrix.yml / Unit tests (python:3.13-slim, A10G)",
			"gpu-matrix.yml / Unit tests (python:3.13-slim, T4)",
		},
		"single.yml": {"single.yml / Docs build"},
		"everything.yml": {
			"everything.yml / Everything (linux, 1.25)",
			"everything.yml / Everything (linux, 1.26)",
			"everything.yml / Everything (bsd, 1.26)",
		},
	}
	for _, w := range set.Workflows {
		var have []string
		for _, j := range w.Jobs(Event{Kind: EventPullRequest}) {
			have = append(have, j.Check)
			for _, name := range []string{"image", "machine"} {
				if value, ok := j.Params.Get(name); ok && value != map[string]string{"image": j.Image, "machine": j.Machine}[name] {
					t.Errorf("%s: %s of the matrix is %v, of the job %s on %s", j.Check, name, value, j.Image, j.Machine)
				}
			}
		}
		if !slices.Equal(have, want[w.File]) {
			t.Errorf("%s: have %q, want %q", w.File, have, want[w.File])
		}
	}
}

// TestEveryKey compares the whole of a workflow, so that no key is read and lost.
func TestEveryKey(t *testing.T) {
	t.Parallel()
	set := Load([]File{
		{Path: Folder + "/everything.yml", Data: read(t, "testdata/examples/everything.yml")},
		{Path: Folder + "/single.yml", Data: read(t, "testdata/examples/single.yml")},
	})
	if len(set.Workflows) != 2 {
		t.Fatalf("problems %v", set.Problems)
	}
	have := set.Workflows[0]
	one := 1
	want := Workflow{
		File: "everything.yml", Path: Folder + "/everything.yml", Name: "Everything", Line: 2,
		Triggers: have.Triggers, // compared below, by their words
		Image:    "golang:1.26", Machine: "CPU", Interruptible: true, TimeoutMinutes: 30, QueueTimeoutMinutes: 90,
		Mode: "info", Pool: "gpu-desk", Env: map[string]string{"GOFLAGS": "-mod=mod", "VERSION": "1.20", "EMPTY": ""},
		Script: "go test ./...",
		Options: flow.Options{
			FailFast: true, MaxParallel: 2, Needs: []string{"single.yml"}, Always: true,
			Concurrency: &flow.Concurrency{Group: "everything", CancelInProgress: true, Queue: "latest"},
			Retry:       flow.Retry{Infra: &one, OnExit: []int{75, 100}, Limit: 2},
			Checkout:    "merge", Resources: flow.Resources{CPU: "500m", Memory: "4Gi", GPUs: 1},
		},
		combinations: have.combinations, needLines: have.needLines,
	}
	if !reflect.DeepEqual(have, want) {
		t.Errorf("have %+v\nwant %+v", have, want)
	}
	var triggers []string
	for _, tr := range have.Triggers {
		triggers = append(triggers, fmt.Sprintln(tr.Event, tr.Types, tr.Branches, tr.Tags, tr.Paths, tr.SkipDrafts))
	}
	if words := []string{
		"pull_request [opened synchronize reopened labeled] branches [main] <nil> paths-ignore [docs/**] true\n",
		"push [] branches [main] tags [v[0-9]+.*] <nil> false\n",
		"merge_group [] branches [main] <nil> <nil> false\n",
	}; !slices.Equal(triggers, words) {
		t.Errorf("have %q\nwant %q", triggers, words)
	}
	jobs := have.Jobs(Event{})
	if jobs[0].Options.ContinueOnError || !jobs[1].Options.ContinueOnError || jobs[1].Machine != "L4" || jobs[1].Options.MaxParallel != 2 {
		t.Errorf("jobs %+v", jobs)
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	w := load(t, "run: make")
	if w.Image != "ubuntu:22.04" || w.Machine != "CPU" || w.TimeoutMinutes != 60 || w.Options.FailFast || w.Name != "ci" || w.File != "ci.yml" || w.Mode != "info" {
		t.Errorf("%+v", w)
	}
}

func TestSeveralInOneFile(t *testing.T) {
	t.Parallel()
	set := Load([]File{{Path: SingleFile, Data: read(t, "testdata/examples/several.litci.yaml")}})
	if len(set.Problems) > 0 || len(set.Workflows) != 3 {
		t.Fatalf("%d workflows, problems %v", len(set.Workflows), set.Problems)
	}
	have := ""
	for _, w := range set.Workflows {
		have += fmt.Sprintln(w.Line, w.ID(), w.Check(Event{Kind: EventPullRequest}), w.Image, w.TimeoutMinutes, w.Env["CGO_ENABLED"], w.Env["LEVEL"], w.Options.Needs)
	}
	if want := `7 vet .litci.yaml / vet golang:1.26 20 0 common []
9 test .litci.yaml / test golang:1.26 40 0 own [vet]
14 lint .litci.yaml / lint golangci/golangci-lint:v2 20 0 common [vet test]
`; have != want {
		t.Errorf("have\n%swant\n%s", have, want)
	}
	one := Load([]File{{Path: SingleFile, Data: []byte("run: make")}})
	if len(one.Workflows) != 1 || one.Workflows[0].Check(Event{}) != ".litci.yaml / litci" {
		t.Errorf("one workflow: %+v", one)
	}
}

func TestSelect(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, paths, files, notice string
	}{
		{"the folder, sorted", "b/a.yml .lightning/workflows/b.yaml .lightning/workflows/a.yml README.md", ".lightning/workflows/a.yml .lightning/workflows/b.yaml", ""},
		{"not below it, not other files", ".lightning/workflows/x/a.yml .lightning/workflows/a.json .lightning/a.yml x/.litci.yaml", "", ""},
		{"the single file", ".litci.yaml .lightning/workflows/README.md", ".litci.yaml", ""},
		{"the folder wins", ".litci.yaml .lightning/workflows/a.yml", ".lightning/workflows/a.yml", ".litci.yaml is not read, because .lightning/workflows holds workflow files."},
		{"the name misspelt", ".litci.yml", "", ".litci.yml is not read: the file's name is .litci.yaml."},
		{"nothing", "main.go", "", ""},
	} {
		files, notices := Select(strings.Fields(c.paths))
		if strings.Join(files, " ") != c.files || strings.Join(notices, " ") != c.notice {
			t.Errorf("%s: files %q, notices %q", c.name, files, notices)
		}
	}
}

func TestOneBrokenFileStopsNoOther(t *testing.T) {
	t.Parallel()
	set := Load([]File{
		{Path: Folder + "/a.yml", Data: []byte("run: make")},
		{Path: Folder + "/b.yml", Data: []byte("run: [")},
		{Path: Folder + "/c.yml", Data: []byte("run: make\nneeds: [b.yml]")},
		{Path: Folder + "/d.yml", Data: bytes.Repeat([]byte("# 10 MB\n"), 10<<20/8)},
	})
	if len(set.Workflows) != 2 || set.Workflows[0].File != "a.yml" || set.Workflows[1].File != "c.yml" {
		t.Errorf("workflows %+v", set.Workflows)
	}
	if len(set.Problems) != 2 || set.Problems[0].File != Folder+"/b.yml" || set.Problems[1] != (flow.Problem{
		File: Folder + "/d.yml", Severity: "error", Message: "the file has 10485760 bytes; a workflow file may have at most 1048576",
	}) {
		t.Errorf("problems %+v", set.Problems)
	}
	if !set.Broken() || (Set{}).Broken() {
		t.Error("Broken is wrong")
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	script := "run: |\n" + strings.Repeat("  "+strings.Repeat("x", 1023)+"\n", 256)
	if have := load(t, script).Script; len(have) != MaxScript {
		t.Errorf("a script of %d bytes", len(have))
	}
	for name, c := range map[string]struct{ text, want string }{
		"a script too long":   {script + "  x\n", "1:6 the script has 262146 bytes; at most 262144 are allowed: put it into a file of the repository"},
		"an env too large":    {"run: make\nenv: {A: " + strings.Repeat("x", 64<<10) + "}", `2:6 "env" has 65537 bytes; at most 65536 are allowed`},
		"a value too large":   {"run: make\nparametrize: {matrix: {a: [" + strings.Repeat("x", 4097) + "]}}", `2:28 the value of "a" has 4097 bytes; at most 4096 are allowed`},
		"a name too long":     {"run: make\nname: " + strings.Repeat("x", 257), `2:7 "name" has 257 bytes; at most 256 are allowed`},
		"too many tokens":     {"run: make\nx: [" + strings.Repeat("1,", 10_000), "2:19999 the file has more than 20000 YAML tokens; split it"},
		"too many patterns":   {"run: make\ntrigger: {push: {branches: [" + strings.Repeat("a,", 1001) + "]}}", `2:28 "branches" has 1001 patterns; at most 1000 are allowed`},
		"an axis too long":    {"run: make\nparametrize: {matrix: {a: [" + strings.Repeat("1,", 4097) + "]}}", `2:27 the matrix parameter "a" has 4097 values; at most 256 jobs are allowed`},
		"nested by dashes":    {"run: make\nx:\n " + strings.Repeat("- ", 30) + "1", "3:38 nested more than 20 levels deep"},
		"nested by lines":     {nested(30), "21:21 nested more than 20 levels deep"},
		"too many bad values": {"run: make\nenv: {" + strings.Repeat("-: 1, ", 60) + "}", "0:0 more than 50 errors; the rest is not shown"},
	} {
		if have := errorsOf(c.text); len(have) == 0 || !slices.Contains(have, c.want) {
			t.Errorf("%s: have %.300q, want %q", name, have, c.want)
		}
	}
}

// What several workflows share is warned of once.
func TestExpressionsInDefaults(t *testing.T) {
	t.Parallel()
	set := Load([]File{{Path: SingleFile, Data: []byte(`
defaults: {image: "a:${{ matrix.a }}"}
workflows:
  - {name: a, run: make}
  - {name: b, run: "echo \x24{{ github.ref }} ${{ github.event.number }}"}
`)}})
	var have []string
	for _, p := range set.Problems {
		have = append(have, line(p))
	}
	want := []string{
		SingleFile + `:2:22: warning: litci has no expressions, so "${{ matrix.a }}" stays as it is; for one image a job, call a parameter of the matrix "image" and list them there` + "\n",
		SingleFile + `:5:20: warning: litci has no expressions, so "${{ github.ref }}" stays as it is; write the environment variable $GITHUB_REF` + "\n",
		SingleFile + `:5:47: warning: litci has no expressions, so "${{ github.event.number }}" stays as it is; write it in bash` + "\n",
	}
	if !slices.Equal(have, want) || len(set.Workflows) != 2 {
		t.Errorf("have %q, want %q", have, want)
	}
}

func TestTooManyFiles(t *testing.T) {
	t.Parallel()
	var files []File
	for i := range MaxFiles + 1 {
		files = append(files, File{Path: fmt.Sprintf("%s/%03d.yml", Folder, i), Data: []byte("run: make")})
	}
	if set := Load(files[:MaxFiles]); len(set.Workflows) != MaxFiles || len(set.Problems) != 0 {
		t.Errorf("at the limit: %d workflows, problems %v", len(set.Workflows), set.Problems)
	}
	set := Load(files)
	want := "there are 101 workflow files; a commit may have at most 100, so none of them is read and nothing starts"
	if len(set.Workflows) != 0 || !set.Broken() || len(set.Problems) != 1 || set.Problems[0].Message != want {
		t.Errorf("beyond it: %d workflows, problems %v", len(set.Workflows), set.Problems)
	}
}

func nested(depth int) string {
	var b strings.Builder
	for i := range depth {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func TestScalars(t *testing.T) {
	t.Parallel()
	w := load(t, `
run: make
env: &e {A: 1}
parametrize:
  matrix:
    v: [3.10, 010, 0x1F, 0o17, 1e3, 1_000, .5, +7, -0, .inf, yes, True, ~, "", '1', !!str 2, 2024-01-01, a:1, b:2:3, http://x/y, 12345678901234567890, 1.5e300]
`)
	want := `3.1 number|10 number|31 number|15 number|1000 number|1_000 text|0.5 number|7 number|0 number|.inf text|yes text|true bool| null| text|1 text|2 text|` +
		`2024-01-01 text|a:1 text|b:2:3 text|http://x/y text|12345678901234567890 number|1.5e+300 number`
	var have []string
	for _, j := range w.Jobs(Event{}) {
		kinds := map[string]string{"string": "text", "json.Number": "number", "bool": "bool", "<nil>": "null"}
		have = append(have, j.Params[0].Text()+" "+kinds[fmt.Sprintf("%T", j.Params[0].Value)])
	}
	if joined := strings.Join(have, "|"); joined != want {
		t.Errorf("have %s\nwant %s", joined, want)
	}
}

func TestAnchors(t *testing.T) {
	t.Parallel()
	w := load(t, `
run: make
env:
  <<: {A: common, B: common}
  B: own
parametrize:
  matrix:
    os: &os [linux, bsd]
    target: *os
`)
	if w.Env["A"] != "common" || w.Env["B"] != "own" {
		t.Errorf("env %v", w.Env)
	}
	if jobs := w.Jobs(Event{}); len(jobs) != 4 || jobs[3].Env["target"] != "bsd" {
		t.Errorf("jobs %+v", jobs)
	}
}

func TestTabsInText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"run: make\ttest":                 "make\ttest",
		"run: make\ttest\t# all":          "make\ttest",
		"run:\tmake":                      "make",
		"run: make\ta\n  b\tc\n\n  d":     "make\ta b\tc\nd",
		"run: |\n  make\ta\n  \tb":        "make\ta\n\tb",
		"run: \"make\ta\"":                "make\ta",
		"run: 'make\ta'":                  "make\ta",
		"run: x\nenv: {A: a\tb, B: 1\t2}": "x",
	} {
		w := load(t, text)
		if w.Script != want {
			t.Errorf("%q: have %q, want %q", text, w.Script, want)
		}
		if w.Env != nil && (w.Env["A"] != "a\tb" || w.Env["B"] != "1\t2") {
			t.Errorf("env %q", w.Env)
		}
	}
}

func TestColonsInFlow(t *testing.T) {
	t.Parallel()
	w := load(t, `
run: make
parametrize:
  matrix: {image: [python:3.10-slim, "b:2", reg:5000/x:1], opts: [{a: 1}, b: 2]}
  exclude: [{image: python:3.10-slim, opts: {a: 1}}]
`)
	var have []string
	for _, j := range w.Jobs(Event{}) {
		have = append(have, j.Image+" "+j.Params[1].Text())
	}
	if want := []string{`python:3.10-slim {"b":2}`, `b:2 {"a":1}`, `b:2 {"b":2}`, `reg:5000/x:1 {"a":1}`, `reg:5000/x:1 {"b":2}`}; !slices.Equal(have, want) {
		t.Errorf("have %q, want %q", have, want)
	}
}
