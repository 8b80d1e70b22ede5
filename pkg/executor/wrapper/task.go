package wrapper

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Nonce marks the wrapper's lines in a job's log. It is known to whoever knows the id.
func Nonce(id string) string {
	sum := sha256.Sum256([]byte("litci log " + id))
	return hex.EncodeToString(sum[:6])
}

// Task is what the wrapper is to do.
type Task struct {
	// ID is the job's.
	ID string
	// Runner is the place's name, as the script sees it in RUNNER_NAME.
	Runner string
	// Timeout bounds the script; zero means no bound. Grace is the time between TERM and
	// KILL.
	Timeout, Grace time.Duration
	// Head and Tail bound what is printed of a log's beginning and end, in bytes.
	Head, Tail int64
	// GPU says that there must be one.
	GPU bool
	// Marks lets the log tell its places, for readers that begin in its middle, and puts
	// many short lines into one.
	Marks bool
	// Env is the workflow's environment. The image's own variables stay.
	Env map[string]string
}

// Bytes is the task as the wrapper reads it: its settings, and as positional parameters
// the variables to be set for the script.
func (t Task) Bytes() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "nonce=%s timeout=%d grace=%d head=%d tail=%d gpu=%s marks=%s\nset --",
		Nonce(t.ID), t.Timeout.Milliseconds(), t.Grace.Milliseconds(), t.Head, t.Tail, flag(t.GPU), flag(t.Marks))
	if _, own := t.Env["HOME"]; !own {
		b.WriteString(` ${d:+"HOME=${HOME:-$d/home}"}`)
	}
	if _, own := t.Env["PATH"]; !own {
		b.WriteString(` "PATH=$PATH"`)
	}
	for _, name := range slices.Sorted(maps.Keys(t.Env)) {
		b.WriteString(" " + quote(name+"="+t.Env[name]))
	}
	// Where the job is and what runs it is said by the executor alone.
	for _, entry := range placeVariables(t.Runner) {
		b.WriteString(` "` + entry + `"`)
	}
	b.WriteString("\n")
	return b.Bytes()
}

// placeVariables are added to the workflow's, as the wrapper's shell reads them.
func placeVariables(runner string) []string {
	return []string{
		"GITHUB_WORKSPACE=$d/workspace", "LITCI_WORKSPACE=$d/workspace",
		"GITHUB_STEP_SUMMARY=$d/summary", "LITCI_STEP_SUMMARY=$d/summary",
		"RUNNER_TEMP=$d/tmp", "RUNNER_NAME=" + runner, "RUNNER_OS=Linux",
	}
}

func flag(on bool) string {
	if on {
		return "1"
	}
	return ""
}

// quote makes one word of a shell of any bytes.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }
