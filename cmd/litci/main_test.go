package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes this test binary answer as litci too, so that scripts and tests
// start real processes of the program under test.
func TestMain(m *testing.M) {
	// Most of the time these tests wait: for processes, for leases, for a minute to pass.
	// A number behind -parallel goes before this one.
	if err := flag.Set("test.parallel", strconv.Itoa(max(4, runtime.GOMAXPROCS(0)))); err != nil {
		panic(err)
	}
	testscript.Main(m, map[string]func(){"litci": main})
}

// The scripts are transcripts: what a user types, and what comes of it.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			env.Setenv("NO_COLOR", "1")
			env.Setenv("GIT_AUTHOR_NAME", "a")
			env.Setenv("GIT_AUTHOR_EMAIL", "a@example.com")
			env.Setenv("GIT_COMMITTER_NAME", "a")
			env.Setenv("GIT_COMMITTER_EMAIL", "a@example.com")
			env.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
			repository, err := filepath.Abs(filepath.Join("..", ".."))
			if err != nil {
				return err
			}
			env.Setenv("REPOSITORY", repository)
			env.Values[meshKey{}] = new(func())
			return setenvOfGo(env)
		},
		Cmds:                scriptCommands(),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// setenvOfGo tells a script where Go keeps what it has downloaded and built.
func setenvOfGo(env *testscript.Env) error {
	out, err := exec.Command("go", "env", "GOPATH", "GOCACHE").Output()
	if err != nil {
		return fmt.Errorf("go env: %w", err)
	}
	values := strings.Split(string(out), "\n")
	env.Setenv("GOPATH", values[0])
	env.Setenv("GOCACHE", values[1])
	return nil
}

// The demo's embedded repository is a copy of the one that the documentation names.
func TestEmbeddedExampleIsFresh(t *testing.T) {
	original, copied := filepath.Join("..", "..", "examples", "hello"), filepath.Join("internal", "demo", "hello")
	for _, pair := range [][2]string{{original, copied}, {copied, original}} {
		err := filepath.WalkDir(pair[0], func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			want, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			have, err := os.ReadFile(filepath.Join(pair[1], strings.TrimPrefix(path, pair[0])))
			if err != nil || string(have) != string(want) {
				t.Errorf("%s differs in %s; run go generate ./internal/demo in cmd/litci", path, pair[1])
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
