package localrun

import (
	"bufio"
	"bytes"
	"errors"
	"maps"
	"os"
	"slices"

	"github.com/subosito/gotenv"

	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/workflow"
)

// readEnv reads a file of variables, in the format of .env. Errors name lines and
// never values.
func readEnv(name string) (map[string]string, error) {
	if name == "" {
		return nil, nil
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, useErrorf("--env-file %s: %w", name, errors.Unwrap(err))
	}
	if info.IsDir() {
		return nil, useErrorf("--env-file %s is a folder, not a file with NAME=value lines", name)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, useErrorf("--env-file %s: %w", name, errors.Unwrap(err))
	}
	values, err := gotenv.StrictParse(bytes.NewReader(text))
	if err == nil {
		return values, nil
	}
	fault := "it is neither NAME=value nor a comment, or its quotation mark is not closed"
	if errors.Is(err, bufio.ErrTooLong) {
		fault = "it is longer than 64 KiB"
	}
	return nil, useErrorf("--env-file %s, line %d: %s", name, faultyLine(text), fault)
}

// faultyLine is the number of the first line that text cannot be parsed up to. The
// parser's own errors quote lines, and so values, and do not count them.
func faultyLine(text []byte) int {
	sound, lines, end := 0, 0, 0
	for line := range bytes.Lines(text) {
		lines, end = lines+1, end+len(line)
		// A value in quotes may go over lines: what fails may be sound with the next one.
		if _, err := gotenv.StrictParse(bytes.NewReader(text[:end])); err == nil {
			sound = lines
		}
	}
	return sound + 1
}

// addEnv puts variables into a job's environment: stronger than the workflow's env,
// weaker than the matrix, which the job's name shows.
func addEnv(job *flow.Job, values map[string]string) {
	if len(values) == 0 {
		return
	}
	env := maps.Clone(job.Env)
	if env == nil {
		env = map[string]string{}
	}
	for name, value := range values {
		if !slices.ContainsFunc(job.Params, func(p flow.Param) bool { return workflow.EnvName(p.Name) == name }) {
			env[name] = value
		}
	}
	job.Env = env
}

// masks are the values that no log may show.
func masks(values map[string]string) []string { return slices.Sorted(maps.Values(values)) }
