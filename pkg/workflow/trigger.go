package workflow

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The kinds of events that workflows listen to.
const (
	EventPullRequest = "pull_request"
	EventPush        = "push"
	EventMergeGroup  = "merge_group"
)

// Trigger is one kind of event that a workflow listens to, with its filters.
type Trigger struct {
	// Event is EventPullRequest, EventPush or EventMergeGroup.
	Event string
	// Types are the actions of a pull request that count.
	Types []string
	// Branches, Tags and Paths are nil where there is no filter.
	Branches, Tags, Paths *Filter
	// SkipDrafts says that pull requests in draft do not count.
	SkipDrafts bool
	// Off says that the event is listed in order not to count.
	Off bool
}

// everyEvent is what a workflow without triggers listens to: the original's rule.
func everyEvent() []Trigger {
	return []Trigger{
		{Event: EventPullRequest, Types: defaultTypes()},
		{Event: EventPush},
	}
}

// defaultTypes are GitHub's three: a pull request's code is new.
func defaultTypes() []string { return []string{"opened", "synchronize", "reopened"} }

func knownTypes() []string {
	return []string{"opened", "synchronize", "reopened", "ready_for_review", "converted_to_draft", "labeled", "unlabeled", "edited"}
}

// PullRequestActions are the actions of GitHub's pull_request event, those to which
// no workflow can listen among them (GitHub's "Webhook events and payloads").
func PullRequestActions() []string {
	return append(knownTypes(),
		"assigned", "auto_merge_disabled", "auto_merge_enabled", "closed", "demilestoned", "dequeued", "enqueued", "locked", "milestoned",
		"review_request_removed", "review_requested", "unassigned", "unlocked")
}

func knownEvents() []string { return []string{EventPullRequest, EventPush, EventMergeGroup} }

// triggerKey is the key with the events.
func (r *reader) triggerKey(to *[]Trigger) field {
	return field{
		"trigger", "Events that start the workflow. Default: all pushes and all pull requests.",
		r.triggerShape, func(n *node) { *to = r.triggers(n) },
	}
}

// triggers reads a single event, a list of events or a mapping with filters.
func (r *reader) triggers(n *node) []Trigger {
	var triggers []Trigger
	add := func(t Trigger, at position) {
		if slices.ContainsFunc(triggers, func(o Trigger) bool { return o.Event == t.Event }) {
			r.errorf(at, "the event %s is listed twice", t.Event)
			return
		}
		triggers = append(triggers, t)
	}
	switch n.kind {
	case nullKind:
		return everyEvent()
	case mapKind:
		for _, e := range n.entries {
			if r.event(e.name, e.at) {
				add(r.trigger(e.name, e.value), e.at)
			}
		}
	default:
		for _, item := range r.list(n, "trigger") {
			switch {
			case item.kind != stringKind:
				r.errorf(item.at, "a trigger is %s, not %s", alternatives(knownEvents()), item.describe())
			case r.event(item.text, item.at):
				add(r.trigger(item.text, &node{at: item.at}), item.at)
			}
		}
	}
	if n.kind == mapKind && len(n.entries) == 0 {
		r.errorf(n.at, "\"trigger\" lists no event; leave it out to run on all pushes and pull requests")
	}
	return triggers
}

// event tells whether an event is known, and reports it if not.
func (r *reader) event(name string, at position) bool {
	if slices.Contains(knownEvents(), name) {
		return true
	}
	switch name {
	case "pull_request_target":
		r.errorf(at, "unknown event \"pull_request_target\"; write \"pull_request\": jobs hold no token here that a fork could take")
	case "schedule", "workflow_dispatch", "workflow_call", "repository_dispatch", "workflow_run", "release":
		r.errorf(at, "the event %q starts nothing here; known are %s", name, strings.Join(knownEvents(), ", "))
	default:
		s := Suggestion(name, knownEvents())
		if s == "" {
			s = "; known are " + strings.Join(knownEvents(), ", ")
		}
		r.errorf(at, "unknown event %s%s", quote(name), s)
	}
	return false
}

func (r *reader) trigger(event string, n *node) Trigger {
	t := Trigger{Event: event}
	draftSet := false
	if event == EventPullRequest {
		t.Types = defaultTypes()
	}
	switch {
	case n.kind == nullKind:
		return t
	case n.kind == boolKind:
		t.Off = n.text == "false"
		return t
	}
	r.object(n, "the event "+event, r.triggerFields(&t, &draftSet))
	if t.SkipDrafts = draftSet; draftSet && n.find("types") == nil {
		// Otherwise a pull request that leaves draft would wait for its next push.
		t.Types = append(t.Types, "ready_for_review")
	}
	return t
}

