package workflow

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const referencePage = "../../docs/workflow.md"

// keysOf are all keys of the language with their schemas: "trigger.push.branches".
func keysOf(t *testing.T) map[string]map[string]any {
	t.Helper()
	var root map[string]any
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	keys := make(map[string]map[string]any)
	var walk func(at string, node any)
	walk = func(at string, node any) {
		switch node := node.(type) {
		case []any:
			for _, item := range node {
				walk(at, item)
			}
		case map[string]any:
			properties, _ := node["properties"].(map[string]any)
			for name, s := range properties {
				keys[strings.TrimPrefix(at+"."+name, ".")] = s.(map[string]any)
				walk(at+"."+name, s)
			}
			walk(at, node["anyOf"])
		}
	}
	for _, definition := range root["definitions"].(map[string]any) {
		walk("", definition)
	}
	return keys
}

// example is a YAML block of the reference.
type example struct {
	line int
	text string
}

func (e example) single() bool { return strings.HasPrefix(e.text, "# "+SingleFile) }

// file is the example as a file: under the name in its first line, if it has one.
func (e example) file() File {
	name := fmt.Sprintf("line-%d.yml", e.line)
	if m := regexp.MustCompile(`^# (\S+\.ya?ml)\n`).FindStringSubmatch(e.text); m != nil {
		name = strings.TrimPrefix(m[1], Folder+"/")
	}
	return File{Path: Folder + "/" + name, Data: []byte(e.text)}
}

func examples(t *testing.T) (list []example) {
	t.Helper()
	text := string(read(t, referencePage))
	for _, m := range regexp.MustCompile("(?s)\n```yaml\n(.*?\n)```\n").FindAllStringSubmatchIndex(text, -1) {
		list = append(list, example{strings.Count(text[:m[2]], "\n") + 1, text[m[2]:m[3]]})
	}
	if len(list) < 20 {
		t.Fatalf("%d examples in %s", len(list), referencePage)
	}
	return list
}

// Every YAML block of the reference is a whole file without a problem, by the
// parser and by the schema. They are one commit, so that needs find their names.
func TestExamplesOfTheReferenceAreSound(t *testing.T) {
	t.Parallel()
	schema := validator(t)
	var together []File
	for _, e := range examples(t) {
		v, ok := value([]byte(e.text))
		if !ok {
			t.Errorf("line %d is no YAML", e.line)
			continue
		}
		if err := schema.Validate(v); err != nil {
			t.Errorf("line %d by the schema: %v", e.line, err)
		}
		if e.single() {
			for _, p := range Load([]File{{Path: SingleFile, Data: []byte(e.text)}}).Problems {
				t.Errorf("line %d: %s", e.line, line(p))
			}
			continue
		}
		together = append(together, e.file())
	}
	for _, p := range Load(together).Problems {
		t.Errorf("%s", line(p))
	}
}

// Every key of the language is named in the text and used in an example.
func TestReferenceHasEveryKey(t *testing.T) {
	t.Parallel()
	page := string(read(t, referencePage))
	used := make(map[string]bool)
	var walk func(at string, n *node)
	walk = func(at string, n *node) {
		for _, item := range n.items {
			walk(at, item)
		}
		for _, e := range n.entries {
			key := strings.TrimPrefix(at+"."+e.name, ".")
			used[key] = true
			walk(key, e.value)
		}
	}
	for _, e := range examples(t) {
		if root := (&reader{}).parse([]byte(e.text)); root != nil {
			if list := root.find("workflows"); list != nil {
				walk("", list.value)
			}
			walk("", root)
		}
	}
	var missing []string
	for key := range keysOf(t) {
		last := key[strings.LastIndex(key, ".")+1:]
		if strings.HasPrefix(key, "parametrize.") && overridable(last) || strings.Count(key, ".") > 1 && strings.HasPrefix(key, "defaults.") {
			continue // told of once, as a rule
		}
		told := regexp.MustCompile("`" + regexp.QuoteMeta(last) + "[`:]")
		if !used[key] || !told.MatchString(page) {
			missing = append(missing, key)
		}
	}
	slices.Sort(missing)
	if len(missing) > 0 {
		t.Errorf("docs/workflow.md has no word or no example of %q", missing)
	}
}
