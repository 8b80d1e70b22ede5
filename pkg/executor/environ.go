package executor

import (
	"fmt"
	"strings"
)

// maxVariable is the kernel's limit for one "name=value" with its final zero byte
// (MAX_ARG_STRLEN, 32 pages of 4 KiB).
const maxVariable = 128 << 10

// CheckEnv returns a StartError for an environment that no process could be started
// with.
func CheckEnv(env map[string]string) error {
	for name, value := range env {
		switch {
		case name == "" || strings.ContainsAny(name, "=\x00"):
			return &StartError{Message: fmt.Sprintf("the name of environment variable %q is malformed", name)}
		case strings.Contains(value, "\x00"):
			return &StartError{Message: fmt.Sprintf("environment variable %s contains a zero byte", name)}
		case len(name)+len(value)+2 > maxVariable:
			return &StartError{Message: fmt.Sprintf("environment variable %s is longer than %d KiB", name, maxVariable>>10)}
		}
	}
	return nil
}
