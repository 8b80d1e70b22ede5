package localrun

import (
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
	file, err := os.Open(name)
	if err != nil {
		return nil, useErrorf("--env-file %s: %w", name, errors.Unwrap(err))
	}
	defer file.Close()
	values, err := gotenv.StrictParse(file)
	if err != nil {
		return nil, useErrorf("--env-file %s is no list of NAME=value lines", name)
	}
	return values, nil
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
