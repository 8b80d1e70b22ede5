package planner

import (
	"fmt"
	"slices"
	"strings"

	"github.com/litci/litci/pkg/flow"
	"github.com/litci/litci/pkg/workflow"
)

// unheeded is the notice about the keys of a workflow that no service acts on yet,
// so that nobody relies on them; empty where it has none of them.
func unheeded(w workflow.Workflow) string {
	o := w.Options
	var keys, instead []string
	for _, key := range []struct {
		set           bool
		name, instead string
	}{
		{len(o.Needs) > 0, "needs", "its jobs start at once"},
		{o.Always, "if", "its jobs start at once"},
		{o.Concurrency != nil, "concurrency", "its jobs start at once"},
		{o.MaxParallel > 0, "max_parallel", "its jobs start at once"},
		{o.FailFast, "fail_fast", "each job runs to its end"},
		{o.Retry.Infra != nil && *o.Retry.Infra > 0 || len(o.Retry.OnExit) > 0, "retry", "no job is tried again"},
		{o.Checkout == "merge", "checkout: merge", "the head commit is tested"},
		{o.Resources != (flow.Resources{}), "resources", "its jobs get what the machine has"},
	} {
		if !key.set {
			continue
		}
		keys = append(keys, key.name)
		if !slices.Contains(instead, key.instead) {
			instead = append(instead, key.instead)
		}
	}
	verb := "are"
	switch len(keys) {
	case 0:
		return ""
	case 1:
		verb = "is"
	}
	name := w.File
	if name == workflow.SingleFile {
		name += " / " + w.Name
	}
	return fmt.Sprintf("%s: %s %s read but not acted on yet: %s", name, enumerate(keys), verb, enumerate(instead))
}

// enumerate joins words as a sentence does: a, b and c.
func enumerate(words []string) string {
	last := len(words) - 1
	if last <= 0 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " and " + words[last]
}
