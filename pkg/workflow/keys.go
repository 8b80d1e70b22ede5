package workflow

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// The defaults of a workflow, the original bot's.
const (
	DefaultImage          = "ubuntu:22.04"
	DefaultMachine        = "CPU"
	DefaultTimeoutMinutes = 60
	DefaultMode           = "info"
)

const (
	// maxMinutes bounds timeout and queue_timeout: GitHub forgets a check that is
	// not finished in 14 days.
	maxMinutes = 7 * 24 * 60
	// maxEnv is the size of a workflow's env in bytes, names and values.
	maxEnv = 64 << 10
	// maxName is the length of texts that become names elsewhere, in bytes.
	maxName = 256
	// maxAttempts is how often a job runs at most, for whatever reason
	// (behaviours.md §5.8).
	maxAttempts = 5
)

// workflow reads one workflow; ok is false when it has an error.
func (r *reader) workflow(n *node, file string) (w Workflow, ok bool) {
	before := r.broken
	r.broken = false
	base := path.Base(file)
	w = Workflow{
		File: base, Path: file, Name: defaultName(base), Line: n.at.line,
		Image: DefaultImage, Machine: DefaultMachine, TimeoutMinutes: DefaultTimeoutMinutes, Mode: DefaultMode,
		Triggers: everyEvent(),
	}
	var m matrix
	r.object(n, "a workflow", r.workflowKeys(&w, &m))
	r.expressions(n)
	if n.find("run") == nil {
		r.errorf(n.at, "the workflow has no \"run\": the script that it runs")
	}
	if !r.broken {
		w.combinations = r.expand(m, &w)
	}
	ok = !r.broken
	r.broken = r.broken || before
	return w, ok
}

// workflowKeys are the keys of a workflow.
func (r *reader) workflowKeys(w *Workflow, m *matrix) []field {
	return append([]field{
		{
			"name", "Name of the workflow, shown in the names of its checks. Default is the file's name without its extension.",
			textShape, func(n *node) { w.Name = cleanName(r.nameText(n, "name")) },
		},
		r.triggerKey(&w.Triggers),
		{
			"parametrize", "Makes several jobs of the workflow: one for every combination of the matrix.",
			matrixShape, func(n *node) { *m = r.matrix(n) },
		},
		{
			"run", "The script that every job runs, by bash.",
			func() shape { return shape{"type": "string", "pattern": notBlank, "maxLength": MaxScript} },
			func(n *node) { w.Script = r.script(n) },
		},
		{
			"needs", "Workflows that must have succeeded first, by file name; in " + SingleFile + " by name.",
			func() shape { return oneOrMore(textShape(), 0) },
			func(n *node) { r.needs(n, w) },
		},
		{
			"if", "When the workflow runs: \"success\" if everything that it needs succeeded, \"always\" when it has ended, however.",
			func() shape { return shape{"enum": conditions(), "default": "success"} },
			func(n *node) { w.Options.Always = r.condition(n) },
		},
	}, r.settings(w)...)
}

// settings are the keys that defaults may hold too.
func (r *reader) settings(w *Workflow) []field {
	o := &w.Options
	return []field{
		r.textKey("image", "Container image that the jobs run in.", &w.Image).byDefault(DefaultImage),
		r.textKey("machine", "Kind of machine that the jobs need, such as CPU, T4 or L4.", &w.Machine).byDefault(DefaultMachine),
		r.boolKey("interruptible", "The machine may be taken away while a job runs, as spot instances are; the job is then started again.", &w.Interruptible),
		r.integerKey("timeout", "Minutes that a job may run, without its time in the queue.", " of minutes", 1, maxMinutes, &w.TimeoutMinutes).byDefault(DefaultTimeoutMinutes),
		r.integerKey("queue_timeout", "Minutes that a job may wait for a machine. Default is the operator's setting.", " of minutes", 1, maxMinutes, &w.QueueTimeoutMinutes),
		r.wordKey("mode", "How much of the log a check shows: \"info\" the failing part, \"debug\" the end of the whole log.", &w.Mode, "info", "debug").byDefault(DefaultMode),
		{
			"pool", "Named pool of machines that runs the jobs; without it the unnamed one.",
			func() shape { return shape{"type": []string{"string", "number", "boolean"}, "pattern": poolName} },
			func(n *node) { w.Pool = r.pool(n) },
		},
		{
			"env", "Environment variables of the jobs. Values are taken as they are written.",
			func() shape {
				return shape{
					"type": []string{"object", "null"}, "propertyNames": shape{"pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "not": shape{"pattern": ownNames}},
					"additionalProperties": shape{"type": []string{"string", "number", "boolean", "null"}},
				}
			},
			func(n *node) { w.Env = r.env(n) },
		},
		r.boolKey("fail_fast", "The first job that fails stops the others of the workflow.", &o.FailFast),
		r.integerKey("max_parallel", "How many jobs of the workflow run at once.", "", 1, maxCombinations, &o.MaxParallel),
		r.boolKey("continue_on_error", "A job that fails is red, but the verdict on the commit is not.", &o.ContinueOnError),
		{
			"concurrency", "Workflows of one group run one after the other. A text alone is the group.",
			r.concurrencyShape, func(n *node) { o.Concurrency = r.concurrency(n) },
		},
		{
			"retry", "When a job that failed is started again.",
			r.retryShape, func(n *node) { o.Retry = r.retry(n) },
		},
		r.wordKey("checkout", "What a pull request's job tests: \"head\" its branch as it is, \"merge\" its branch merged into the base.", &o.Checkout, "head", "merge").byDefault("head"),
		{
			"resources", "What a job needs of its machine, where the executor can choose.",
			func() shape { return objectShape(r.resourceKeys(&o.Resources)) },
			func(n *node) { o.Resources = r.resources(n) },
		},
	}
}

// checkDefaults tells whether a mapping of defaults is sound.
func (r *reader) checkDefaults(n *node) bool {
	before := r.broken
	r.broken = false
	var scratch Workflow
	r.object(n, "\"defaults\"", r.defaultKeys(&scratch))
	ok := !r.broken
	r.broken = r.broken || before
	return ok
}

// defaultKeys are the keys of defaults: those that workflows of one file may share.
func (r *reader) defaultKeys(scratch *Workflow) []field {
	return append(r.settings(scratch), r.triggerKey(&scratch.Triggers))
}

// withDefaults is a workflow with the keys that it leaves out taken from defaults;
// env is merged name by name.
func withDefaults(n, defaults *node) *node {
	if defaults == nil {
		return n
	}
	merged := *n
	merged.entries = slices.Clone(n.entries)
	for _, d := range defaults.entries {
		own := merged.find(d.name)
		switch {
		case own == nil:
			merged.entries = append(merged.entries, d)
		case d.name == "env" && own.value.kind == mapKind && d.value.kind == mapKind:
			own.value = withDefaults(own.value, d.value)
		}
	}
	return &merged
}

// nameText reads a text that becomes a name elsewhere, without the spaces around it.
func (r *reader) nameText(n *node, key string) string {
	s, ok := r.str(n, key)
	if ok && len(s) > maxName {
		r.errorf(n.at, "%q has %d bytes; at most %d are allowed", key, len(s), maxName)
	}
	return strings.TrimSpace(s)
}

// cleanName makes one line of a name.
func cleanName(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) }), " ")
}

