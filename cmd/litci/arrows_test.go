package main

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// The arrows between packages, as .golangci.yaml draws them for editors: held here
// so that they hold without it.
func TestImportsFollowTheArrows(t *testing.T) {
	root := filepath.Join("..", "..")
	files := 0
	for _, top := range []string{"pkg", "services", "cmd"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") {
				return err
			}
			files++
			parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			file, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			for _, spec := range parsed.Imports {
				imported, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					return err
				}
				if why := forbidden(filepath.ToSlash(file), imported); why != "" {
					t.Errorf("%s imports %s: %s", file, imported, why)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 100 {
		t.Fatalf("only %d files seen", files)
	}
}

const module = "github.com/litci/litci/"

// forbidden says why a file may not import a package, or nothing.
func forbidden(file, imported string) string {
	folder := filepath.ToSlash(filepath.Dir(file))
	test := strings.HasSuffix(file, "_test.go")
	below := func(prefix string) bool { return folder == prefix || strings.HasPrefix(folder, prefix+"/") }
	switch {
	case strings.HasPrefix(imported, "github.com/nats-io/nats.go") && !test && !below("pkg/bus"):
		return "only pkg/bus speaks JetStream, so that one place acks"
	case strings.HasPrefix(imported, "github.com/bradleyfalzon/ghinstallation") && !test && !below("pkg/ghapp"):
		return "only pkg/ghapp mints tokens, so that one place caches them"
	case below("pkg/flow") && !test && strings.Contains(imported, "."):
		return "pkg/flow is the map and imports the standard library alone"
	case below("pkg") && (strings.HasPrefix(imported, module+"services/") || strings.HasPrefix(imported, module+"cmd/")):
		return "pkg imports no service"
	case below("services"):
		own := strings.Join(strings.Split(folder, "/")[:2], "/")
		if strings.HasPrefix(imported, module+"cmd/litci") || strings.HasPrefix(imported, module+"services/") && !strings.HasPrefix(imported+"/", module+own+"/") {
			return "services meet only on the bus"
		}
	}
	return ""
}

func TestForbiddenImportsAreFound(t *testing.T) {
	for _, c := range []struct {
		file, imported string
		bad            bool
	}{
		{"services/planner/x.go", "github.com/nats-io/nats.go/jetstream", true},
		{"pkg/bus/x.go", "github.com/nats-io/nats.go/jetstream", false},
		{"services/planner/x_test.go", "github.com/nats-io/nats.go", false},
		{"services/planner/x.go", module + "services/launcher", true},
		{"services/planner/cmd/litci-planner/main.go", module + "services/planner", false},
		{"pkg/flow/x.go", "go.uber.org/zap", true},
		{"pkg/flow/x.go", "encoding/json", false},
		{"pkg/bus/x.go", module + "services/planner", true},
		{"cmd/litci/x.go", module + "services/planner", false},
	} {
		if have := forbidden(c.file, c.imported) != ""; have != c.bad {
			t.Errorf("%s imports %s: forbidden is %t, want %t", c.file, c.imported, have, c.bad)
		}
	}
}