// triggerFields are the keys under an event.
func (r *reader) triggerFields(t *Trigger, skipDrafts *bool) []field {
	fields := r.filterFields(t.Event, "branches", &t.Branches)
	fields = append(fields, r.filterFields(t.Event, "paths", &t.Paths)...)
	switch t.Event {
	case EventPush:
		fields = append(fields, r.filterFields(t.Event, "tags", &t.Tags)...)
	case EventPullRequest:
		fields = append(fields,
			field{
				"types", "Actions that count. Default: opened, synchronize, reopened.",
				func() shape { return oneOrMore(shape{"enum": knownTypes()}, 1) },
				func(n *node) { t.Types = r.types(n) },
			},
			field{
				"draft", "false leaves out pull requests in draft.",
				func() shape { return shape{"type": "boolean", "default": true} },
				func(n *node) {
					draft, ok := r.boolean(n, "draft")
					*skipDrafts = ok && !draft
				},
			})
	case EventMergeGroup:
		fields = append(fields, field{
			"types", "Actions that count; there is one.",
			func() shape { return oneOrMore(shape{"enum": []string{"checks_requested"}}, 1) },
			func(n *node) {
				for _, item := range r.list(n, "types") {
					r.word(item, "types", "checks_requested")
				}
			},
		})
	}
	return fields
}

func (r *reader) types(n *node) []string {
	var types []string
	for _, item := range r.list(n, "types") {
		if item.kind == stringKind && item.text == "closed" {
			r.errorf(item.at, "\"types\" cannot be \"closed\": closing a pull request ends its jobs")
			continue
		}
		if s, ok := r.word(item, "types", knownTypes()...); ok {
			types = append(types, s)
		}
	}
	return types
}

// filterFields are a filter's two keys, of which one may be used.
func (r *reader) filterFields(event, key string, to **Filter) []field {
	first := ""
	read := func(name string, ignore bool) field {
		return field{name, filterAbout(key, ignore), func() shape { return filterShape(ignore) }, func(n *node) {
			if first != "" {
				r.errorf(n.at, "%q and %q exclude each other under %s; use \"%s\" with ! before what to leave out", first, name, event, key)
				return
			}
			first = name
			*to = r.filter(n, name, key, ignore)
		}}
	}
	return []field{read(key, false), read(key+"-ignore", true)}
}

// maxPatterns bounds a filter's list.
const maxPatterns = 1000

// filter reads a list of patterns.
func (r *reader) filter(n *node, name, key string, ignore bool) *Filter {
	f := &Filter{Key: name, Ignore: ignore}
	items := r.list(n, name)
	if len(items) > maxPatterns {
		r.errorf(n.at, "%q has %d patterns; at most %d are allowed", name, len(items), maxPatterns)
		return nil
	}
	positive := 0
	for _, item := range items {
		if !item.scalar() || item.kind == nullKind {
			r.errorf(item.at, "%q holds patterns, not %s", name, item.describe())
			continue
		}
		p, err := CompilePattern(item.text)
		if err != nil {
			r.errorf(item.at, "the pattern %s: %v", quote(item.text), err)
			continue
		}
		if p.negated && ignore {
			r.errorf(item.at, "! has no meaning in %q; use %q to leave out and take back", name, key)
			continue
		}
		if !p.negated {
			positive++
		}
		if strings.HasPrefix(strings.TrimPrefix(item.text, "!"), "refs/") && key != "paths" {
			r.warnf(item.at, "%q holds names without refs/heads/ or refs/tags/; %s matches none", name, quote(item.text))
		}
		if key == "paths" && (strings.HasPrefix(item.text, "/") || strings.HasPrefix(item.text, "./")) {
			r.warnf(item.at, "paths begin at the repository's root, without / or ./; %s matches none", quote(item.text))
		}
		f.patterns = append(f.patterns, p)
	}
	if len(f.patterns) > 0 && positive == 0 {
		r.errorf(n.at, "%q holds only patterns with !, so it selects nothing; write \"%s-ignore\" without the !", name, key)
	}
	return f
}

// String shows a filter as it is written: branches [main, v*].
func (f *Filter) String() string {
	const most = 5
	texts := make([]string, 0, most+1)
	for i, p := range f.patterns {
		if i == most {
			texts = append(texts, fmt.Sprintf("and %s more", strconv.Itoa(len(f.patterns)-most)))
			break
		}
		texts = append(texts, p.text)
	}
	return f.Key + " [" + strings.Join(texts, ", ") + "]"
}
