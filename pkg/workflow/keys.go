package workflow

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/litci/litci/pkg/flow"
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
	r.object(n, "a workflow", append([]field{
		{"name", func(n *node) { w.Name = cleanName(r.nameText(n, "name")) }},
		{"trigger", func(n *node) { w.Triggers = r.triggers(n) }},
		{"parametrize", func(n *node) { m = r.matrix(n) }},
		{"run", func(n *node) { w.Script = r.script(n) }},
		{"needs", func(n *node) { r.needs(n, &w) }},
		{"if", func(n *node) { w.Options.Always = r.condition(n) }},
	}, r.settings(&w)...))
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

// settings are the keys that defaults may hold too.
func (r *reader) settings(w *Workflow) []field {
	o := &w.Options
	return []field{
		{"image", func(n *node) { w.Image = r.nameText(n, "image") }},
		{"machine", func(n *node) { w.Machine = r.nameText(n, "machine") }},
		{"interruptible", func(n *node) { w.Interruptible, _ = r.boolean(n, "interruptible") }},
		{"timeout", func(n *node) { w.TimeoutMinutes, _ = r.integer(n, "timeout", " of minutes", 1, maxMinutes) }},
		{"queue_timeout", func(n *node) {
			w.QueueTimeoutMinutes, _ = r.integer(n, "queue_timeout", " of minutes", 1, maxMinutes)
		}},
		{"mode", func(n *node) { w.Mode, _ = r.word(n, "mode", "info", "debug") }},
		{"pool", func(n *node) { w.Pool = r.pool(n) }},
		{"env", func(n *node) { w.Env = r.env(n) }},
		{"fail_fast", func(n *node) { o.FailFast, _ = r.boolean(n, "fail_fast") }},
		{"max_parallel", func(n *node) { o.MaxParallel, _ = r.integer(n, "max_parallel", "", 1, maxCombinations) }},
		{"continue_on_error", func(n *node) { o.ContinueOnError, _ = r.boolean(n, "continue_on_error") }},
		{"concurrency", func(n *node) { o.Concurrency = r.concurrency(n) }},
		{"retry", func(n *node) { o.Retry = r.retry(n) }},
		{"checkout", func(n *node) { o.Checkout, _ = r.word(n, "checkout", "head", "merge") }},
		{"resources", func(n *node) { o.Resources = r.resources(n) }},
	}
}

// checkDefaults tells whether a mapping of defaults is sound.
func (r *reader) checkDefaults(n *node) bool {
	before := r.broken
	r.broken = false
	var scratch Workflow
	r.object(n, "\"defaults\"", append(r.settings(&scratch),
		field{"trigger", func(n *node) { r.triggers(n) }}))
	ok := !r.broken
	r.broken = r.broken || before
	return ok
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

func (r *reader) pool(n *node) string {
	s, ok := r.str(n, "pool")
	if ok && !regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`).MatchString(s) {
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
		if !e.value.scalar() {
			r.errorf(e.value.at, "the value of the environment variable %s must be a text, not %s", e.name, e.value.describe())
			continue
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

func (r *reader) condition(n *node) bool {
	s, _ := r.word(n, "if", "always", "success")
	return s == "always"
}

func (r *reader) concurrency(n *node) *flow.Concurrency {
	c := &flow.Concurrency{Queue: "latest"}
	if n.scalar() {
		c.Group = r.nameText(n, "concurrency")
		return c
	}
	r.object(n, "\"concurrency\"", []field{
		{"group", func(n *node) { c.Group = r.nameText(n, "group") }},
		{"cancel_in_progress", func(n *node) { c.CancelInProgress, _ = r.boolean(n, "cancel_in_progress") }},
		{"queue", func(n *node) {
			c.Queue, _ = r.word(n, "queue", "latest", "all")
		}},
	})
	if n.kind == mapKind && n.find("group") == nil {
		r.errorf(n.at, "\"concurrency\" needs a \"group\"")
	}
	if c.Queue == "all" && c.CancelInProgress {
		r.errorf(n.find("queue").value.at, "\"queue: all\" and \"cancel_in_progress: true\" exclude each other")
	}
	return c
}

func (r *reader) retry(n *node) flow.Retry {
	var retry flow.Retry
	r.object(n, "\"retry\"", []field{
		{"infra", func(n *node) {
			if i, ok := r.integer(n, "infra", " of retries", 0, maxAttempts-1); ok {
				retry.Infra = &i
			}
		}},
		{"on_exit", func(n *node) {
			for _, item := range r.list(n, "on_exit") {
				if code, ok := r.integer(item, "on_exit", ", an exit code,", 1, 255); ok {
					retry.OnExit = append(retry.OnExit, code)
				}
			}
		}},
		{"limit", func(n *node) { retry.Limit, _ = r.integer(n, "limit", " of retries", 1, maxAttempts-1) }},
	})
	switch {
	case len(retry.OnExit) > 0 && retry.Limit == 0:
		retry.Limit = 1
	case len(retry.OnExit) == 0 && n.find("limit") != nil && n.find("on_exit") == nil:
		r.errorf(n.find("limit").at, "\"limit\" counts retries after \"on_exit\", which is not here; for lost machines write \"infra\"")
	}
	return retry
}

func (r *reader) resources(n *node) flow.Resources {
	var res flow.Resources
	quantity := func(key, pattern, example string, to *string) field {
		return field{key, func(n *node) {
			if n.scalar() && regexp.MustCompile(pattern).MatchString(n.text) {
				*to = n.text
				return
			}
			r.errorf(n.at, "%q must be a quantity such as %s, not %s", key, example, n.describe())
		}}
	}
	r.object(n, "\"resources\"", []field{
		quantity("cpu", `^([1-9][0-9]{0,5}m?|[0-9]{1,4}\.[0-9]{1,3})$`, `2, 0.5 or 500m`, &res.CPU),
		quantity("memory", `^[1-9][0-9]{0,14}(\.[0-9]{1,3})?(Ki|Mi|Gi|Ti|k|M|G|T)?$`, `512Mi or 4Gi`, &res.Memory),
		{"gpus", func(n *node) { res.GPUs, _ = r.integer(n, "gpus", "", 0, 64) }},
	})
	return res
}
