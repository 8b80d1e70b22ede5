package workflow

import (
	"maps"
	"regexp"

	"github.com/litci/litci/pkg/flow"
)

func (r *reader) concurrency(n *node) *flow.Concurrency {
	c := &flow.Concurrency{Queue: "latest"}
	if n.scalar() {
		c.Group = r.nameText(n, "concurrency")
		return c
	}
	r.object(n, "\"concurrency\"", r.concurrencyKeys(c))
	if n.kind == mapKind && n.find("group") == nil {
		r.errorf(n.at, "\"concurrency\" needs a \"group\"")
	}
	if c.Queue == "all" && c.CancelInProgress {
		r.errorf(n.find("queue").value.at, "\"queue: all\" and \"cancel_in_progress: true\" exclude each other")
	}
	return c
}

func (r *reader) concurrencyKeys(c *flow.Concurrency) []field {
	return []field{
		r.textKey("group", "Name of the group, within the repository.", &c.Group),
		r.boolKey("cancel_in_progress", "What is newer stops what runs.", &c.CancelInProgress),
		r.wordKey("queue", "Which of those that wait stay: \"latest\" or \"all\".", &c.Queue, "latest", "all").byDefault("latest"),
	}
}

func (r *reader) concurrencyShape() shape {
	s := objectShape(r.concurrencyKeys(&flow.Concurrency{}))
	maps.Copy(s, textShape())
	s["type"] = []string{"string", "number", "boolean", "object"}
	s["required"] = []string{"group"}
	s["not"] = shape{"type": "object", "required": []string{"queue", "cancel_in_progress"}, "properties": shape{
		"queue": shape{"const": "all"}, "cancel_in_progress": shape{"const": true},
	}}
	return s
}

func (r *reader) retry(n *node) flow.Retry {
	var retry flow.Retry
	r.object(n, "\"retry\"", r.retryKeys(&retry))
	switch {
	case len(retry.OnExit) > 0 && retry.Limit == 0:
		retry.Limit = 1
	case len(retry.OnExit) == 0 && n.find("limit") != nil && n.find("on_exit") == nil:
		r.errorf(n.find("limit").at, "\"limit\" counts retries after \"on_exit\", which is not here; for lost machines write \"infra\"")
	}
	return retry
}

func (r *reader) retryKeys(retry *flow.Retry) []field {
	const leastCode, mostCode = 1, 255
	return []field{
		{
			"infra", "How often a job is started again whose machine was lost. Default is the operator's setting.",
			func() shape { return integerShape(0, maxAttempts-1) },
			func(n *node) {
				if i, ok := r.integer(n, "infra", " of retries", 0, maxAttempts-1); ok {
					retry.Infra = &i
				}
			},
		},
		{
			"on_exit", "Exit codes of the script after which the job is started again.",
			func() shape { return oneOrMore(integerShape(leastCode, mostCode), 1) },
			func(n *node) {
				for _, item := range r.list(n, "on_exit") {
					if code, ok := r.integer(item, "on_exit", ", an exit code,", leastCode, mostCode); ok {
						retry.OnExit = append(retry.OnExit, code)
					}
				}
			},
		},
		r.integerKey("limit", "How often that happens at most.", " of retries", 1, maxAttempts-1, &retry.Limit).byDefault(1),
	}
}

func (r *reader) retryShape() shape {
	s := objectShape(r.retryKeys(&flow.Retry{}))
	s["dependencies"] = shape{"limit": []string{"on_exit"}}
	return s
}

func (r *reader) resources(n *node) flow.Resources {
	var res flow.Resources
	r.object(n, "\"resources\"", r.resourceKeys(&res))
	return res
}

func (r *reader) resourceKeys(res *flow.Resources) []field {
	quantity := func(key, about, pattern, example string, to *string) field {
		s := func() shape { return shape{"type": []string{"string", "number"}, "pattern": pattern, "minimum": 0} }
		return field{key, about, s, func(n *node) {
			if n.scalar() && regexp.MustCompile(pattern).MatchString(n.text) {
				*to = n.text
				return
			}
			r.errorf(n.at, "%q must be a quantity such as %s, not %s", key, example, n.describe())
		}}
	}
	return []field{
		quantity("cpu", "Cores, such as 2, 0.5 or 500m.", `^([1-9][0-9]{0,5}m?|[0-9]{1,4}\.[0-9]{1,3})$`, `2, 0.5 or 500m`, &res.CPU),
		quantity("memory", "Bytes, such as 512Mi or 4Gi.", `^[1-9][0-9]{0,14}(\.[0-9]{1,3})?(Ki|Mi|Gi|Ti|k|M|G|T)?$`, `512Mi or 4Gi`, &res.Memory),
		r.integerKey("gpus", "Number of GPUs.", "", 0, 64, &res.GPUs),
	}
}
