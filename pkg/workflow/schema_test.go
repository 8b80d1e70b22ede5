package workflow

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const schemaFile = "../../docs/workflow.schema.json"

// validator is the schema as an editor uses it.
func validator(t *testing.T) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("workflow.schema.json", document); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("workflow.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// value is a file's YAML as JSON; ok is false where it is no sound YAML.
func value(data []byte) (value any, ok bool) {
	r := &reader{}
	root := r.parse(data)
	if root == nil {
		return nil, false
	}
	return root.value(), true
}

func TestSchemaInDocsIsFresh(t *testing.T) {
	t.Parallel()
	if *update {
		if err := os.WriteFile(schemaFile, Schema(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(read(t, schemaFile), Schema()) {
		t.Error("docs/workflow.schema.json is not what litci schema prints; write it anew: litci schema > docs/workflow.schema.json")
	}
}

// Every file that litci itself shows is sound by the parser and by the schema.
func TestExamplesAreSoundBySchema(t *testing.T) {
	t.Parallel()
	schema := validator(t)
	files := glob(t, "testdata/examples/*")
	for _, pattern := range []string{"../../.lightning/workflows/*", "../../examples/*/.lightning/workflows/*"} {
		files = append(files, glob(t, pattern)...)
	}
	for _, name := range files {
		v, ok := value(read(t, name))
		if !ok {
			t.Errorf("%s is no YAML", name)
			continue
		}
		if err := schema.Validate(v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// notStructural are the broken files whose fault no schema of one file's structure
// can see, with the reason.
func notStructural() map[string]string {
	const (
		yaml    = "a fault of the YAML or its encoding, before there is a structure"
		refer   = "one place names what another must hold"
		grammar = "a text with a grammar of its own"
		place   = "depends on the file's name"
		warning = "a warning: the file is sound"
	)
	return map[string]string{
		"12-duplicate-key.yml": yaml, "13-tab.yml": yaml, "14-tab-deeper.yml": yaml, "17-latin1.yml": yaml,
		"18-utf16.yml": yaml, "19-control.yml": yaml, "20-empty.yml": yaml, "21-comments.yml": yaml,
		"23-two-documents.yml": yaml, "24-unclosed-bracket.yml": yaml, "25-unclosed-quote.yml": yaml,
		"26-indentation.yml": yaml, "27-alias-unknown.yml": yaml, "28-alias-bomb.yml": yaml, "29-alias-of-itself.yml": yaml,
		"30-deep.yml": yaml, "50-nested-mapping.yml": yaml, "51-merge-key.yml": yaml, "52-tag.yml": yaml,
		"56-list-as-key.yml": yaml, "57-blank-lines.yml": yaml, "58-long-key.yml": yaml, "63-nul.yml": yaml,
		"35-exclude-unknown.yml": refer, "38-colliding-names.yml": refer, "39-too-many.yml": refer, "59-equal-names.yml": refer,
		"42-needs.yml": refer, "43-circle.yml": refer, "44-circle.yml": refer,
		"48-workflows-in-folder.yml": place,
		"47-unquoted-versions.yml":   warning, "55-useless-filters.yml": warning, "62-expressions.yml": warning,
	}
}

// What the parser rejects for its structure the schema rejects, and what it
// cannot see is listed: both ways, so that neither grows unnoticed.
func TestSchemaRejectsWhatTheParserRejects(t *testing.T) {
	t.Parallel()
	schema := validator(t)
	exceptions := notStructural()
	for _, name := range append(glob(t, "testdata/broken/*.yml"), glob(t, "testdata/broken-single/*.yaml")...) {
		base := filepath.Base(name)
		reason, excepted := exceptions[base]
		delete(exceptions, base)
		v, isYAML := value(read(t, name))
		if !isYAML {
			if !strings.Contains(reason, "YAML") {
				t.Errorf("%s is no sound YAML, and is not listed so", base)
			}
			continue
		}
		err := schema.Validate(v)
		switch {
		case err == nil && !excepted:
			t.Errorf("%s: the parser rejects it, the schema does not", base)
		case err != nil && excepted:
			t.Errorf("%s is listed (%s), but the schema rejects it: %v", base, reason, err)
		}
	}
	for name := range exceptions {
		t.Errorf("%s is listed and is not there", name)
	}
}

// Values at the edge of what a key takes: parser and schema say the same.
func TestSchemaAgreesWithTheParser(t *testing.T) {
	t.Parallel()
	schema := validator(t)
	for _, text := range []string{
		"run: make", "run: 5", "run: ' '", "name: 3.10\nrun: a", "name:\nrun: a", "trigger:\nrun: a", "trigger: push\nrun: a",
		"trigger: []\nrun: a", "trigger: {}\nrun: a", "trigger: [push, push]\nrun: a", "trigger: {push: true, pull_request: false}\nrun: a",
		"trigger: {push: yes}\nrun: a", "trigger: {push: {branches: []}}\nrun: a", "trigger: {push: {branches: main}}\nrun: a",
		"trigger: {push: {branches: '!main'}}\nrun: a", "trigger: {push: {branches: ['!main', '**']}}\nrun: a",
		"trigger: {push: {branches: ['!', '**']}}\nrun: a", "trigger: {push: {branches: [1.0]}}\nrun: a", "trigger: {push: {tags-ignore: ['!a']}}\nrun: a",
		"trigger: {push: {tags: a, tags-ignore: b}}\nrun: a", "trigger: {pull_request: {types: opened}}\nrun: a", "trigger: {pull_request: {types: []}}\nrun: a",
		"trigger: {merge_group: {types: [checks_requested]}}\nrun: a", "trigger: {merge_group: {types: [destroyed]}}\nrun: a", "trigger: {push: {types: [opened]}}\nrun: a",
		"timeout: 1\nrun: a", "timeout: 0\nrun: a", "timeout: 10080\nrun: a", "timeout: 10081\nrun: a", "timeout: 1.5\nrun: a", "timeout: 2.0\nrun: a",
		"max_parallel: 256\nrun: a", "max_parallel: 257\nrun: a", "env:\nrun: a", "env: {A: , B: 1, C: true}\nrun: a", "env: [A]\nrun: a", "env: {a-b: 1}\nrun: a",
		"env: {GITHUB_SHA: 1}\nrun: a", "env: {RUNNER_OS: 1}\nrun: a", "env: {LITCI: 1}\nrun: a", "env: {LITCI_X: 1}\nrun: a",
		"env: {CI: 1, LITCIX: 1, GITHUB: 1, github_sha: 1, MY_GITHUB_SHA: 1}\nrun: a",
		"parametrize: {matrix: {GITHUB-SHA: [1]}}\nrun: a", "parametrize: {matrix: {LITCI: [1]}}\nrun: a", "parametrize: {include: [{RUNNER.OS: 1}]}\nrun: a",
		"parametrize: {matrix: {LITCI x: [1]}}\nrun: a", "parametrize: {matrix: {GITHUB: [1], github_sha: [2], CI: [3]}}\nrun: a",
		"needs: []\nrun: a", "needs: {}\nrun: a", "needs: [other.yml]\nrun: a", "needs: ''\nrun: a", "if: always\nrun: a", "if: true\nrun: a",
		"concurrency: a\nrun: a", "concurrency: ''\nrun: a", "concurrency: {group: a, queue: all}\nrun: a", "concurrency: {group: a, queue: all, cancel_in_progress: true}\nrun: a",
		"concurrency: [a]\nrun: a", "retry: {infra: 0}\nrun: a", "retry: {infra: 5}\nrun: a", "retry: {on_exit: 1}\nrun: a", "retry: {on_exit: 0}\nrun: a",
		"retry: {on_exit: [1], limit: 4}\nrun: a", "retry: {limit: 1}\nrun: a", "retry:\nrun: a", "resources: {cpu: 2, memory: 512Mi}\nrun: a", "resources: {cpu: 0.5}\nrun: a",
		"resources: {cpu: -1}\nrun: a", "resources: {memory: 4 GB}\nrun: a", "resources: {gpus: 65}\nrun: a", "pool: a_b-1\nrun: a", "pool: a b\nrun: a", "pool: 5\nrun: a",
		"parametrize:\nrun: a", "parametrize: {matrix: }\nrun: a", "parametrize: {matrix: {a: [1, {b: 2}]}}\nrun: a", "parametrize: {matrix: {a: []}}\nrun: a",
		"parametrize: {matrix: {env: [1]}}\nrun: a", "parametrize: {include: [{run: 1}]}\nrun: a", "parametrize: {include: [{}]}\nrun: a", "parametrize: {include: , exclude: []}\nrun: a",
		"parametrize: {matrix: {a: [1], include: [{b: 1}]}, include: [{b: 2}]}\nrun: a", "parametrize: {matrix: {timeout: [30, 60]}}\nrun: a", "parametrize: {matrix: {timeout: [long]}}\nrun: a",
		"parametrize: {include: [{machine: T4, interruptible: true}]}\nrun: a", "parametrize: {include: [{machine: }]}\nrun: a", "checkout: merge\nrun: a", "checkout: both\nrun: a",
		"mode: debug\nrun: a", "mode: true\nrun: a", "fail_fast: 1\nrun: a", "fail_fast: False\nrun: a", "image: [a]\nrun: a", "script: a",
	} {
		set := Load([]File{{Path: Folder + "/ci.yml", Data: []byte(text)}})
		v, ok := value([]byte(text))
		if !ok {
			t.Errorf("%q is no YAML", text)
			continue
		}
		// A need of what is not there is no fault of the structure.
		broken := set.Broken() && !strings.Contains(set.Problems[0].Message, "no workflow of this commit")
		if err := schema.Validate(v); (err != nil) != broken {
			t.Errorf("%q: the parser says %v, the schema %v", text, set.Problems, err)
		}
	}
}

// Everything that an editor shows has a description.
func TestSchemaDescribesEveryKey(t *testing.T) {
	t.Parallel()
	for name, s := range keysOf(t) {
		if about, _ := s["description"].(string); !strings.HasSuffix(about, ".") {
			t.Errorf("%s: description %q is no sentence", name, about)
		}
	}
}