func (r *reader) script(n *node) string {
	if n.kind == listKind {
		r.errorf(n.at, "\"run\" must be a text, not a list; write \"run: |\" and the commands below it, one a line")
		return ""
	}
	if n.kind != stringKind || strings.TrimSpace(n.text) == "" {
		if n.kind == stringKind {
			r.errorf(n.at, "\"run\" is empty; it is the script that the workflow runs")
			return ""
		}
		r.errorf(n.at, "\"run\" must be a script, not %s", n.describe())
		return ""
	}
	if len(n.text) > MaxScript {
		r.errorf(n.at, "the script has %d bytes; at most %d are allowed: put it into a file of the repository", len(n.text), MaxScript)
	}
	return n.text
}

// poolName is what pools may be called.
const poolName = `^[A-Za-z0-9_-]{1,64}$`

func (r *reader) pool(n *node) string {
	s, ok := r.str(n, "pool")
	if ok && !regexp.MustCompile(poolName).MatchString(s) {
		r.errorf(n.at, "\"pool\" is a name of letters, digits, - and _, at most 64, not %s", n.describe())
	}
	return s
}

func (r *reader) env(n *node) map[string]string {
	if n.kind == nullKind {
		return nil
	}
	if n.kind != mapKind {
		r.errorf(n.at, "\"env\" must be a mapping of names to values, not %s", n.describe())
		return nil
	}
	env := make(map[string]string, len(n.entries))
	size := 0
	for _, e := range n.entries {
		if EnvName(e.name) != e.name {
			r.errorf(e.at, "%s is no name of an environment variable: letters, digits and _ make one; write %s", quote(e.name), EnvName(e.name))
			continue
		}
		if own(e.name) {
			r.errorf(e.at, "the environment variable %s cannot be set: litci sets these itself; rename it", quote(e.name))
			continue
		}
		if !e.value.scalar() {
			r.errorf(e.value.at, "the value of the environment variable %s must be a text, not %s", e.name, e.value.describe())
			continue
		}
		if e.name == "image" || e.name == "machine" {
			r.warnf(e.at, "the environment variable %s holds the job's %s, and this value does not change it; rename it", e.name, e.name)
		}
		env[e.name] = e.value.text
		size += len(e.name) + len(e.value.text)
	}
	if size > maxEnv {
		r.errorf(n.at, "\"env\" has %d bytes; at most %d are allowed", size, maxEnv)
	}
	return env
}

// EnvName makes a matrix parameter's name safe as a name of an environment
// variable: what is no letter, digit or _ becomes _, and a leading digit gets one
// before it. Load refuses a matrix in which two names become the same.
func EnvName(param string) string {
	name := strings.Map(func(c rune) rune {
		if c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			return c
		}
		return '_'
	}, param)
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		name = "_" + name
	}
	return name
}

// conditions are the values of if.
func conditions() []string { return []string{"always", "success"} }

func (r *reader) condition(n *node) bool {
	s, _ := r.word(n, "if", conditions()...)
	return s == "always"
}
